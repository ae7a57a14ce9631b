"""Looking at the ledger: balances, transactions, a seller's accounts."""

from datetime import datetime
from uuid import UUID

from directory import store as organizations
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.instants import cut
from servicekit.problems import invalid, not_found
from servicekit.server import Context
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.convert.ledger import balance_to_message, seller_accounts_to_message, transaction_to_message
from wallet.domain.entries import WalletState
from wallet.store import entries


class EntriesRpc:
    """GetBalance, GetTransaction and GetSellerAccounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetBalance(self, request: pb.GetBalanceRequest, _context: Context) -> pb.Balance:
        async with self._database.transaction(current_call().scope) as connection:
            wallet = await wallet_in_scope(connection, request.wallet_id)
            if not request.HasField("as_of"):
                return balance_to_message(wallet, wallet.balance_micros, wallet.since, wallet.sequence)
            as_of = _past(request.as_of, wallet.now)
            sequence, total_micros = await entries.position_at(connection, wallet, as_of)
            return balance_to_message(wallet, total_micros, as_of, sequence)

    async def GetTransaction(self, request: pb.GetTransactionRequest, _context: Context) -> pb.Transaction:
        scope = current_call().scope
        async with self._database.transaction(scope) as connection:
            transaction = await entries.find_transaction(connection, scope, UUID(request.id))
        if transaction is None:
            raise not_found(f"transaction '{request.id}'")
        return transaction_to_message(transaction)

    async def GetSellerAccounts(self, request: pb.GetSellerAccountsRequest, _context: Context) -> pb.SellerAccounts:
        organization_id, scope = UUID(request.organization_id), current_call().scope
        async with self._database.transaction(scope) as connection:
            organization = await organizations.find(connection, organization_id)
            if organization is None:
                raise not_found(f"organization '{request.organization_id}'")
            now = await entries.database_now(connection)
            as_of = _past(request.as_of, now) if request.HasField("as_of") else now
            currency = request.currency or organization.currency
            if now - as_of < entries.UNDER_WAY:
                await entries.settle_seller(connection, organization_id, currency)
        async with self._database.transaction(scope) as connection:
            sums = await entries.seller_sums(connection, organization_id, currency, as_of)
        return seller_accounts_to_message(organization_id, currency, sums, as_of)


async def wallet_in_scope(connection: AsyncConnection, wallet_id: str) -> WalletState:
    """The wallet that the caller names. Problem NOT_FOUND where it is not there, or not for the caller."""
    wallet = await entries.find_wallet(connection, current_call().scope, UUID(wallet_id))
    if wallet is None:
        raise not_found(f"wallet '{wallet_id}'")
    return wallet


def _past(asked: Timestamp, now: datetime) -> datetime:
    as_of = cut(asked, "as_of")
    if as_of > now:
        message = f"as_of {as_of.isoformat()} is in the future; the books end at {now.isoformat()}"
        raise invalid(message, fields={"as_of": "in the future"})
    return as_of

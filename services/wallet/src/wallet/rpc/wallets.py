"""WalletService: wallets and their credit limits."""

from typing import Any

from farthing.wallet.v1 import wallets_pb2
from servicekit.call import current_call
from servicekit.database import Database

from wallet.commands import wallets as commands
from wallet.commands.callers import seen_organization
from wallet.convert.wallets import wallet_to_message
from wallet.store import wallets as store

Context = Any


class Wallets:
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ListWallets(
        self, request: wallets_pb2.ListWalletsRequest, context: Context
    ) -> wallets_pb2.ListWalletsResponse:
        organization = await seen_organization(self._database, request.organization_id)
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.latest_of(connection, organization.id)
        return wallets_pb2.ListWalletsResponse(wallets=[wallet_to_message(wallet) for wallet in found])

    async def SetCreditLimit(self, request: wallets_pb2.SetCreditLimitRequest, context: Context) -> wallets_pb2.Wallet:
        return await commands.set_credit_limit(self._database, request)

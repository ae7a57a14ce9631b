"""How far below zero a wallet may go (mission W5)."""

from directory import store as directory
from farthing.wallet.v1 import wallets_pb2
from money import format_exact
from servicekit import audit
from servicekit.database import Database
from servicekit.problems import not_found
from servicekit.requests import once
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.commands.callers import actor, seen_wallet
from wallet.convert.money import amount_in
from wallet.convert.refusals import refusals_told
from wallet.convert.wallets import wallet_to_message
from wallet.domain.wallets import check_credit_limit
from wallet.store import wallets


async def set_credit_limit(database: Database, request: wallets_pb2.SetCreditLimitRequest) -> wallets_pb2.Wallet:
    """Sets a wallet's credit limit, for its seller or one above."""
    found = await seen_wallet(database, request.wallet_id)
    limit = amount_in(request.credit_limit, "credit_limit")

    async def change(connection: AsyncConnection) -> wallets_pb2.Wallet:
        wallet = await wallets.lock(connection, found.root_id, found.id)
        owner = await directory.find(connection, wallet.organization_id)
        if owner is None or not actor().sees(owner):
            raise not_found(f"wallet '{wallet.id}'")
        check_credit_limit(wallet, owner, limit, actor())
        await wallets.set_credit_limit(connection, wallet, limit.micros)
        await audit.record(
            connection,
            audit.Change(
                root_id=wallet.root_id,
                organization_id=wallet.organization_id,
                action="CREDIT_LIMIT_SET",
                target_type="wallet",
                target_id=str(wallet.id),
                before={"credit_limit": f"{format_exact(wallet.credit_limit_micros)} {wallet.currency}"},
                after={"credit_limit": f"{format_exact(limit.micros)} {wallet.currency}"},
                request_id=request.request_id,
            ),
        )
        return wallet_to_message(await wallets.lock(connection, found.root_id, found.id))

    with refusals_told():
        return await once(database, found.root_id, request, wallets_pb2.Wallet, change)

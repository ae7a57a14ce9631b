"""WalletService: top-ups."""

from typing import Any
from uuid import UUID

from farthing.wallet.v1 import wallets_pb2
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.paging import Pager, page_size
from servicekit.problems import not_found

from wallet.clients.registry import Providers
from wallet.commands import top_ups as commands
from wallet.commands.callers import seen_wallet
from wallet.convert.top_ups import top_up_to_message
from wallet.store import top_ups as store

Context = Any


class TopUps:
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, pager: Pager, providers: Providers) -> None:
        self._database, self._pager, self._providers = database, pager, providers

    async def CreateTopUp(self, request: wallets_pb2.CreateTopUpRequest, context: Context) -> wallets_pb2.TopUp:
        return await commands.create_top_up(self._database, self._providers, request)

    async def SettleTopUp(self, request: wallets_pb2.SettleTopUpRequest, context: Context) -> wallets_pb2.TopUp:
        return await commands.settle_top_up(self._database, request)

    async def CancelTopUp(self, request: wallets_pb2.CancelTopUpRequest, context: Context) -> wallets_pb2.TopUp:
        return await commands.cancel_top_up(self._database, self._providers, request)

    async def GetTopUp(self, request: wallets_pb2.GetTopUpRequest, context: Context) -> wallets_pb2.TopUp:
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.find(connection, UUID(request.id))
        if found is None:
            raise not_found(f"top-up '{request.id}'")
        return top_up_to_message(found)

    async def ListTopUps(
        self, request: wallets_pb2.ListTopUpsRequest, context: Context
    ) -> wallets_pb2.ListTopUpsResponse:
        wallet = await seen_wallet(self._database, request.wallet_id)
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.wallet_id)
        async with self._database.transaction(current_call().scope) as connection:
            before = UUID(str(cursor["before"])) if cursor else None
            found = await store.page(connection, wallet, before=before, limit=size + 1)
        response = wallets_pb2.ListTopUpsResponse(top_ups=[top_up_to_message(each) for each in found[:size]])
        if len(found) > size:
            cursor = {"before": str(found[size - 1].id)}
            response.next_page_token = self._pager.encode(cursor, bound_to=request.wallet_id)
        return response

"""HoldService."""

from typing import Any
from uuid import UUID

from farthing.wallet.v1 import holds_pb2, holds_pb2_grpc
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.paging import Pager, page_size
from servicekit.problems import not_found

from wallet.commands import holds as commands
from wallet.commands.callers import seen_wallet
from wallet.convert.holds import hold_to_message
from wallet.store import holds as store

Context = Any


class HoldsRpc(holds_pb2_grpc.HoldServiceServicer):
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, pager: Pager) -> None:
        self._database, self._pager = database, pager

    async def CreateHold(self, request: holds_pb2.CreateHoldRequest, context: Context) -> holds_pb2.CreateHoldResponse:
        return await commands.create_hold(self._database, request)

    async def CaptureHold(
        self, request: holds_pb2.CaptureHoldRequest, context: Context
    ) -> holds_pb2.CaptureHoldResponse:
        return await commands.capture_hold(self._database, request)

    async def ReleaseHold(self, request: holds_pb2.ReleaseHoldRequest, context: Context) -> holds_pb2.Hold:
        return await commands.release_hold(self._database, request)

    async def GetHold(self, request: holds_pb2.GetHoldRequest, context: Context) -> holds_pb2.Hold:
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.find(connection, UUID(request.id))
        if found is None:
            raise not_found(f"hold '{request.id}'")
        return hold_to_message(found)

    async def ListHolds(self, request: holds_pb2.ListHoldsRequest, context: Context) -> holds_pb2.ListHoldsResponse:
        wallet = await seen_wallet(self._database, request.wallet_id)
        size = page_size(request.page_size)
        bound_to = f"{request.wallet_id} {request.state}"
        cursor = self._pager.decode(request.page_token, bound_to=bound_to)
        before = UUID(str(cursor["before"])) if cursor else None
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.page(
                connection, wallet.root_id, wallet.id, state=request.state, before=before, limit=size + 1
            )
        response = holds_pb2.ListHoldsResponse(holds=[hold_to_message(hold) for hold in found[:size]])
        if len(found) > size:
            response.next_page_token = self._pager.encode({"before": str(found[size - 1].id)}, bound_to=bound_to)
        return response

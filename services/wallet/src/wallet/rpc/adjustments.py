"""AdjustmentService."""

from typing import Any
from uuid import UUID

from farthing.wallet.v1 import adjustments_pb2, adjustments_pb2_grpc
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.paging import Pager, page_size
from servicekit.problems import not_found

from wallet.commands import adjustments as commands
from wallet.commands.callers import seen_wallet
from wallet.convert.adjustments import adjustment_to_message
from wallet.store import adjustments as store

Context = Any


class AdjustmentsRpc(adjustments_pb2_grpc.AdjustmentServiceServicer):
    """Handlers; the server has checked who calls and what they sent. Above `limit_units` two people are needed."""

    def __init__(self, database: Database, pager: Pager, limit_units: int) -> None:
        self._database, self._pager, self._limit_units = database, pager, limit_units

    async def CreateAdjustment(
        self, request: adjustments_pb2.CreateAdjustmentRequest, context: Context
    ) -> adjustments_pb2.Adjustment:
        return await commands.create_adjustment(self._database, self._limit_units, request)

    async def ApproveAdjustment(
        self, request: adjustments_pb2.ApproveAdjustmentRequest, context: Context
    ) -> adjustments_pb2.Adjustment:
        return await commands.approve_adjustment(self._database, request)

    async def RejectAdjustment(
        self, request: adjustments_pb2.RejectAdjustmentRequest, context: Context
    ) -> adjustments_pb2.Adjustment:
        return await commands.reject_adjustment(self._database, request)

    async def GetAdjustment(
        self, request: adjustments_pb2.GetAdjustmentRequest, context: Context
    ) -> adjustments_pb2.Adjustment:
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.find(connection, UUID(request.id))
        if found is None:
            raise not_found(f"adjustment '{request.id}'")
        return adjustment_to_message(found)

    async def ListAdjustments(
        self, request: adjustments_pb2.ListAdjustmentsRequest, context: Context
    ) -> adjustments_pb2.ListAdjustmentsResponse:
        wallet_id = (await seen_wallet(self._database, request.wallet_id)).id if request.wallet_id else None
        size = page_size(request.page_size)
        bound_to = f"{request.wallet_id} {request.state}"
        cursor = self._pager.decode(request.page_token, bound_to=bound_to)
        scope = current_call().scope
        async with self._database.transaction(scope) as connection:
            found = await store.page(
                connection,
                everything=scope.everything,
                wallet_id=wallet_id,
                state=request.state,
                before=UUID(str(cursor["before"])) if cursor else None,
                limit=size + 1,
            )
        response = adjustments_pb2.ListAdjustmentsResponse(
            adjustments=[adjustment_to_message(each) for each in found[:size]]
        )
        if len(found) > size:
            response.next_page_token = self._pager.encode({"before": str(found[size - 1].id)}, bound_to=bound_to)
        return response

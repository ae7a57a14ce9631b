"""VoucherService."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from farthing.wallet.v1 import vouchers_pb2, wallets_pb2
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.paging import Pager, page_size

from wallet.commands import vouchers as commands
from wallet.commands.callers import seen_organization
from wallet.convert.vouchers import lot_to_message
from wallet.domain.vouchers import VoucherKey
from wallet.store import vouchers as store

Context = Any


class VouchersRpc:
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, pager: Pager, key: VoucherKey) -> None:
        self._database, self._pager, self._key = database, pager, key

    async def CreateVoucherLot(
        self, request: vouchers_pb2.CreateVoucherLotRequest, context: Context
    ) -> vouchers_pb2.VoucherLot:
        return await commands.create_lot(self._database, self._key, request)

    async def VoidVoucherLot(
        self, request: vouchers_pb2.VoidVoucherLotRequest, context: Context
    ) -> vouchers_pb2.VoucherLot:
        return await commands.void_lot(self._database, request)

    async def RedeemVoucher(self, request: vouchers_pb2.RedeemVoucherRequest, context: Context) -> wallets_pb2.TopUp:
        return await commands.redeem(self._database, request)

    async def ExportVoucherCodes(
        self, request: vouchers_pb2.ExportVoucherCodesRequest, context: Context
    ) -> AsyncIterator[vouchers_pb2.ExportVoucherCodesResponse]:
        async for response in commands.export_codes(self._database, self._key, request):
            yield response

    async def ListVoucherLots(
        self, request: vouchers_pb2.ListVoucherLotsRequest, context: Context
    ) -> vouchers_pb2.ListVoucherLotsResponse:
        seller = await seen_organization(self._database, request.seller_id)
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.seller_id)
        before = UUID(str(cursor["before"])) if cursor else None
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.page(connection, seller.id, before=before, limit=size + 1)
        response = vouchers_pb2.ListVoucherLotsResponse(lots=[lot_to_message(lot) for lot in found[:size]])
        if len(found) > size:
            cursor = {"before": str(found[size - 1].id)}
            response.next_page_token = self._pager.encode(cursor, bound_to=request.seller_id)
        return response

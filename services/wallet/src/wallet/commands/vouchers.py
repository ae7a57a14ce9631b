"""Vouchers made, told, ended and used (mission W4, W7)."""

from collections.abc import AsyncIterator
from uuid import UUID

from farthing.wallet.v1 import vouchers_pb2, wallets_pb2
from money import format_exact
from servicekit import audit
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.instants import instant_of
from servicekit.problems import not_found, precondition
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.commands.callers import in_whose_name, seen_organization, seen_wallet
from wallet.commands.settlement import settle
from wallet.convert.money import amount_in
from wallet.convert.refusals import refusals_told
from wallet.convert.top_ups import top_up_to_message
from wallet.convert.vouchers import lot_to_message
from wallet.domain import vouchers as rules
from wallet.domain.top_ups import Method, TopUp, check_amount
from wallet.domain.vouchers import VoucherKey, VoucherLot
from wallet.store import top_ups, vouchers, wallets

CODES_A_MESSAGE = 500


async def create_lot(
    database: Database, key: VoucherKey, request: vouchers_pb2.CreateVoucherLotRequest
) -> vouchers_pb2.VoucherLot:
    """Makes a lot for the buyers of a seller: the caller's own organization, or one below."""
    seller = await seen_organization(database, request.seller_id)
    amount = amount_in(request.amount, "amount")
    expires_at = instant_of(request.expires_at, "expires_at")

    async def change(connection: AsyncConnection) -> vouchers_pb2.VoucherLot:
        now = await top_ups.now(connection)
        rules.check_lot(amount, expires_at, now)
        lot = VoucherLot(
            id=new_id(),
            root_id=seller.root_id,
            seller_id=seller.id,
            name=request.name,
            amount=amount,
            count=request.count,
            created_by_name=current_call().principal.name,
            created_at=now,
            expires_at=expires_at,
        )
        codes = [rules.code_sha256(key.code(lot.id, number)) for number in range(1, lot.count + 1)]
        await vouchers.add(connection, lot, codes)
        await _record(connection, lot, "VOUCHER_LOT_CREATED", request.request_id)
        return lot_to_message(lot)

    with refusals_told():
        return await once(database, seller.root_id, request, vouchers_pb2.VoucherLot, change)


async def void_lot(database: Database, request: vouchers_pb2.VoidVoucherLotRequest) -> vouchers_pb2.VoucherLot:
    """Ends a lot; one that has ended is answered as it is."""
    found = await seen_lot(database, request.id)

    async def change(connection: AsyncConnection) -> vouchers_pb2.VoucherLot:
        lot = await vouchers.lock(connection, found)
        if lot.voided_at is None:
            await vouchers.void(connection, lot)
            await _record(connection, lot, "VOUCHER_LOT_VOIDED", request.request_id)
        return lot_to_message(await vouchers.lock(connection, lot))

    return await once(database, found.root_id, request, vouchers_pb2.VoucherLot, change)


async def export_codes(
    database: Database, key: VoucherKey, request: vouchers_pb2.ExportVoucherCodesRequest
) -> AsyncIterator[vouchers_pb2.ExportVoucherCodesResponse]:
    """The codes of a lot, made again; that they were told stands in the audit trail before the first one is."""
    lot = await seen_lot(database, request.lot_id)
    async with database.transaction(EVERYTHING) as connection:
        await _record(connection, lot, "VOUCHER_CODES_EXPORTED", "")
    after = 0
    while True:
        async with database.transaction(EVERYTHING) as connection:
            found = await vouchers.vouchers_of(connection, lot, after=after, limit=CODES_A_MESSAGE)
        if not found:
            return
        response = vouchers_pb2.ExportVoucherCodesResponse()
        for voucher in found:
            code = key.code(lot.id, voucher.number)
            if rules.code_sha256(code) != voucher.code_sha256:
                raise precondition(
                    "DEPENDENCY_UNAVAILABLE",
                    "These vouchers were made with another PAGE_TOKEN_KEY; they can be used, but their codes cannot be"
                    " told without it.",
                )
            message = response.codes.add(code=code)
            if voucher.redeemed_at is not None:
                message.redeemed_at.FromDatetime(voucher.redeemed_at)
        after = found[-1].number
        yield response


async def redeem(database: Database, request: vouchers_pb2.RedeemVoucherRequest) -> wallets_pb2.TopUp:
    """Puts a voucher on a wallet: a top-up that is settled at once. Of several who try, one gets it."""
    found = await seen_wallet(database, request.wallet_id)

    async def change(connection: AsyncConnection) -> wallets_pb2.TopUp:
        wallet = await wallets.lock(connection, found.root_id, found.id)
        lot, voucher = await vouchers.lock_voucher(connection, wallet.seller_id, rules.code_sha256(request.code))
        now = await top_ups.now(connection)
        lot, voucher = rules.check_redeemable(lot, voucher, wallet, now)
        check_amount(wallet, lot.amount)
        name, email = await in_whose_name(connection, wallet)
        top_up = TopUp(
            id=new_id(),
            root_id=wallet.root_id,
            wallet_id=wallet.id,
            organization_id=wallet.organization_id,
            seller_id=wallet.seller_id,
            amount=lot.amount,
            method=Method.VOUCHER,
            payment_token="",
            created_by_name=name,
            created_by_email=email,
            created_at=now,
        )
        await top_ups.add(connection, top_up, look_after=None)
        await vouchers.redeem(connection, lot, voucher, top_up.id, now)
        return top_up_to_message(await settle(connection, top_up, f"voucher {voucher.number} of {lot.name}"))

    with refusals_told():
        return await once(database, found.root_id, request, wallets_pb2.TopUp, change)


async def seen_lot(database: Database, lot_id: str) -> VoucherLot:
    """The lot that the caller names. Problem NOT_FOUND where it is not there, or not for the caller."""
    async with database.transaction(current_call().scope) as connection:
        lot = await vouchers.find(connection, UUID(lot_id))
    if lot is None:
        raise not_found(f"voucher lot '{lot_id}'")
    return lot


async def _record(connection: AsyncConnection, lot: VoucherLot, action: str, request_id: str) -> None:
    after = {
        "name": lot.name,
        "amount": format_exact(lot.amount.micros),
        "currency": lot.amount.currency,
        "count": lot.count,
        "expires_at": lot.expires_at.isoformat(),
    }
    change = audit.Change(
        root_id=lot.root_id,
        organization_id=lot.seller_id,
        action=action,
        target_type="voucher_lot",
        target_id=str(lot.id),
        after=after,
        request_id=request_id,
    )
    await audit.record(connection, change)

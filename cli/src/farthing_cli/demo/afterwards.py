"""What happens after the purchases: paid from outside, given back, given away, and taken home as a spreadsheet."""

import asyncio
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farthing.export.v1 import export_pb2
from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import vouchers_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from money import format_exact
from money.messages import money_from_message, money_to_message
from openpyxl import load_workbook
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.calls import CALL_TIMEOUT_S, Refused, call
from farthing_cli.demo import world
from farthing_cli.demo.people import People
from farthing_cli.problems import Problem

if TYPE_CHECKING:
    from farthing_cli.demo.printing import Printer

PATIENCE_S = 30.0
VOUCHER_MICROS = 10_000_000
VOUCHERS = 3
VOUCHER_DAYS_S = 30 * 24 * 3600
# In the export, the columns that the terminal has room for.
SHOWN = 5


@dataclass
class Afterwards:
    """What came of it; amounts as exact decimals."""

    external_order: str = ""
    external_total: str = ""
    refunded_order: str = ""
    refunded: str = ""
    voucher: str = ""
    voucher_amount: str = ""
    second_use: str = ""
    export: str = ""
    export_rows: int = 0
    export_bytes: int = 0


async def play_afterwards(people: People, order: orders_pb2.Order, printer: "Printer") -> Afterwards:
    """The four scenes, around the customer Lantern and its seller Harbour. `order` is given back in part."""
    done = Afterwards()
    printer.heading("An order paid from outside, a refund, a voucher, an export")
    await _paid_by_bank(people, done, printer)
    await _refund(people, order, done, printer)
    await _voucher(people, done, printer)
    await _export(people, done, printer)
    return done


async def _paid_by_bank(people: People, done: Afterwards, printer: "Printer") -> None:
    started_s = time.monotonic()
    placed = await people.buy(world.LANTERN, "datacenter-de-30d", 1, 9, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER)
    if placed.state != orders_pb2.Order.STATE_PENDING_PAYMENT:
        raise Problem(f"order {placed.number} waits for the bank, but is {placed.State.Name(placed.state)}")
    settle = wallets_pb2.SettleTopUpRequest(
        request_id=f"{people.run}-settle-{placed.number}",
        id=placed.payment.top_up_id,
        bank_reference=f"{people.run.upper()} {placed.number}",
    )
    await call(people.services.wallets.SettleTopUp, settle, people.token(world.HARBOUR, "finance"))
    paid = await _order_in(people, placed.id, orders_pb2.Order.STATE_COMPLETED)
    done.external_order, done.external_total = paid.number, format_exact(money_from_message(paid.total).micros)
    printer.scene(
        "by bank", paid.total, f"order {paid.number} waited; Harbour's finance saw the money, and it was complete",
        time.monotonic() - started_s,
    )  # fmt: skip


async def _order_in(people: People, order_id: str, state: orders_pb2.Order.State.ValueType) -> orders_pb2.Order:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        found: orders_pb2.Order = await call(
            people.services.orders.GetOrder,
            orders_pb2.GetOrderRequest(id=order_id),
            people.token(world.LANTERN, "member"),
        )
        if found.state == state:
            return found
        await asyncio.sleep(0.1)
    raise Problem(f"order {found.number} is {found.State.Name(found.state)} after {PATIENCE_S:.0f} s: {found}")


async def _refund(people: People, order: orders_pb2.Order, done: Afterwards, printer: "Printer") -> None:
    started_s = time.monotonic()
    request = orders_pb2.RefundOrderRequest(
        request_id=f"{people.run}-refund-{order.number}",
        id=order.id,
        lines=[orders_pb2.RefundLine(position=1, quantity=1)],
        reason="One of the two proxies did not connect",
    )
    refund = await call(people.services.orders.RefundOrder, request, people.token(world.HARBOUR, "finance"))
    if refund.state != orders_pb2.Refund.STATE_POSTED:
        raise Problem(f"the refund of {order.number} is {refund.State.Name(refund.state)}: {refund.refusal_reason}")
    whole = wallets_pb2.GetTransactionRequest(id=refund.transaction_id)
    transaction = await call(people.services.wallets.GetTransaction, whole, people.operator())
    if sum(money_from_message(posting.amount).micros for posting in transaction.postings) != 0:
        raise Problem(f"the transaction {transaction.id} does not sum to zero")
    done.refunded_order, done.refunded = order.number, format_exact(money_from_message(refund.total).micros)
    tiers = len({posting.tier for posting in transaction.postings})
    text = f"one of two proxies of {order.number} given back, at {tiers} tiers at once"
    printer.scene("refund", refund.total, text, time.monotonic() - started_s)


async def _voucher(people: People, done: Afterwards, printer: "Printer") -> None:
    started_s = time.monotonic()
    finance = people.token(world.HARBOUR, "finance")
    currency = people.wallets[world.LANTERN].currency
    lot = await call(
        people.services.vouchers.CreateVoucherLot,
        vouchers_pb2.CreateVoucherLotRequest(
            request_id=f"{people.run}-vouchers",
            seller_id=people.teams[world.HARBOUR].id,
            name="Winter campaign",
            amount=money_to_message(currency, VOUCHER_MICROS),
            count=VOUCHERS,
            expires_at=Timestamp(seconds=int(SYSTEM_CLOCK.now().timestamp()) + VOUCHER_DAYS_S),
        ),
        finance,
    )
    metadata = (("authorization", f"Bearer {finance}"),)
    asked = vouchers_pb2.ExportVoucherCodesRequest(lot_id=lot.id)
    codes = [
        each.code
        async for reply in people.services.vouchers.ExportVoucherCodes(asked, metadata=metadata, timeout=CALL_TIMEOUT_S)
        for each in reply.codes
    ]
    top_up = await _redeem(people, codes[0], "first")
    done.voucher, done.voucher_amount = codes[0], format_exact(money_from_message(top_up.amount).micros)
    try:
        await _redeem(people, codes[0], "second")
    except Refused as refused:
        done.second_use = refused.reason
    if not done.second_use:
        raise Problem(f"the voucher {codes[0]} was used twice")
    text = f"{codes[0]}, one of {len(codes)}; used again it is refused: {done.second_use}"
    printer.scene("voucher", top_up.amount, text, time.monotonic() - started_s)


async def _redeem(people: People, code: str, which: str) -> wallets_pb2.TopUp:
    request = vouchers_pb2.RedeemVoucherRequest(
        request_id=f"{people.run}-redeem-{which}", wallet_id=people.wallets[world.LANTERN].id, code=code
    )
    top_up: wallets_pb2.TopUp = await call(
        people.services.vouchers.RedeemVoucher, request, people.token(world.LANTERN, "member")
    )
    return top_up


async def _export(people: People, done: Afterwards, printer: "Printer") -> None:
    started_s = time.monotonic()
    request = orders_pb2.ExportOrdersRequest(format=export_pb2.EXPORT_FORMAT_XLSX)
    metadata = (("authorization", f"Bearer {people.token(world.LANTERN)}"),)
    data, end = bytearray(), export_pb2.ExportEnd()
    async for chunk in people.services.orders.ExportOrders(request, metadata=metadata, timeout=CALL_TIMEOUT_S):
        data += chunk.data
        if chunk.HasField("info"):
            done.export = chunk.info.file_name
        if chunk.HasField("end"):
            end.CopyFrom(chunk.end)
    if end.size_bytes != len(data):
        raise Problem(f"the export {done.export} is not whole: {len(data)} of {end.size_bytes} bytes")
    sheet = load_workbook(io.BytesIO(bytes(data)), read_only=True).worksheets[0]
    rows = [row[:SHOWN] for row in sheet.iter_rows(values_only=True, max_row=4)]
    done.export_rows, done.export_bytes = end.rows, len(data)
    printer.export(done, [[str(cell if cell is not None else "") for cell in row] for row in rows])
    printer.done("exported, opened again, and read", time.monotonic() - started_s)

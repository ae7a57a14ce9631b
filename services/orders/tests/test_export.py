"""Given orders, when a filtered view of them is exported, then other programs read exactly that view."""

import asyncio
import csv
import io
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX, ExportChunk
from farthing.orders.v1 import orders_pb2
from local_stack.stack import Stack
from money import MICROS_PER_UNIT
from orders.convert.search import filter_from_message, order_order_from_number
from orders.domain.cancellations import cancel_text
from orders.domain.orders import Order, margin_of
from orders.rpc.order_lists import OrderLists
from orders.rpc.reads import Reads
from orders.store import walks
from servicekit.clock import FixedClock
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_caller, as_service

from .shelf import NAMES, START, Shelf, add, draw, fill
from .test_search import new_database

NOW = START + timedelta(days=30)
HEADINGS = [
    "Order number",
    "Created (UTC)",
    "Paid (UTC)",
    "Type",
    "Status",
    "Organization",
    "Seller",
    "Paying user",
    "E-mail",
    "Payment method",
    "Products",
    "Quantity",
    "Currency",
    "Net",
    "Tax",
    "Total",
    "Refunded",
    "Cloud phone",
    "Cancel reason",
]
SELLER_HEADINGS = ["Revenue", "Cost", "Margin"]


@pytest.fixture(scope="module")
async def shelf(stack: Stack) -> AsyncIterator[Shelf]:
    async for database in new_database(stack):
        yield await fill(database, 120, seed=8)


async def chunks_of(shelf: Shelf, viewer: str, request: orders_pb2.ExportOrdersRequest) -> list[ExportChunk]:
    rpc = OrderLists(Reads(shelf.database, FixedClock(NOW), Pager("a key for tests")))
    if not viewer:
        with as_service():
            return [chunk async for chunk in rpc.export(request)]
    scope = shelf.scope(viewer)
    assert scope.organization_id is not None
    with as_caller(scope.organization_id, scope.root_id, name="Ann"):
        return [chunk async for chunk in rpc.export(request)]


async def exported(shelf: Shelf, viewer: str, format_: int, **request: Any) -> bytes:
    asked = orders_pb2.ExportOrdersRequest(format=format_, **request)  # type: ignore[arg-type]
    chunks = await chunks_of(shelf, viewer, asked)
    assert chunks[-1].end.rows == chunks[-1].rows
    return b"".join(chunk.data for chunk in chunks)


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def sheet_rows(data: bytes) -> list[list[Any]]:
    """Of the first sheet, up to the empty row that totals stand below."""
    book = openpyxl.load_workbook(io.BytesIO(data))
    rows = [[cell.value for cell in row] for row in book.worksheets[0].iter_rows()]
    empty = [None] * len(rows[0])
    return rows[: rows.index(empty)] if empty in rows else rows


def expected_rows(shelf: Shelf, viewer: str, orders: Sequence[Order]) -> list[list[Any]]:
    """What each cell has to hold; amounts in units, instants without their zone, as spreadsheets have them."""
    names = {each.id: each.name for each in shelf.organizations.values()}
    viewer_id = shelf.id(viewer) if viewer else None
    sells = any(each.parent_id == viewer_id for each in shelf.organizations.values()) and viewer_id is not None
    rows = []
    for order in orders:
        own = order.own_tier
        row = [
            order.number,
            order.created_at,
            order.paid_at,
            words(order.type),
            words(order.state),
            names[order.organization_id],
            names[order.seller_id],
            order.payer.name,
            "e" if order.phone else order.payer.email,
            words(order.payment_method),
            ", ".join(dict.fromkeys(item.product_name for item in order.items)),
            sum(item.quantity for item in order.items),
            order.currency,
            own.net_micros / MICROS_PER_UNIT,
            own.tax_micros / MICROS_PER_UNIT,
            own.gross_micros / MICROS_PER_UNIT,
            shelf.refunded_micros[order.id] / MICROS_PER_UNIT,
            order.phone.id if order.phone else None,
            cancel_text(order, viewer_id) or None,
        ]
        if sells:
            margin = margin_of(order, viewer_id)
            amounts = (
                None
                if margin is None
                else (margin.revenue_micros, margin.cost_micros, margin.revenue_micros - margin.cost_micros)
            )
            row += [None] * 3 if amounts is None else [amount / MICROS_PER_UNIT for amount in amounts]
        rows.append(row)
    return rows


def words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def same(found: Any, expected: Any) -> bool:
    """A cell of the file is the value; texts that a spreadsheet would run are marked, so that it does not."""
    if isinstance(expected, datetime):
        instant = found if isinstance(found, datetime) else datetime.fromisoformat(found)
        return instant.replace(tzinfo=UTC) == expected
    if isinstance(expected, int | float):
        return float(found) == pytest.approx(expected, abs=1e-9)
    if expected is None:
        return found in (None, "")
    return found in (expected, "'" + expected)


VIEWS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("platform", {"order": orders_pb2.ORDER_ORDER_AMOUNT_DESCENDING}),
    ("partner", {"order": orders_pb2.ORDER_ORDER_OLDEST}),
    ("reseller", {"filter": orders_pb2.OrderFilter(product_names=["a", "代"])}),
    ("customer", {"filter": orders_pb2.OrderFilter(states=[2, 3])}),
    ("stranger", {"order": orders_pb2.ORDER_ORDER_AMOUNT_ASCENDING}),
    ("direct", {"filter": orders_pb2.OrderFilter(search="no such thing")}),
]


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX])
@pytest.mark.parametrize(("viewer", "view"), VIEWS)
async def test_files_hold_exactly_the_filtered_view(
    shelf: Shelf, format_: int, viewer: str, view: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given orders with names of every kind, when a view is exported, then each cell is what the view has."""
    monkeypatch.setattr(walks, "BATCH", 7)
    data = await exported(shelf, viewer, format_, **view)
    rows = csv_rows(data) if format_ == EXPORT_FORMAT_CSV else sheet_rows(data)
    wanted = filter_from_message(view.get("filter", orders_pb2.OrderFilter()), None, None)
    orders = shelf.naive(viewer, wanted, order_order_from_number(view.get("order", 0)))
    expected = expected_rows(shelf, viewer, orders)
    sells = viewer in ("platform", "partner", "reseller", "other")
    assert rows[0] == HEADINGS + (SELLER_HEADINGS if sells else [])
    assert len(rows) == len(expected) + 1
    for found, row in zip(rows[1:], expected, strict=True):
        assert len(found) == len(row)
        wrong = [(heading, a, b) for heading, a, b in zip(rows[0], found, row, strict=True) if not same(a, b)]
        assert wrong == []


async def test_no_cell_is_a_formula(shelf: Shelf) -> None:
    """Given names that a spreadsheet would run, when they are exported, then none begins as a formula does."""
    assert any(name.startswith("=") for name in NAMES)
    texts = [cell for row in csv_rows(await exported(shelf, "", EXPORT_FORMAT_CSV))[1:] for cell in row]
    assert [cell for cell in texts if cell[:1] in ("=", "+", "@", "\t", "\r")] == []
    assert any(cell.startswith("'=") for cell in texts)
    book = openpyxl.load_workbook(io.BytesIO(await exported(shelf, "", EXPORT_FORMAT_XLSX)))
    types = {cell.data_type for row in book.worksheets[0].iter_rows() for cell in row}
    assert "f" not in types


async def test_the_info_sheet_says_what_the_file_is(shelf: Shelf) -> None:
    """Given a filter, when exported to Excel, then a sheet says it, the time, who asked, and sums a currency."""
    filter_ = orders_pb2.OrderFilter(
        states=[2, 3], product_names=["a"], search="s", seller_id=str(shelf.id("partner")), order_number="FA-26"
    )
    filter_.created_from.FromDatetime(START)
    data = await exported(shelf, "partner", EXPORT_FORMAT_XLSX, filter=filter_)
    book = openpyxl.load_workbook(io.BytesIO(data))
    told = {str(cell.value) for sheet in book.worksheets[1:] for row in sheet.iter_rows() for cell in row}
    assert {
        "Partner",
        "Ann",
        f"{NOW:%Y-%m-%d %H:%M:%S}",
        "by creation, the newest first",
        "Filter: Status",
        "Canceled or Completed",
        "Filter: Product name with",
        "Filter: Search",
        "Filter: Seller",
        "Partner (partner.example)",
        "FA-26",
        "Filter: Created from (UTC)",
    } <= told


@pytest.mark.parametrize(
    ("viewer", "named", "said"),
    [
        ("partner", "customer", "Customer (customer.example)"),
        ("customer", "customer", "Customer (customer.example)"),
        ("", "customer", "Customer (customer.example)"),
        # Nobody sees its seller, nor what is a stranger's.
        ("customer", "reseller", ""),
        ("partner", "stranger", ""),
        ("", "", ""),
    ],
)
async def test_the_info_sheet_names_the_organizations_filtered_by(
    shelf: Shelf, viewer: str, named: str, said: str
) -> None:
    """Given filters of organizations, when exported to Excel, then they are named as the caller sees them, else ids."""
    id_ = str(shelf.id(named) if named else uuid4())
    filter_ = orders_pb2.OrderFilter(organization_id=id_, seller_id=id_)
    data = await exported(shelf, viewer, EXPORT_FORMAT_XLSX, filter=filter_)
    book = openpyxl.load_workbook(io.BytesIO(data))
    told = {row[0].value: row[1].value for sheet in book.worksheets[1:] for row in sheet.iter_rows(max_col=2)}
    assert (told["Filter: Organization"], told["Filter: Seller"]) == (said or id_,) * 2


async def test_the_file_is_named_after_whose_it_is(shelf: Shelf) -> None:
    """Given an export, when it begins, then its first piece names kind, domain and instant, and its last is whole."""
    for viewer, stem in (("customer", "orders-customer.example"), ("", "orders-all")):
        chunks = await chunks_of(shelf, viewer, orders_pb2.ExportOrdersRequest(format=EXPORT_FORMAT_CSV))
        assert chunks[0].info.file_name == f"{stem}-{NOW:%Y%m%dT%H%M%SZ}.csv"
        assert chunks[-1].HasField("end")


async def test_orders_that_come_later_are_left_out(shelf: Shelf) -> None:
    """Given an order created after the export's instant, when exported, then it is not in the file."""
    late = replace(draw(shelf, _random()), created_at=NOW + timedelta(microseconds=1), number="FA-261130-LATE")
    on_time = replace(draw(shelf, _random()), created_at=NOW, number="FA-261129-0NT1MEXX")
    for order in (late, on_time):
        await add(shelf, order, _random())
    try:
        numbers = [row[0] for row in csv_rows(await exported(shelf, "", EXPORT_FORMAT_CSV))]
        assert on_time.number in numbers
        assert late.number not in numbers
    finally:
        # Other tests export all that is there.
        shelf.orders.remove(next(each for each in shelf.orders if each.id == late.id))


def _random() -> Any:
    import random

    return random.Random(1)


async def test_a_reader_that_goes_away_stops_the_work(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an export under way, when its reader is canceled, then neither files, connections nor tasks stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(walks, "BATCH", 1)
    began = asyncio.Event()
    rpc = OrderLists(Reads(shelf.database, FixedClock(NOW), Pager("a key for tests")))

    async def read() -> None:
        with as_service():
            async for _ in rpc.export(orders_pb2.ExportOrdersRequest(format=EXPORT_FORMAT_XLSX)):
                began.set()

    before = asyncio.all_tasks()
    reader = asyncio.create_task(read())
    await began.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert list(tmp_path.iterdir()) == []
    for _ in range(100):
        left = [task for task in asyncio.all_tasks() - before if not task.done()]
        if not left and shelf.database.engine.pool.checkedout() == 0:  # type: ignore[attr-defined]
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"still there: {left}")


async def test_a_filter_that_is_wrong_is_refused_before_the_file_begins(shelf: Shelf) -> None:
    """Given an instant that is none, when exported, then the problem comes, and no piece."""
    request = orders_pb2.ExportOrdersRequest(format=EXPORT_FORMAT_CSV)
    request.filter.created_from.seconds = 2**60
    with pytest.raises(Problem, match="created_from"):
        await chunks_of(shelf, "customer", request)


async def test_cancel_reasons_are_in_the_file(shelf: Shelf) -> None:
    """Given a canceled order, when its buyer exports it, then the file says why it was canceled."""
    order = next(each for each in shelf.orders if each.organization_id == shelf.id("customer") and each.cancellation)
    rows = csv_rows(await exported(shelf, "customer", EXPORT_FORMAT_CSV))
    reason = next(row[18] for row in rows if row[0] == order.number)
    assert reason == cancel_text(order, order.organization_id) == "Canceled by the seller: not wanted any more"

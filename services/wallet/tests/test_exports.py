"""Exports of a wallet's lines, opened by other programs and compared cell by cell, on a real PostgreSQL."""

import asyncio
import csv
import io
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import openpyxl
import pytest
from directory import store as organizations
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX, ExportChunk, ExportFormat
from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.call import Call
from servicekit.database import Database
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import as_caller
from wallet.rpc import exports as module
from wallet.rpc.exports import ExportsRpc

from .ledger_world import Chain, World
from .search_world import Row, fill, leaves, rows_of, sorted_as, stamp

CONTEXT: Any = None
METHOD = "/farthing.wallet.v1.WalletService/ExportEntries"
HEADINGS = (
    *("Time (UTC)", "Type", "Kind", "Item", "Order number", "Cloud phone", "Amount", "Balance after", "Currency"),
    *("Transaction", "Original transaction", "Line"),
)
TYPES = {1: "Recharge", 2: "Expense", 3: "Earnings", 4: "System"}
KINDS = {1: "Top-up", 2: "Charge", 3: "Refund", 4: "Adjustment", 5: "Voucher"}


@pytest.fixture(scope="module")
async def chain(world: World, charges: Any) -> Chain:
    """A chain with some hundred lines."""
    made = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, made, 120, seed=31)
    return made


@pytest.fixture
def exports(database: Database, monkeypatch: pytest.MonkeyPatch) -> ExportsRpc:
    """The handler, with batches small enough that there are many."""
    monkeypatch.setattr(module, "_LINES_A_BATCH", 37)
    return ExportsRpc(database)


def seen_by(chain: Chain, tier: int) -> AbstractContextManager[Call]:
    """A call of the buyer of `tier`; tier 4 is the platform."""
    return as_caller(chain.organization_ids[tier - 1], None if tier == 4 else chain.root_id, method=METHOD)


async def file_of(exports: ExportsRpc, request: pb.ExportEntriesRequest) -> tuple[list[ExportChunk], bytes]:
    """The pieces, and the file that they make."""
    chunks = [chunk async for chunk in exports.ExportEntries(request, CONTEXT)]
    data = b"".join(chunk.data for chunk in chunks)
    end = chunks[-1].end
    assert (end.size_bytes, end.sha256) == (len(data), sha256(data).digest())
    return chunks, data


FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"types": [2, 3]},
    {"search": "e", "types": [1, 2]},
    {"items": ["proxy", "SUM("], "cloud_phone_id": "phone-1"},
    {"order_number": "fa2611"},
    {"items": ["nothing has this"]},
)


async def test_csv_is_the_list(world: World, chain: Chain, exports: ExportsRpc) -> None:
    """Given filters and orders. When they are exported as CSV. Then each cell is the line's, in the list's order."""
    rows = await rows_of(world, chain.wallet_ids[1])
    for number, fields in enumerate(FILTERS):
        asked, order = pb.EntryFilter(**fields), number % 5
        expected = sorted_as(order, [row for row in rows if leaves(asked, row)])
        with seen_by(chain, 2):
            chunks, data = await file_of(exports, request_for(chain, EXPORT_FORMAT_CSV, asked, order))
        found = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        assert tuple(found[0]) == HEADINGS
        assert len(found) - 1 == len(expected) == chunks[-1].end.rows
        for cells, row in zip(found[1:], expected, strict=True):
            assert datetime.fromisoformat(cells[0]).replace(tzinfo=UTC) == row.posted_at.replace(microsecond=0)
            assert cells[1:3] == [TYPES[row.type], KINDS[row.kind]]
            # A text that a spreadsheet would compute stands behind an apostrophe.
            assert cells[3].removeprefix("'") == row.item
            assert not cells[3].startswith(("=", "+", "-", "@"))
            assert [cell.removeprefix("'") for cell in cells[4:6]] == [row.order_number, row.cloud_phone_id]
            assert [round(float(cell) * 1e6) for cell in cells[6:8]] == [row.amount, row.balance_after]
            original = "" if row.original_id is None else str(row.original_id)
            assert cells[8:] == ["EUR", str(row.transaction_id), original, str(row.sequence)]
    assert any(row.item.startswith("=") for row in rows)


async def test_a_workbook_is_the_list(world: World, chain: Chain, exports: ExportsRpc) -> None:
    """Given filters. When they are exported to Excel. Then cells, totals and the sheet of facts say the same."""
    rows = await rows_of(world, chain.wallet_ids[1])
    for number, fields in enumerate(FILTERS):
        asked, order = pb.EntryFilter(**fields, posted_from=stamp(rows[2].posted_at)), number % 5
        expected = sorted_as(order, [row for row in rows if leaves(asked, row)])
        with seen_by(chain, 2):
            _, data = await file_of(exports, request_for(chain, EXPORT_FORMAT_XLSX, asked, order))
        book = openpyxl.load_workbook(io.BytesIO(data))
        sheet = book.worksheets[0]
        table = list(sheet.iter_rows(values_only=True))
        assert (sheet.title, tuple(table[0])) == ("Balance details", HEADINGS)
        assert sheet.freeze_panes == "A2"
        check_cells(table[1 : len(expected) + 1], expected)
        assert all(cell.data_type != "f" for line in sheet.iter_rows(max_row=len(expected) + 1) for cell in line)
        facts = [
            [str(cell) for cell in line if cell is not None] for line in book.worksheets[-1].iter_rows(values_only=True)
        ]
        flat = [cell for line in facts for cell in line]
        assert str(chain.wallet_ids[1]) in flat
        assert fields.get("search", "EUR") in flat


def check_cells(table: list[tuple[Any, ...]], expected: list[Row]) -> None:
    """Asserts that each cell of each line is what the ledger has."""
    assert len(table) == len(expected)
    for cells, row in zip(table, expected, strict=True):
        assert abs((cells[0].replace(tzinfo=UTC) - row.posted_at).total_seconds()) < 0.001
        assert cells[1:3] == (TYPES[row.type], KINDS[row.kind])
        assert (cells[3], cells[4], cells[5] or "") == (row.item, row.order_number or None, row.cloud_phone_id)
        assert [round(cell * 1_000_000) for cell in cells[6:8]] == [row.amount, row.balance_after]
        assert (cells[8], cells[9], cells[11]) == ("EUR", str(row.transaction_id), row.sequence)
        assert (cells[10] or "") == ("" if row.original_id is None else str(row.original_id))


def request_for(
    chain: Chain, format_: ExportFormat.ValueType, asked: pb.EntryFilter, order: int = 0
) -> pb.ExportEntriesRequest:
    """A request for the reseller's lines."""
    return pb.ExportEntriesRequest(wallet_id=str(chain.wallet_ids[1]), filter=asked, order=order, format=format_)


async def test_lines_that_follow_are_not_in_it(world: World, charges: Any, exports: ExportsRpc) -> None:
    """Given an export under way, oldest first. When lines are posted meanwhile. Then it ends where it began."""
    chain = await world.chain(money=(10**9,) * 3, earns=(False, True, False))
    await fill(world, charges, chain, 60, seed=5)
    before = await rows_of(world, chain.wallet_ids[1])
    request = request_for(chain, EXPORT_FORMAT_CSV, pb.EntryFilter(), pb.ENTRY_ORDER_OLDEST)
    data = b""
    with seen_by(chain, 2):
        async for chunk in exports.ExportEntries(request, CONTEXT):
            if chunk.HasField("info"):
                await fill(world, charges, chain, 20, seed=6)
            data += chunk.data
    found = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [int(cells[-1]) for cells in found[1:]] == [row.sequence for row in before]


@pytest.mark.parametrize("moved", [False, True])
async def test_the_sheet_of_facts_names_the_owner(
    database: Database, chain: Chain, exports: ExportsRpc, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    """Given a wallet. When it is exported to Excel. Then its owner is named, by its id where it is not to be seen."""
    owner_id = chain.organization_ids[1]
    async with database.transaction(EVERYTHING) as connection:
        owner = await organizations.find(connection, owner_id)
    assert owner is not None

    async def unseen(*_args: object) -> None:
        return None

    if moved:
        monkeypatch.setattr(module.organizations, "find", unseen)
    with seen_by(chain, 3):
        _, data = await file_of(exports, request_for(chain, EXPORT_FORMAT_XLSX, pb.EntryFilter()))
    facts = openpyxl.load_workbook(io.BytesIO(data)).worksheets[-1]
    told = {row[0].value: row[1].value for row in facts.iter_rows(max_col=2)}
    assert told["Organization"] == (str(owner_id) if moved else f"{owner.name} ({owner.domain})")


async def test_the_file_has_a_name(world: World, chain: Chain, exports: ExportsRpc) -> None:
    """Given a wallet. When it is exported. Then the first piece names the file after domain, currency and instant."""
    domain = f"{chain.organization_ids[1].hex}.example"
    with seen_by(chain, 3):
        chunks, _ = await file_of(exports, request_for(chain, EXPORT_FORMAT_XLSX, pb.EntryFilter()))
    name = chunks[0].info.file_name
    assert name.startswith(f"balance-{domain}-EUR-20")
    assert name.endswith("Z.xlsx")


async def test_a_client_that_goes_stops_the_work(
    chain: Chain, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an export of many batches. When its client goes after the first piece. Then no more batches are read."""
    monkeypatch.setattr(module, "_LINES_A_BATCH", 1)
    read = 0
    page = module.search.page

    async def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal read
        read += 1
        await asyncio.sleep(0.02)
        return await page(*arguments, **named)

    monkeypatch.setattr(module.search, "page", counted)
    with seen_by(chain, 2):
        stream = ExportsRpc(database).ExportEntries(request_for(chain, EXPORT_FORMAT_CSV, pb.EntryFilter()), CONTEXT)
        assert (await anext(stream)).HasField("info")
        await stream.aclose()  # type: ignore[attr-defined]
    after = read
    await asyncio.sleep(0.2)
    assert read == after < 100


async def test_who_may_export(chain: Chain, world: World, exports: ExportsRpc) -> None:
    """Given a wallet. When its buyer, a stranger, or anybody with an unknown id exports it. Then there is no such."""
    stranger = await world.chain()
    request = request_for(chain, EXPORT_FORMAT_CSV, pb.EntryFilter())
    for caller, tier in ((chain, 1), (stranger, 3), (stranger, 1)):
        with seen_by(caller, tier):
            await refused(exports, request, "NOT_FOUND")
    request.wallet_id = str(uuid4())
    with seen_by(chain, 2):
        await refused(exports, request, "NOT_FOUND")


async def refused(exports: ExportsRpc, request: pb.ExportEntriesRequest, reason: str) -> None:
    """Asserts that the stream ends before its first piece."""
    with pytest.raises(Problem) as caught:
        await anext(exports.ExportEntries(request, CONTEXT))
    assert caught.value.reason == reason

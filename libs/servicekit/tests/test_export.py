"""Given rows, when they are exported, then other programs read back exactly those, and nothing is left behind."""

import asyncio
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import openpyxl
import pytest
import uvloop
from farthing.export.v1.export_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX, ExportChunk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servicekit.export import CHUNK_BYTES_MAX, Column, ExportFailed, Kind, export, file_name_stem
from servicekit.problems import Problem
from servicekit.sheets.csv_file import CsvFile
from servicekit.sheets.plan import ROWS_PER_SHEET_MAX, Plan
from servicekit.sheets.xlsx_file import CUT, TEXT_MAX, XlsxFile
from servicekit.testing import eventually

NOON = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
COLUMNS = (
    Column("Number"),
    Column("Created", Kind.INSTANT),
    Column("Product"),
    Column("Quantity", Kind.INTEGER),
    Column("Total", Kind.AMOUNT, summed=True),
    Column("Currency"),
)
ROWS = [
    ("FA-1", NOON, "Residential proxy", 3, 12_500_000, "EUR"),
    ("FA-2", NOON + timedelta(seconds=1), "代理 🚀", -4, -1, "USD"),
    ("FA-3", datetime(2026, 11, 25, 14, 0, 2, tzinfo=timezone(timedelta(hours=2))), "عربي", 0, 1_234_567, "EUR"),
    ("FA-4", None, "", None, None, "EUR"),
]
FACTS = (("Filter", "state = COMPLETED"), ("Time (UTC)", "2026-11-25 12:00:00"), ("By", "<r>Ann & Bob</r>"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go; it has to be empty in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


async def batches_of(rows: Sequence[Any], size: int = 2) -> AsyncIterator[Sequence[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def stream(format_: int, batches: Any, columns: Sequence[Column] = COLUMNS, **options: Any) -> Any:
    options = {"file_stem": "orders", "sheet_name": "Orders", "facts": FACTS, "currency_column": "Currency", **options}
    return export(format_, columns=columns, batches=batches, **options)


async def chunks_of(format_: int, rows: Sequence[Any], **options: Any) -> list[ExportChunk]:
    return [chunk async for chunk in stream(format_, batches_of(rows), **options)]


def data_of(chunks: Sequence[ExportChunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def workbook(data: bytes) -> Any:
    return openpyxl.load_workbook(io.BytesIO(data))


def values(sheet: Any) -> list[tuple[Any, ...]]:
    return [tuple(cell.value for cell in row) for row in sheet.iter_rows()]


def written_xlsx(columns: Sequence[Column], rows: Sequence[Any], folder: Path, **options: Any) -> Any:
    """Without the worker, for what needs many files."""
    path = folder / "one.xlsx"
    book = XlsxFile(Plan("Orders", tuple(columns), **options), path, folder)
    book.write(rows)
    book.close()
    data = path.read_bytes()
    path.unlink()
    return workbook(data)


def written_csv(columns: Sequence[Column], rows: Sequence[Any]) -> list[list[str]]:
    out = io.BytesIO()
    lines = CsvFile(Plan("Orders", tuple(columns)), out)
    lines.write(rows)
    lines.close()
    return list(csv.reader(io.StringIO(out.getvalue().decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX], ids=["csv", "xlsx"])
async def test_a_stream_names_the_file_first_and_proves_it_last(format_: int) -> None:
    """Given rows, When exported, Then info comes first, the end last, with the size and hash of what came between."""
    chunks = await chunks_of(format_, ROWS)

    data = data_of(chunks)
    assert chunks[0].info.file_name == {EXPORT_FORMAT_CSV: "orders.csv", EXPORT_FORMAT_XLSX: "orders.xlsx"}[format_]
    assert chunks[0].info.media_type
    assert (chunks[-1].end.rows, chunks[-1].end.size_bytes) == (len(ROWS), len(data))
    assert chunks[-1].end.sha256 == hashlib.sha256(data).digest()
    assert not any(chunk.HasField("info") for chunk in chunks[1:])
    assert not any(chunk.HasField("end") for chunk in chunks[:-1])


async def test_csv_reads_back() -> None:
    """Given rows of every kind, When read back as CSV, Then each cell is what was given, in UTC and exact decimals."""
    data = data_of(await chunks_of(EXPORT_FORMAT_CSV, ROWS))

    assert data.startswith(b"\xef\xbb\xbfNumber,Created (UTC),")
    assert data.count(b"\r\n") == data.count(b"\n") == len(ROWS) + 1
    assert list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) == [
        ["Number", "Created (UTC)", "Product", "Quantity", "Total", "Currency"],
        ["FA-1", "2026-11-25 12:00:00", "Residential proxy", "3", "12.50", "EUR"],
        ["FA-2", "2026-11-25 12:00:01", "代理 🚀", "-4", "-0.000001", "USD"],
        ["FA-3", "2026-11-25 12:00:02", "عربي", "0", "1.234567", "EUR"],
        ["FA-4", "", "", "", "", "EUR"],
    ]


async def test_xlsx_reads_back() -> None:
    """Given rows of every kind, When opened by openpyxl, Then cells have their types, and totals follow by currency."""
    book = workbook(data_of(await chunks_of(EXPORT_FORMAT_XLSX, ROWS)))

    assert book.sheetnames == ["Orders", "About"]
    sheet = book["Orders"]
    noon = NOON.replace(tzinfo=None)
    assert values(sheet) == [
        ("Number", "Created (UTC)", "Product", "Quantity", "Total", "Currency"),
        ("FA-1", noon, "Residential proxy", 3, 12.5, "EUR"),
        ("FA-2", noon + timedelta(seconds=1), "代理 🚀", -4, -0.000001, "USD"),
        ("FA-3", noon + timedelta(seconds=2), "عربي", 0, 1.234567, "EUR"),
        ("FA-4", None, None, None, None, "EUR"),
        (None,) * 6,
        ("Total", None, None, None, 13.734567, "EUR"),
        ("Total", None, None, None, -0.000001, "USD"),
    ]
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", "A1:F5")
    assert sheet["A1"].font.bold and sheet["E7"].font.bold and not sheet["A2"].font.bold
    assert sheet["B2"].number_format == "yyyy-mm-dd hh:mm:ss"
    assert sheet["E2"].number_format == "#,##0.00####"
    assert sheet.column_dimensions["C"].width > sheet.column_dimensions["D"].width


async def test_the_info_sheet_says_what_it_is() -> None:
    """Given facts, When exported, Then the info sheet states them, rows and totals, and takes no text for XML."""
    book = workbook(data_of(await chunks_of(EXPORT_FORMAT_XLSX, ROWS)))

    assert values(book["About"]) == [
        *[(label, value, None) for label, value in FACTS],
        ("Rows", 4, None),
        ("Total of Total", "EUR", 13.734567),
        ("Total of Total", "USD", -0.000001),
    ]


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX], ids=["csv", "xlsx"])
async def test_nothing_is_a_file_too(format_: int) -> None:
    """Given no rows, When exported, Then the file has its headings alone."""
    chunks = await chunks_of(format_, [])

    assert chunks[-1].end.rows == 0
    if format_ == EXPORT_FORMAT_CSV:
        assert data_of(chunks).decode("utf-8-sig") == "Number,Created (UTC),Product,Quantity,Total,Currency\r\n"
    else:
        assert len(values(workbook(data_of(chunks))["Orders"])) == 1


@pytest.mark.parametrize(
    "evil",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1",
        "＝1+1",
        "＋1",
        "－1",
        "＠x",
        "\ufeff=1",
        "\u200b=1",
        "\n=1",
    ],
)
def test_formulas_are_neutralised(evil: str, folder: Path) -> None:
    """Given text that a spreadsheet would run, When exported, Then CSV has it behind an apostrophe, Excel as text."""
    columns = (Column("Name"), Column("Total", Kind.AMOUNT))

    (_, (name, total)) = written_csv(columns, [(evil, -1_000_000)])
    sheet = written_xlsx(columns, [(evil, -1_000_000)], folder)["Orders"]

    assert (name, total) == (f"'{evil}", "-1.00")
    assert (sheet["A2"].data_type, sheet["A2"].value) in (("s", evil), ("s", evil.replace("\r", "\n")))
    assert sheet["B2"].value == -1


@pytest.mark.parametrize(
    ("text", "csv_text", "xlsx_text"),
    [
        ("a\0b\x1bc", "a�b�c", "a�b�c"),
        ("lone \ud800", "lone �", "lone �"),
        ("_x0041_", "_x0041_", "_x0041_"),
        ("<r><t>x</t></r>", "<r><t>x</t></r>", "<r><t>x</t></r>"),
        ('"quoted", & <b>', '"quoted", & <b>', '"quoted", & <b>'),
        ("two\r\nlines", "two\r\nlines", "two\nlines"),
        (" blanks kept ", " blanks kept ", " blanks kept "),
        ("名" * 10_000, "名" * 10_000, "名" * 10_000),
        ("\u202eright to left: שלום", "\u202eright to left: שלום", "\u202eright to left: שלום"),
    ],
)
def test_text_stays_what_it_is(text: str, csv_text: str, xlsx_text: str, folder: Path) -> None:
    """Given text of any kind, When exported, Then it is the same in both, less what files cannot hold."""
    columns = (Column("Name"), Column("Next"))

    assert written_csv(columns, [(text, "x")])[1] == [csv_text, "x"]
    assert values(written_xlsx(columns, [(text, "x")], folder)["Orders"])[1] == (_unescaped(xlsx_text), "x")


def _unescaped(text: str) -> str:
    """As openpyxl gives it back: it leaves `_x005F_`, the escaped underscore, as it is in the file."""
    return text.replace("_x0041_", "_x005F_x0041_")


@pytest.mark.parametrize("text", ["x" * 40_000, "🚀" * 20_000, "x" * (TEXT_MAX - len(CUT) - 1) + "🚀" * 20])
def test_what_a_cell_cannot_hold_is_cut_with_a_mark(text: str, folder: Path) -> None:
    """Given text past a cell's 32,767 characters, When exported to Excel, Then it is cut between characters, marked."""
    value = written_xlsx((Column("Name"),), [(text,)], folder)["Orders"]["A2"].value

    assert value.endswith(CUT) and text.startswith(value.removesuffix(CUT))
    assert TEXT_MAX - 1 <= len(value.encode("utf-16-le")) // 2 <= TEXT_MAX
    assert written_csv((Column("Name"),), [(text,)])[1] == [text]


def test_long_integers_keep_their_digits(folder: Path) -> None:
    """Given an integer of more digits than Excel keeps, When exported, Then it is there whole, as text."""
    sheet = written_xlsx((Column("N", Kind.INTEGER),), [(10**15,), (10**15 - 1,)], folder)["Orders"]

    assert [sheet["A2"].value, sheet["A3"].value] == ["1000000000000000", 999999999999999]


def test_an_instant_needs_its_zone(folder: Path) -> None:
    """Given an instant without a zone, When exported, Then it is refused rather than guessed."""
    columns = (Column("At", Kind.INSTANT),)
    with pytest.raises(ValueError, match="no time zone"):
        written_csv(columns, [(NOON.replace(tzinfo=None),)])


CELLS = {
    Kind.TEXT: st.text(max_size=60),
    Kind.INTEGER: st.integers(-(10**15) + 1, 10**15 - 1),
    Kind.AMOUNT: st.integers(-(10**15), 10**15),
    Kind.INSTANT: st.integers(-(10**15), 10**15).map(lambda us: NOON + timedelta(microseconds=us)),
}


@given(
    st.lists(st.sampled_from(Kind), min_size=1, max_size=6).flatmap(
        lambda kinds: st.tuples(
            st.just(kinds), st.lists(st.tuples(*[st.none() | CELLS[kind] for kind in kinds]), max_size=8)
        )
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cells_read_back(folder: Path, table: tuple[list[Kind], list[tuple[Any, ...]]]) -> None:
    """Given any cells, When read back from both files, Then they are the same, to a second in CSV."""
    kinds, rows = table
    columns = [Column(f"c{position}", kind) for position, kind in enumerate(kinds)]

    sheet = written_xlsx(columns, rows, folder)["Orders"]
    lines = written_csv(columns, rows)[1:]

    assert len(lines) == len(rows)
    for number, (row, line) in enumerate(zip(rows, lines, strict=True), start=2):
        for position, (kind, given_, text) in enumerate(zip(kinds, row, line, strict=True), start=1):
            check_cell(kind, given_, sheet.cell(number, position).value, text)


def check_cell(kind: Kind, given_: Any, cell: Any, text: str) -> None:
    if given_ is None:
        assert (cell, text) == (None, "")
    elif kind is Kind.TEXT:
        plain = "".join("�" if unwritable(c) else c for c in given_)
        assert text.removeprefix("'") == plain.replace("\x7f", "�").removeprefix("'")
        assert (cell or "").replace("_x005F_", "_") == plain.replace("\r\n", "\n").replace("\r", "\n")
    elif kind is Kind.INTEGER:
        assert (cell, int(text)) == (given_, given_)
    elif kind is Kind.AMOUNT:
        whole, _, places = text.partition(".")
        assert int(whole + places.ljust(6, "0")) == given_
        assert round(cell * 1_000_000) == given_
    else:
        assert text == given_.strftime("%Y-%m-%d %H:%M:%S")
        assert abs(cell.replace(tzinfo=UTC) - given_) <= timedelta(milliseconds=1)


def unwritable(character: str) -> bool:
    return (ord(character) < 32 and character not in "\t\n\r") or character in "\ufffe\uffff"


def test_rows_go_on_in_the_next_sheet(folder: Path) -> None:
    """Given more rows than a sheet takes, When exported, Then the next sheets go on, each with heading and filter."""
    rows = [(f"FA-{number}", number * 1_000_000) for number in range(10)]
    columns = (Column("Number"), Column("Total", Kind.AMOUNT, summed=True))

    book = written_xlsx(columns, rows, folder, rows_per_sheet=5)

    assert book.sheetnames == ["Orders", "Orders 2", "Orders 3", "About"]
    sheets = [values(book[name]) for name in book.sheetnames[:3]]
    assert [sheet[0] for sheet in sheets] == [("Number", "Total")] * 3
    assert [row for sheet in sheets for row in sheet[1:5]][:8] == [(f"FA-{n}", n) for n in range(8)]
    assert sheets[2][1:] == [("FA-8", 8), ("FA-9", 9), (None, None), ("Total", 45)]
    assert [book[name].auto_filter.ref for name in book.sheetnames[:3]] == ["A1:B5", "A1:B5", "A1:B3"]
    assert [book[name].freeze_panes for name in book.sheetnames[:3]] == ["A2"] * 3


def test_totals_of_a_full_sheet_stand_on_the_info_sheet(folder: Path) -> None:
    """Given rows that fill a sheet to the last, When exported, Then no row is lost; the info sheet has the total."""
    columns = (Column("Total", Kind.AMOUNT, summed=True),)

    book = written_xlsx(columns, [(1_000_000,)] * 4, folder, rows_per_sheet=5)

    assert values(book["Orders"]) == [("Total",), (1,), (1,), (1,), (1,)]
    assert values(book["About"]) == [("Rows", 4, None), ("Total of Total", None, 4)]


@pytest.mark.slow
async def test_past_excels_last_row() -> None:
    """Given more rows than Excel's 1,048,576, When exported, Then the second sheet has the rest, and no row is lost."""
    extra, step = 500, 10_000

    async def many() -> AsyncIterator[Sequence[Any]]:
        for start in range(0, ROWS_PER_SHEET_MAX + extra, step):
            yield [(f"FA-{n}", n) for n in range(start, min(start + step, ROWS_PER_SHEET_MAX + extra))]

    columns = (Column("Number"), Column("Count", Kind.INTEGER))
    data = data_of([chunk async for chunk in stream(EXPORT_FORMAT_XLSX, many(), columns, currency_column="")])

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True)
    assert book.sheetnames == ["Orders", "Orders 2", "About"]
    counts = [row[1] for name in book.sheetnames[:2] for row in book[name].iter_rows(min_row=2, values_only=True)]
    assert counts == list(range(ROWS_PER_SHEET_MAX + extra))


async def test_progress_comes_while_nothing_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given rows that let one wait, When nothing is ready, Then pieces without data say how many rows there are."""
    monkeypatch.setattr("servicekit.export.PROGRESS_EVERY_S", 0.01)
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[Sequence[Any]]:
        yield ROWS
        await go_on.wait()
        yield ROWS

    seen = []
    async for chunk in stream(EXPORT_FORMAT_XLSX, slow()):
        seen.append(chunk)
        if chunk.rows == len(ROWS) and not chunk.data:
            go_on.set()

    assert any(not chunk.data and chunk.rows == len(ROWS) for chunk in seen)
    assert seen[-1].end.rows == 2 * len(ROWS)


async def test_large_files_come_in_pieces() -> None:
    """Given a file of some megabytes, When exported, Then no piece is larger than 256 KiB."""
    chunks = await chunks_of(EXPORT_FORMAT_CSV, [("x" * 10_000,)] * 300, columns=(Column("Name"),), currency_column="")

    assert 0 < max(len(chunk.data) for chunk in chunks) <= CHUNK_BYTES_MAX
    assert len(data_of(chunks)) > 3_000_000


class Endless:
    """Batches without end; knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def rows(self) -> AsyncIterator[Sequence[Any]]:
        try:
            while True:
                yield [*ROWS] * 100
        finally:
            self.closed = True


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX], ids=["csv", "xlsx"])
async def test_a_client_that_goes_leaves_nothing(format_: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an export under way, When its stream is closed, Then rows, worker and temporary files go at once."""
    monkeypatch.setattr("servicekit.export.PROGRESS_EVERY_S", 0.01)
    endless = Endless()
    chunks = stream(format_, endless.rows())
    async for chunk in chunks:
        if chunk.rows > 1000:
            break
    assert list(folder.iterdir())

    await chunks.aclose()

    assert endless.closed
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("format_", [EXPORT_FORMAT_CSV, EXPORT_FORMAT_XLSX], ids=["csv", "xlsx"])
async def test_a_canceled_call_leaves_nothing(format_: int, folder: Path) -> None:
    """Given an export under way, When its task is canceled, Then rows, worker and temporary files go at once."""
    endless, begun = Endless(), asyncio.Event()

    async def read() -> None:
        async for _ in stream(format_, endless.rows()):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list(folder.iterdir()) == []


async def test_a_call_that_its_client_cancels_leaves_nothing(folder: Path) -> None:
    """Given an export over gRPC, When its client cancels the call, Then rows, worker and temporary files go."""
    endless = Endless()

    async def serve(request: bytes, context: Any) -> AsyncIterator[bytes]:
        async with aclosing(stream(EXPORT_FORMAT_CSV, endless.rows())) as chunks:
            async for chunk in chunks:
                yield chunk.SerializeToString()

    server = grpc.aio.server()
    handlers = {"Export": grpc.unary_stream_rpc_method_handler(serve)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Exports", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test.Exports/Export")(b"")
        while ExportChunk.FromString(await call.read()).rows < 1000:
            pass
        assert not endless.closed and list(folder.iterdir())

        call.cancel()

        async def gone() -> bool:
            return endless.closed and not list(folder.iterdir())

        await eventually(gone)
    await server.stop(None)


async def test_exports_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many exports as are written at once, When one more comes, Then it reads no rows until one has gone."""
    monkeypatch.setattr("servicekit.export.AT_ONCE", 1)
    monkeypatch.setattr("servicekit.export.PROGRESS_EVERY_S", 0.01)
    endless = Endless()
    first, second = stream(EXPORT_FORMAT_CSV, endless.rows()), stream(EXPORT_FORMAT_CSV, batches_of(ROWS))
    while not (await anext(first)).data:
        pass

    waited = [await anext(second) for _ in range(5)]
    await first.aclose()
    rest = [chunk async for chunk in second]

    assert waited[0].info.file_name and all(not chunk.data and not chunk.rows for chunk in waited)
    assert rest[-1].end.rows == len(ROWS)


async def test_one_that_waits_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an export that waits for its turn, When its client goes, Then the others are as before."""
    monkeypatch.setattr("servicekit.export.AT_ONCE", 1)
    monkeypatch.setattr("servicekit.export.PROGRESS_EVERY_S", 0.01)
    endless = Endless()
    first = stream(EXPORT_FORMAT_CSV, endless.rows())
    waiting = Endless()
    second = stream(EXPORT_FORMAT_CSV, waiting.rows())
    while not (await anext(first)).data:
        pass
    assert [(await anext(second)).rows for _ in range(3)] == [0, 0, 0]

    await second.aclose()
    await first.aclose()

    assert (await chunks_of(EXPORT_FORMAT_CSV, ROWS))[-1].end.rows == len(ROWS)


async def test_rows_that_fail_fail_the_stream() -> None:
    """Given rows that end in an error, When exported, Then the stream raises it, and there is no end."""
    seen = []

    async def broken() -> AsyncIterator[Sequence[Any]]:
        yield ROWS
        raise ConnectionResetError("the database is gone")

    with pytest.raises(ConnectionResetError, match="the database is gone"):
        async for chunk in stream(EXPORT_FORMAT_CSV, broken()):
            seen.append(chunk)

    assert not any(chunk.HasField("end") for chunk in seen)


async def test_a_cell_that_cannot_be_written_fails_the_stream() -> None:
    """Given a cell of the wrong kind, When exported, Then the stream fails with the worker's words."""
    with pytest.raises(ExportFailed, match="AttributeError"):
        await chunks_of(EXPORT_FORMAT_XLSX, [("FA-1", "not an instant", "", 1, 1, "EUR")] * 5000)


async def test_no_format_is_refused() -> None:
    """Given no format, When an export is asked for, Then it is refused with the field."""
    with pytest.raises(Problem) as refused:
        await chunks_of(0, ROWS)
    assert list(refused.value.fields) == ["format"]


def test_file_names_sort_by_time() -> None:
    """Given what, whose and when, When a file is named, Then the name has all three, in UTC."""
    at = datetime(2026, 11, 25, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert file_name_stem("orders", "acme.example", at) == "orders-acme.example-20261125T120000Z"


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_worker_that_ends_at_once_is_a_failure_that_says_so(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a worker that cannot start, When an export is asked for, Then it fails with the worker's exit code, on the
    services' event loop as on the plain one."""
    monkeypatch.setattr("servicekit.export.sys.executable", "/bin/false")

    async def batches() -> AsyncIterator[list[tuple[object, ...]]]:
        for number in range(100):
            await asyncio.sleep(0.01)
            yield [("a", number)]

    async def read() -> None:
        columns = [Column("text", Kind.TEXT), Column("number", Kind.INTEGER)]
        async for _ in export(EXPORT_FORMAT_XLSX, file_stem="x", sheet_name="s", columns=columns, batches=batches()):
            pass

    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(ExportFailed, match="ended with 1"):
        runner.run(read())


ON_UVLOOP = """
import asyncio, grpc, uvloop
from servicekit.export import Column, export

async def rows():
    yield [("FA-1",)]

async def serve(request, context):
    async for chunk in export(2, file_stem="x", sheet_name="X", columns=[Column("Number")], batches=rows()):
        yield chunk.SerializeToString()

async def main():
    server = grpc.aio.server()
    handlers = {"Export": grpc.unary_stream_rpc_method_handler(serve)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Exports", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        print(len([piece async for piece in channel.unary_stream("/test.Exports/Export")(b"")]))
    await server.stop(None)

uvloop.run(main())
"""


def test_a_worker_started_beside_grpc_is_left_alone_by_it() -> None:
    """Given a server on uvloop as in production, When it starts a worker, Then gRPC's handlers of forks, which now and
    then aborted it, are not called: they would say so each time."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", ON_UVLOOP], env=environment, capture_output=True, text=True, check=False
    )

    assert (done.returncode, int(done.stdout or 0) >= 3) == (0, True), done.stderr
    assert "fork" not in done.stderr

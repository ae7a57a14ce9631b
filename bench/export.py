"""Lines exported to Excel through `servicekit.export`, beside XlsxWriter alone writing the same cells.

Ours is what a service does: rows made on an event loop, pieces read off the stream, hashed and thrown away. Both sides
make their rows as they go; making them is part of both.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from farthing.export.v1.export_pb2 import EXPORT_FORMAT_XLSX
from servicekit.export import Column, Kind, export
from xlsxwriter import Workbook  # type: ignore[import-untyped]

from bench.harness import Effort, Figure, Measured, Progress, Row, interleave

ROW = Row(
    name="export",
    title="lines of 12 columns exported to Excel, as a stream of pieces",
    unit="lines/s",
    against="XlsxWriter in constant_memory alone, the same cells, to a file",
    target=0.6,
)
LINES = 50_000
COLUMNS = (
    Column("Number"),
    Column("Created", Kind.INSTANT),
    Column("Paid", Kind.INSTANT),
    Column("Type"),
    Column("State"),
    Column("Product"),
    Column("Quantity", Kind.INTEGER),
    Column("Net", Kind.AMOUNT, summed=True),
    Column("Tax", Kind.AMOUNT, summed=True),
    Column("Total", Kind.AMOUNT, summed=True),
    Column("Currency"),
    Column("Paid by"),
)
_BATCH = 1000
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def measure(effort: Effort, progress: Progress) -> Measured:
    """Lines a second of both sides, and the most memory that the worker process took."""
    rounds = interleave(effort, lambda: asyncio.run(_ours(LINES)), lambda: _bare(LINES), progress)
    return Measured(rounds, notes=(f"{LINES:,} lines a round; memory does not grow with them",))


def rows(start: int, end: int) -> list[tuple[Any, ...]]:
    """Lines as a list of orders has them."""
    return [
        (
            f"FA-26{number:08d}",
            _BEGIN + timedelta(seconds=number),
            _BEGIN + timedelta(seconds=number, milliseconds=431),
            "PROXY" if number % 3 else "PACKAGE",
            "COMPLETED",
            f"Residential proxy, {number % 97} GB & more",
            number % 50 + 1,
            number * 10_000,
            number * 2_000,
            number * 12_000,
            "EUR",
            f"buyer{number % 1000}@customer.example",
        )
        for number in range(start, end)
    ]


async def _batches(lines: int) -> AsyncIterator[Sequence[tuple[Any, ...]]]:
    for start in range(0, lines, _BATCH):
        yield rows(start, min(start + _BATCH, lines))


async def _ours(lines: int) -> Figure:
    began = time.perf_counter()
    stream = export(
        EXPORT_FORMAT_XLSX,
        file_stem="orders",
        sheet_name="Orders",
        columns=COLUMNS,
        batches=_batches(lines),
        currency_column="Currency",
    )
    ends = [chunk.end async for chunk in stream if chunk.HasField("end")]
    took_s = time.perf_counter() - began
    if ends[-1].rows != lines:
        raise RuntimeError(f"{ends[-1].rows} of {lines} lines were exported")
    worker_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Figure(lines / took_s, {"worker_peak_mb": round(worker_mb), "file_mb": round(ends[-1].size_bytes / 1e6, 1)})


def _bare(lines: int) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bare.xlsx"
        began = time.perf_counter()
        book = Workbook(path, {"constant_memory": True, "tmpdir": folder, "remove_timezone": True})
        sheet = book.add_worksheet("Orders")
        date, amount = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}), book.add_format({"num_format": "0.00"})
        for position, column in enumerate(COLUMNS):
            sheet.write_string(0, position, column.heading)
        kinds = [column.kind for column in COLUMNS]
        number = 0
        for start in range(0, lines, _BATCH):
            for row in rows(start, min(start + _BATCH, lines)):
                number += 1
                for position, (kind, value) in enumerate(zip(kinds, row, strict=True)):
                    if kind is Kind.TEXT:
                        sheet.write_string(number, position, value)
                    elif kind is Kind.INSTANT:
                        sheet.write_datetime(number, position, value, date)
                    elif kind is Kind.AMOUNT:
                        sheet.write_number(number, position, value / 1_000_000, amount)
                    else:
                        sheet.write_number(number, position, value)
        book.close()
        took_s = time.perf_counter() - began
        return Figure(lines / took_s, {"file_mb": round(path.stat().st_size / 1e6, 1)})

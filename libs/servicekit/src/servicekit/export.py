"""Exports: rows in, a file in pieces out, as a server stream of `farthing.export.v1.ExportChunk`.

    async def ExportOrders(self, request, context):
        async for chunk in export(request.format, file_stem=..., sheet_name="Orders", columns=..., batches=...):
            yield chunk

A worker process writes (`servicekit.sheets`), fed as fast as it takes rows: neither the service nor the worker holds
more than some batches. When the stream is closed, canceled or fails, the worker and its temporary files go too.
"""

import asyncio
import hashlib
import pickle
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from farthing.export.v1.export_pb2 import (
    EXPORT_FORMAT_CSV,
    EXPORT_FORMAT_XLSX,
    ExportChunk,
    ExportEnd,
    ExportInfo,
)

from servicekit.child import Child
from servicekit.problems import invalid
from servicekit.sheets.plan import ROWS_PER_SHEET_MAX, Column, Job, Kind, Plan, Row

__all__ = ["Column", "ExportFailed", "Kind", "Row", "export", "file_name_stem"]

CHUNK_BYTES_MAX = 256 * 1024
PROGRESS_EVERY_S = 1.0
# Workers of one process; each takes some 70 MB and up to a core.
AT_ONCE = 4
# What is pickled at once: the event loop waits for no more than a few milliseconds.
_ROWS_AT_ONCE = 500
_FORMATS: dict[int, tuple[str, str]] = {
    EXPORT_FORMAT_CSV: ("csv", "text/csv; charset=utf-8"),
    EXPORT_FORMAT_XLSX: ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
}


class ExportFailed(Exception):  # noqa: N818 - what happened
    """The worker ended before the file was whole; the message holds its last words."""


def file_name_stem(kind: str, of: str, at: datetime) -> str:
    """`orders-acme.example-20261125T120000Z`: what is exported, whose, and when."""
    return f"{kind}-{of}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


async def export(
    format: int,
    *,
    file_stem: str,
    sheet_name: str,
    columns: Sequence[Column],
    batches: AsyncIterator[Sequence[Row]],
    facts: Sequence[tuple[str, str]] = (),
    currency_column: str = "",
    rows_per_sheet: int = ROWS_PER_SHEET_MAX,
) -> AsyncGenerator[ExportChunk]:
    """The file in pieces: first its name, then data of at most 256 KiB each, last its size and SHA-256.

    At least each second there is a piece, without data where none is ready, that says how many rows are written;
    `AT_ONCE` exports of a process are written at once, the others wait, and read no rows until it is their turn.
    `batches` are closed in any case. `facts` (filters, time, who) stand on the workbook's info sheet with the totals,
    which are told apart by the text of `currency_column`; CSV has neither. `sheet_name`: at most 25 characters, without
    []:*?/\\. Raises Problem for a format that is none, what `batches` raise, and ExportFailed.
    """
    if format not in _FORMATS:
        raise invalid("An export is CSV or XLSX.", {"format": "not a format"})
    kind, media_type = _FORMATS[format]
    plan = Plan(sheet_name, tuple(columns), tuple(facts), currency_column, rows_per_sheet)
    work, digest, size = _Work(batches), hashlib.sha256(), 0
    try:
        yield ExportChunk(info=ExportInfo(file_name=f"{file_stem}.{kind}", media_type=media_type))
        while not await _turns.taken(work, PROGRESS_EVERY_S):
            yield ExportChunk()
        await work.start(plan, kind)
        async for data in work.pieces():
            digest.update(data)
            size += len(data)
            yield ExportChunk(data=data, rows=work.rows)
        yield ExportChunk(rows=work.rows, end=ExportEnd(rows=work.rows, size_bytes=size, sha256=digest.digest()))
    finally:
        _turns.give_back(work)
        await work.stop()


class _Turns:
    """Who writes, `AT_ONCE` at a time: workers take cores and memory. The others wait in the order they came."""

    def __init__(self) -> None:
        self._line: list[_Work] = []
        self._moved: list[asyncio.Event] = []

    async def taken(self, work: "_Work", timeout_s: float) -> bool:
        """Whether it is `work`'s turn, now or within `timeout_s`."""
        if work not in self._line:
            self._line.append(work)
        moved = asyncio.Event()
        self._moved.append(moved)
        try:
            async with asyncio.timeout(timeout_s):
                while self._line.index(work) >= AT_ONCE:
                    moved.clear()
                    await moved.wait()
        except TimeoutError:
            return False
        finally:
            self._moved.remove(moved)
        return True

    def give_back(self, work: "_Work") -> None:
        """Lets the next one in. `work` need not have had its turn."""
        if work in self._line:
            self._line.remove(work)
        for each in self._moved:
            each.set()


_turns = _Turns()


class _Work:
    """A worker process, what it is fed with, and what it gives."""

    def __init__(self, batches: AsyncIterator[Sequence[Row]]) -> None:
        self.rows = 0
        self._batches = batches
        self._folder = ""
        self._child: Child | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[bytes] | None = None

    async def start(self, plan: Plan, format_name: str) -> None:
        # In a thread it could be made after a cancellation, with nobody to remove it.
        self._folder = mkdtemp(prefix="farthing-export-")
        self._child = Child([sys.executable, "-m", "servicekit.sheets.worker"])
        await self._child.connect(CHUNK_BYTES_MAX)
        self._feeder = asyncio.create_task(self._feed(self._child, Job(plan, format_name, Path(self._folder))))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file; empty pieces while nothing is ready. Raises what the batches raised, and ExportFailed."""
        child, feeder = self._child, self._feeder
        assert child is not None and feeder is not None
        while True:
            self._reader = asyncio.create_task(child.stdout.read(CHUNK_BYTES_MAX))
            while not (await asyncio.wait({self._reader}, timeout=PROGRESS_EVERY_S))[0]:
                yield b""
            data = self._reader.result()
            if not data:
                break
            yield data
        await feeder
        if code := await child.wait():
            raise ExportFailed(f"the worker ended with {code}: {child.said()}")

    async def stop(self) -> None:
        """Leaves neither the process nor the batches open, whatever had happened."""
        if self._child is not None:
            self._child.kill()
        for task in (self._feeder, self._reader):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.exception()
        if self._child is not None:
            await self._child.end()
        if self._feeder is None:
            await _close(self._batches)
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _feed(self, child: Child, job: Job) -> None:
        try:
            await _send(child, job)
            async for batch in self._batches:
                rows = iter(batch)
                while some := [tuple(row) for row in islice(rows, _ROWS_AT_ONCE)]:
                    await _send(child, some)
                    self.rows += len(some)
            await _send(child, None)
        except _WorkerGone:
            # It says itself why.
            return
        except BaseException:
            child.kill()
            raise
        finally:
            await _close(self._batches)


class _WorkerGone(Exception):  # noqa: N818 - what happened
    """The worker takes nothing more."""


async def _send(child: Child, value: object) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    # uvloop says RuntimeError of a pipe that it knows to be closed.
    if child.stdin.is_closing():
        raise _WorkerGone
    try:
        child.stdin.write(data)
        await child.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        raise _WorkerGone from None


async def _close(batches: Any) -> None:
    if hasattr(batches, "aclose"):
        async with aclosing(batches):
            pass

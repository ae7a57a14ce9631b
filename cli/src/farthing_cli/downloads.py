"""Exports on disk: written beside the file's place, checked against what the service says last, then put there."""

import asyncio
import errno
import hashlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from farthing.export.v1.export_pb2 import ExportChunk, ExportEnd
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from farthing_cli.calls import Refused, problem_of
from farthing_cli.problems import Problem
from farthing_cli.terminal import notes, output, print_json


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that is whole."""

    path: Path
    end: ExportEnd

    def show(self, *, as_json: bool) -> None:
        """Prints where it is and what is in it."""
        if as_json:
            print_json(
                {
                    "file": str(self.path),
                    "rows": self.end.rows,
                    "size_bytes": self.end.size_bytes,
                    "sha256": self.end.sha256.hex(),
                }
            )
        else:
            output().print(f"{self.path}: {self.end.rows:,} rows, {self.end.size_bytes:,} bytes", soft_wrap=True)


async def download(chunks: AsyncIterator[ExportChunk], out: Path | None, rows_expected: int | None) -> Downloaded:
    """Writes `chunks` to `out`, or here under the name that the first of them gives; shows progress.

    Raises Problem, and leaves nothing, where it is refused, breaks off, is interrupted, or is not what was sent.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, task.cancel)
    try:
        first = await anext(chunks, None)
        if first is None or not first.HasField("info"):
            raise Problem("the export broke off before it began; nothing was written")
        # A name that a service gives is a name, never a path.
        path = out or Path(Path(first.info.file_name).name or "export")
        try:
            with _beside(path) as (part, file), _progress(rows_expected) as tick:
                end = await _receive(chunks, file, tick)
                file.flush()
                os.fsync(file.fileno())
                part.replace(path)
        except OSError as error:
            # In words, without the name that the system gives: it is the one of the file beside.
            raise Problem(f"the export cannot be written to {path}: {error.strerror or error}") from error
        return Downloaded(path, end)
    except asyncio.CancelledError:
        raise Problem("interrupted; nothing was written") from None
    except Refused as refused:
        raise problem_of(refused, "exporting (nothing was written)") from None
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)


async def _receive(chunks: AsyncIterator[ExportChunk], file: IO[bytes], tick: Callable[[int, int], None]) -> ExportEnd:
    digest, size, end = hashlib.sha256(), 0, None
    async for chunk in chunks:
        file.write(chunk.data)
        digest.update(chunk.data)
        size += len(chunk.data)
        if chunk.HasField("end"):
            end = chunk.end
        tick(chunk.rows, size)
    if end is None:
        raise Problem("the export broke off; nothing was written")
    if (end.size_bytes, end.sha256) != (size, digest.digest()):
        raise Problem("the export arrived damaged (its size or SHA-256 is not what was sent); nothing was written")
    return end


@contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file in the same folder, gone on every way out unless it was renamed. OSError where none can be at `path`."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield part, file
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


@contextmanager
def _progress(rows_expected: int | None) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TextColumn("{task.fields[megabytes]:,.1f} MB"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes(), transient=True) as progress:
        task = progress.add_task("", total=rows_expected, rows=0, megabytes=0.0)

        def tick(rows: int, size: int) -> None:
            progress.update(task, completed=rows, rows=rows, megabytes=size / 1e6)

        yield tick

"""The process that writes one file: `python -m servicekit.sheets.worker`.

On its input are pickles of the service that started it: a `Job`, lists of rows, and None at the end. On its output is
the file. A process of its own: writing cells takes a core, which the service's event loop needs. Input that ends early
means that the service, or its client, is gone: nothing more is written, and the temporary files are removed.
"""

import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import IO

from servicekit.sheets.plan import Job, Row

_COPY_BYTES = 256 * 1024
GONE = 3


def main() -> int:
    """Returns the exit code: 0 when the file is whole, 3 when nobody wants it any more."""
    source, out = sys.stdin.buffer, sys.stdout.buffer
    job: Job = pickle.load(source)  # noqa: S301 - from the process that started this one
    try:
        _write(job, _batches(source), out)
    except (EOFError, BrokenPipeError):
        # Nothing may be flushed at exit into a pipe that is gone.
        with suppress(OSError):
            sys.stdout.close()
        return GONE
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return 0


def _batches(source: IO[bytes]) -> Iterator[Sequence[Row]]:
    while (rows := pickle.load(source)) is not None:  # noqa: S301 - as above
        yield rows


def _write(job: Job, batches: Iterator[Sequence[Row]], out: IO[bytes]) -> None:
    # Only what is needed: a worker starts faster without the other.
    if job.format == "csv":
        from servicekit.sheets.csv_file import CsvFile

        lines = CsvFile(job.plan, out)
        for rows in batches:
            lines.write(rows)
        lines.close()
        out.flush()
        return
    from servicekit.sheets.xlsx_file import XlsxFile

    path = job.folder / "export.xlsx"
    book = XlsxFile(job.plan, path, job.folder)
    for rows in batches:
        book.write(rows)
    book.close()
    with path.open("rb") as whole:
        shutil.copyfileobj(whole, out, _COPY_BYTES)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())

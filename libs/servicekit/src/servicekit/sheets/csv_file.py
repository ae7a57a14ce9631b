"""CSV: RFC 4180, UTF-8 with a byte order mark (without it Excel reads another encoding).

Amounts are plain exact decimals. Instants are `YYYY-MM-DD HH:MM:SS` in UTC, which spreadsheets take for dates (of ISO
8601's `T` and `Z`, or of six decimals of a second, Excel makes text). Text that a spreadsheet would run as a formula
begins with an apostrophe (OWASP, "CSV injection").
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import IO, Any

from servicekit.sheets.plan import Kind, Plan, Row, decimal_of, utc

# What begins a formula, its full-width forms too (Excel in Japanese takes them), also behind blanks and marks of no
# width.
_FORMULA = re.compile(r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*[=+\-@＝＋－＠]|[\t\r]")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_REPLACEMENT = "\ufffd"


def _text(value: str) -> str:
    if _UNWRITABLE.search(value):
        value = _UNWRITABLE.sub(_REPLACEMENT, value)
    return f"'{value}" if _FORMULA.match(value) else value


def _instant(value: datetime) -> str:
    return utc(value).strftime("%Y-%m-%d %H:%M:%S")


_CELLS: dict[Kind, Callable[[Any], str]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: str,
    Kind.AMOUNT: decimal_of,
    Kind.INSTANT: _instant,
}


class CsvFile:
    """Writes rows to `out` as they come; neither facts nor totals: a program reads this."""

    def __init__(self, plan: Plan, out: IO[bytes]) -> None:
        self._cells = [_CELLS[column.kind] for column in plan.columns]
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._text.write("\ufeff")
        self._writer.writerow([_text(column.heading) for column in plan.columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Writes `rows`."""
        cells = self._cells
        self._writer.writerows(
            ["" if value is None else cell(value) for cell, value in zip(cells, row, strict=True)] for row in rows
        )

    def close(self) -> None:
        """Writes what is left."""
        self._text.flush()
        self._text.detach()

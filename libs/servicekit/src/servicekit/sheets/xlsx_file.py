"""Excel (ECMA-376): sheets with a heading that stays, a filter, real dates and numbers, totals, and an info sheet.

XlsxWriter makes the workbook; the rows' XML is written here, straight into the file in which it keeps rows in
`constant_memory`. That is several times as fast, and every text is text: XlsxWriter takes one that begins with `<r>`
and ends with `</r>` for markup, and writes it as it is.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from xlsxwriter import Workbook  # type: ignore[import-untyped]
from xlsxwriter.utility import xl_col_to_name  # type: ignore[import-untyped]
from xlsxwriter.worksheet import Worksheet  # type: ignore[import-untyped]

from servicekit.sheets.plan import Kind, Plan, Row, Totals, decimal_of, utc

# Characters a cell holds, counted in UTF-16 (Excel's limit), and what stands for the rest.
TEXT_MAX = 32_767
CUT = "… [cut]"
# Past these Excel's double loses digits: the number is written as text, whole.
INTEGER_MAX = 999_999_999_999_999
_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_DAY = timedelta(days=1)
# Excel believes in 29 February 1900; what is before stays text.
_FIRST_DAY = datetime(1900, 3, 1, tzinfo=UTC)
_CARE = re.compile(r"[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]|_x[0-9A-Fa-f]{4}_")
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LOOKS_ESCAPED = re.compile(r"_(x[0-9A-Fa-f]{4}_)")
_REPLACEMENT = "\ufffd"
# Rows whose text decides how wide a column is; and the limits, in characters.
_ROWS_MEASURED = 500
_WIDTH_MIN, _WIDTH_MAX = 8, 60
_WIDTHS = {Kind.AMOUNT: 16, Kind.INSTANT: 20}


class _Sheet(Worksheet):  # type: ignore[misc]
    """A worksheet that takes rows as XML."""

    next_row = 0

    def put(self, cells: str) -> None:
        """Writes the next row; `cells` is XML."""
        self.next_row += 1
        self.row_data_fh.write(f'<row r="{self.next_row}">{cells}</row>')

    def extent(self, columns: int) -> None:
        """Says how far the rows go; once, before the workbook is closed."""
        self.dim_rowmin, self.dim_colmin = 0, 0
        self.dim_rowmax, self.dim_colmax = max(self.next_row - 1, 0), columns - 1
        self.previous_row = self.next_row


class XlsxFile:
    """Writes rows to temporary files in `folder`, and the workbook to `path` when it is closed."""

    def __init__(self, plan: Plan, path: Path, folder: Path) -> None:
        self._plan = plan
        self._book = Workbook(path, {"constant_memory": True, "tmpdir": str(folder), "use_zip64": True})
        bold = self._book.add_format({"bold": True})
        heading = self._book.add_format({"bold": True, "bottom": 1, "text_wrap": False})
        formats = {
            (Kind.INTEGER, False): self._book.add_format({"num_format": "0"}),
            (Kind.AMOUNT, False): self._book.add_format({"num_format": "#,##0.00####"}),
            (Kind.INSTANT, False): self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            (Kind.INTEGER, True): self._book.add_format({"num_format": "0", "bold": True}),
            (Kind.AMOUNT, True): self._book.add_format({"num_format": "#,##0.00####", "bold": True}),
        }
        self._bold, self._heading = bold._get_xf_index(), heading._get_xf_index()
        self._styles: dict[tuple[Kind, bool], int] = {key: each._get_xf_index() for key, each in formats.items()}
        self._names = [xl_col_to_name(position) for position in range(max(len(plan.columns), 3))]
        self._totals = Totals(plan)
        self._widths = [max(_WIDTHS.get(each.kind, _WIDTH_MIN), len(each.heading) + 3) for each in plan.columns]
        self._measured = 0
        self._sheets: list[_Sheet] = []
        self._sheet = self._begin()

    def write(self, rows: Sequence[Row]) -> None:
        """Writes `rows`, on further sheets where one is full."""
        self._totals.add(rows)
        self._measure(rows)
        for row in rows:
            if self._sheet.next_row >= self._plan.rows_per_sheet:
                self._finish(self._sheet)
                self._sheet = self._begin()
            self._sheet.put(self._cells(row, self._sheet.next_row + 1))

    def close(self) -> None:
        """Writes totals and the info sheet, then the workbook."""
        last = self._sheet
        self._finish(last)
        lines = self._totals.lines()
        # An empty row keeps them out of the filter. Where the sheet is full they stand on the info sheet alone.
        if lines and self._totals.count and last.next_row + 1 + len(lines) <= self._plan.rows_per_sheet:
            last.next_row += 1
            for currency, sums in lines:
                last.put(self._total(currency, sums, last.next_row + 1))
            last.extent(len(self._plan.columns))
        self._info(lines)
        self._book.close()

    def _begin(self) -> _Sheet:
        number = len(self._sheets) + 1
        suffix = f" {number}" if number > 1 else ""
        sheet: _Sheet = self._book.add_worksheet(self._plan.sheet_name + suffix, worksheet_class=_Sheet)
        self._sheets.append(sheet)
        sheet.freeze_panes(1, 0)
        sheet.put(
            "".join(self._text(name, 1, each.heading, self._heading) for name, each in self._named(self._plan.columns))
        )
        return sheet

    def _finish(self, sheet: _Sheet) -> None:
        columns = len(self._plan.columns)
        sheet.extent(columns)
        sheet.autofilter(0, 0, sheet.next_row - 1, columns - 1)
        for position, width in enumerate(self._widths):
            sheet.set_column(position, position, min(width, _WIDTH_MAX))

    def _measure(self, rows: Sequence[Row]) -> None:
        for row in rows[: max(_ROWS_MEASURED - self._measured, 0)]:
            for position, value in enumerate(row):
                if isinstance(value, str) and len(value) >= self._widths[position]:
                    self._widths[position] = len(value) + 2
            self._measured += 1

    def _named(self, cells: Sequence[Any]) -> Iterator[tuple[str, Any]]:
        return zip(self._names, cells, strict=False)

    def _cells(self, row: Row, number: int) -> str:
        parts = []
        for name, column, value in zip(self._names, self._plan.columns, row, strict=False):
            if value is None or value == "":
                continue
            if column.kind is Kind.TEXT:
                parts.append(self._text(name, number, value))
            else:
                parts.append(self._number(name, number, column.kind, value))
        return "".join(parts)

    def _number(self, name: str, number: int, kind: Kind, value: Any, bold: bool = False) -> str:
        if kind is Kind.INSTANT:
            instant = utc(value)
            if instant < _FIRST_DAY:
                return self._text(name, number, instant.isoformat())
            written: object = (instant - _EPOCH) / _DAY
        elif kind is Kind.AMOUNT:
            written = decimal_of(value)
        elif abs(value) > INTEGER_MAX:
            return self._text(name, number, str(value))
        else:
            written = value
        return f'<c r="{name}{number}" s="{self._styles[kind, bold]}"><v>{written}</v></c>'

    @staticmethod
    def _text(name: str, number: int, value: Any, style: int = 0) -> str:
        if len(value) * 2 > TEXT_MAX:
            value = _cut(value)
        if _CARE.search(value):
            value = _escaped(value)
        keep = ' xml:space="preserve"' if value != value.strip() else ""
        styled = f' s="{style}"' if style else ""
        return f'<c r="{name}{number}"{styled} t="inlineStr"><is><t{keep}>{value}</t></is></c>'

    def _total(self, currency: str, sums: dict[int, int], number: int) -> str:
        parts = []
        for position, (name, column) in enumerate(self._named(self._plan.columns)):
            if position in sums:
                parts.append(self._number(name, number, column.kind, sums[position], bold=True))
            elif position == self._totals.currency_at:
                parts.append(self._text(name, number, currency, self._bold))
            elif position == 0:
                parts.append(self._text(name, number, "Total", self._bold))
        return "".join(parts)

    def _info(self, lines: list[tuple[str, dict[int, int]]]) -> None:
        sheet: _Sheet = self._book.add_worksheet("About", worksheet_class=_Sheet)

        def put(label: str, value: str = "", third: str = "") -> None:
            row = sheet.next_row + 1
            sheet.put(self._text("A", row, label, self._bold) + (self._text("B", row, value) if value else "") + third)

        for label, value in self._plan.facts:
            put(label, value)
        row = sheet.next_row + 1
        sheet.put(self._text("A", row, "Rows", self._bold) + self._number("B", row, Kind.INTEGER, self._totals.count))
        for currency, sums in lines:
            for position, total in sums.items():
                column = self._plan.columns[position]
                amount = self._number("C", sheet.next_row + 1, column.kind, total, bold=True)
                put(f"Total of {column.name}", currency, amount)
        sheet.extent(3)
        sheet.set_column(0, 0, 28)
        sheet.set_column(1, 1, 60)
        sheet.set_column(2, 2, 20)


def _cut(value: str) -> str:
    """`value`, its end replaced by a mark where a cell cannot hold it."""
    units = value.encode("utf-16-le", "surrogatepass")
    if len(units) <= TEXT_MAX * 2:
        return value
    # A character cut in half becomes a lone surrogate: dropped.
    return units[: (TEXT_MAX - len(CUT)) * 2].decode("utf-16-le", "ignore") + CUT


def _escaped(value: str) -> str:
    """`value` as XML. Line ends are those of cells (LF); what XML cannot hold is replaced."""
    value = _UNWRITABLE.sub(_REPLACEMENT, value.replace("\r\n", "\n").replace("\r", "\n"))
    # `_x0041_` is an escape in cells (ECMA-376, 22.9.2.19): its underscore is escaped to stay what it is.
    value = _LOOKS_ESCAPED.sub(r"_x005F_\1", value)
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

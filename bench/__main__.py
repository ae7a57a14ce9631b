"""`python -m bench`: every speed, or those of `--only`; a table, and bench/results/<name>.json for each."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from rich.console import Console, JustifyMethod
from rich.table import Table

from bench.harness import ROUNDS_MIN, Effort, Result, versions, write

ROWS = (
    *("charge_rpc", "charges_spread", "charges_hot", "busy_partner", "receipts", "purchase_to_mail", "export"),
    *("orders_search", "entries_search"),
)


def main() -> None:
    """Measures, shows, writes."""
    asked = _asked()
    console = Console()
    effort = Effort(asked.rounds, asked.seconds)
    results = [_measure(name, effort, console) for name in asked.only or ROWS]
    console.print(_table(results))
    console.print(f"Written to {Path(__file__).parent / 'results'}.")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, help="one row; may be repeated")
    parser.add_argument("--rounds", type=int, default=ROUNDS_MIN, help="rounds of both sides (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each side in a round (default: %(default)s)")
    asked = parser.parse_args()
    if asked.rounds < ROUNDS_MIN:
        parser.error(f"--rounds {asked.rounds}: a median needs {ROUNDS_MIN} or more")
    if asked.seconds < 1:
        parser.error(f"--seconds {asked.seconds}: take 1 or more")
    return asked


def _measure(name: str, effort: Effort, console: Console) -> Result:
    module = importlib.import_module(f"bench.{name}")
    console.rule(f"[bold]{module.ROW.name}")
    console.print(f"{module.ROW.title}\nbeside {module.ROW.against}", style="dim", highlight=False)
    with console.status("beginning") as status:

        def progress(text: str) -> None:
            status.update(text)
            console.print(f"  {text}", highlight=False)

        result = Result(module.ROW, module.measure(effort, progress))
    write(result, versions())
    return result


def _table(results: list[Result]) -> Table:
    table = Table(title="Farthing's speeds", caption="medians of rounds; the ratio is the median of the rounds' ratios")
    for heading in ("row", "value", "unit", "beside", "ratio", "target", "reached"):
        justify: JustifyMethod = "right" if heading in ("value", "beside", "ratio", "target") else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for result in results:
        row = result.row
        table.add_row(
            row.name,
            _figure(result.value),
            row.unit,
            _figure(result.against_value),
            f"{result.ratio:.2f}",
            f"{'>=' if row.bound == 'at_least' else '<='} {row.target:g}",
            "[green]yes" if result.reached else "[red]no",
        )
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()

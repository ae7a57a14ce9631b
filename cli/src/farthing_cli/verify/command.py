"""`farthing verify`: prints each invariant with what was compared."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from farthing_cli.environment import stack_environment
from farthing_cli.terminal import AsJson, notes, output, print_json
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.proof import Report, prove

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    wait: Annotated[float, typer.Option(min=0, help="Seconds the system may take to come to rest first.")] = 15.0,
    as_json: AsJson = False,
) -> None:
    """Prove the invariants: ledger, events, archive, mail, tenants. Exit code 1 if one does not hold."""
    report = proved(stack_environment(), wait, None if as_json else output())
    if as_json:
        print_json(report.as_dict())
    if not report.ok:
        raise typer.Exit(1)


def proved(environment: Mapping[str, str], wait_s: float, console: Console | None) -> Report:
    """Proves everything, with progress on stderr and each result on `console`."""
    status = notes().status("looking for rest ...", spinner="dots")

    def found(findings: Findings) -> None:
        if console is not None:
            print_findings(console, findings)

    with status:
        report = asyncio.run(prove(environment, wait_s, lambda text: status.update(escape(text)), found))
    if console is not None:
        _print_verdict(console, report)
    return report


def print_findings(console: Console, findings: Findings) -> None:
    """One invariant: its number, its name, what was compared, and the first faults."""
    mark = "[bold green]✓[/]" if findings.ok else "[bold red]✗[/]"
    console.print(f"  {mark} [bold]{findings.number:>2}[/]  {findings.name}")
    console.print(Padding(f"[dim]{escape(findings.compared())}[/]", (0, 0, 0, 8)))
    for fault in findings.faults:
        console.print(Padding(f"[red]{escape(fault)}[/]", (0, 0, 0, 8)))
    if (more := findings.fault_count - len(findings.faults)) > 0:
        console.print(Padding(f"[red].. and {more:,} more[/]", (0, 0, 0, 8)))


def _print_verdict(console: Console, report: Report) -> None:
    broken = [str(found.number) for found in report.findings if not found.ok]
    if not broken:
        console.print(f"\n  [bold green]All {len(report.findings)} invariants hold.[/]")
    else:
        console.print(f"\n  [bold red]Invariants that do not hold: {', '.join(broken)}[/]")
    if not report.settled:
        console.print(f"  [yellow]The system did not come to rest within {report.waited_s:.0f} s.[/]")

"""`farthing archive`: probe an object store, verify what is archived. The service's own command does the work."""

import json
import subprocess
from typing import Any

import typer
from local_stack import StackError, environment, services
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from farthing_cli.environment import stack_environment
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, notes, output, print_json

app = typer.Typer(add_completion=False, help="The locked object store that documents lie in.", no_args_is_help=True)


@app.command()
def probe(as_json: AsJson = False) -> None:
    """Try whether the object store really refuses to delete. Exit code 1 if it does not: then do not use it."""
    _run("probe", "trying to delete what is locked ...", as_json=as_json)


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Read every archived document again and compare its hash, its lock and the manifest. Exit code 1 on a fault."""
    _run("verify", "reading the archive ...", as_json=as_json)


def _run(what: str, doing: str, *, as_json: bool) -> None:
    values = stack_environment()
    try:
        # In production the service's own variables are set; a local stack's are derived.
        service = values if "DATABASE_URL" in values else environment.of_service(values, "documents")
        command = [str(services.command("documents")), "archive", what, "--json"]
    except KeyError as missing:
        raise Problem(f"{missing.args[0]} is not set: the archive's check needs what documents itself needs") from None
    except StackError as error:
        raise Problem(str(error)) from error
    progress = notes()
    with progress.status(doing):
        done = subprocess.run(command, env=service, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Problem(f"`{' '.join(command[1:])}` ended with {done.returncode}:\n{said[-2000:]}") from None
    if as_json:
        print_json(result)
    else:
        _show(output(), result)
    if done.returncode != 0:
        raise typer.Exit(1)


def _show(console: Console, result: Any) -> None:
    """A list of checks as a table, and every other value as a line."""
    for name, value in result.items() if isinstance(result, dict) else ():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            _show_rows(console, value)
        elif isinstance(value, list):
            for line in value:
                console.print(f"  [red]✗[/red] {escape(str(line))}")
        else:
            console.print(f"  [dim]{escape(str(name).replace('_', ' '))}[/dim] {escape(str(value))}")


def _show_rows(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table("", "", "", box=None, show_header=False)
    for row in rows:
        mark = "[green]✓[/green]" if row.get("ok", True) else "[red]✗[/red]"
        faults = "".join(f"\n[red]{escape(str(fault))}[/]" for fault in row.get("faults", ()))
        table.add_row(mark, escape(str(row["name"])), f"[dim]{escape(str(row['found']))}[/]{faults}")
    console.print(table)

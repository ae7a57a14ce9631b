"""`farthing stack`: up, down, status and env of the local stack."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from local_stack import Stack, StackError, environment
from local_stack.stack import DEFAULT_FOLDER
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    add_completion=False, help="PostgreSQL, Kafka, S3, SMTP and the services on this machine.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option(help="Where the stack keeps its data, ports, logs and credentials.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_notes = Console(stderr=True, highlight=False)
_output = Console(highlight=False)


@app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    services: Annotated[bool, typer.Option(help="Migrate and serve the five services, too.")] = True,
    shared_buffers: Annotated[str, typer.Option(help="PostgreSQL's cache; benchmarks use 512MB.")] = "128MB",
    as_json: AsJson = False,
) -> None:
    """Start what does not run. Safe to repeat: this is also how something that was killed comes back."""
    stack = Stack(folder, shared_buffers=shared_buffers)
    try:
        stack.up(services=services, progress=lambda line: _notes.print(f"  {line}"))
    except StackError as error:
        _fail(error)
    if as_json:
        _print_status(stack, services=services, as_json=True)
    else:
        _notes.print('  ready. Connect with: eval "$(farthing stack env)"', style="green")


@app.command()
def down(
    folder: Folder = DEFAULT_FOLDER,
    remove_data: Annotated[bool, typer.Option("--remove-data", help="Remove the data, too, for good.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop everything that `up` started. Data stays unless told otherwise."""
    stopped: list[str] = []

    def progress(line: str) -> None:
        stopped.append(line.partition(" ")[0])
        _notes.print(f"  {line}")

    try:
        Stack(folder).down(progress=progress)
        if remove_data:
            Stack(folder).destroy()
    except StackError as error:
        _fail(error)
    if as_json:
        typer.echo(json.dumps({"stopped": stopped}))


@app.command()
def status(
    folder: Folder = DEFAULT_FOLDER,
    services: Annotated[bool, typer.Option(help="The five services, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show each part, its pid, address and health. Exit code 1 if something is down."""
    _print_status(Stack(folder), services=services, as_json=as_json)


@app.command()
def env(
    folder: Folder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Print every address and development credential as KEY=value lines for a shell."""
    try:
        values = Stack(folder).env()
    except StackError as error:
        _fail(error)
    typer.echo(json.dumps(values, indent=2) if as_json else environment.lines(values))


def _print_status(stack: Stack, *, services: bool, as_json: bool) -> None:
    try:
        parts = stack.status(services=services)
    except StackError as error:
        _fail(error)
    healthy = all(part.health == "ok" for part in parts)
    if as_json:
        typer.echo(json.dumps({"healthy": healthy, "parts": [part.as_dict() for part in parts]}, indent=2))
    else:
        table = Table("part", "kind", "pid", "address", "health", box=None)
        for part in parts:
            colour = "green" if part.health == "ok" else "red"
            health = f"[{colour}]{part.health}[/{colour}]"
            table.add_row(part.name, part.kind, str(part.pid or "-"), part.address, health)
        _output.print(table)
    if not healthy:
        raise typer.Exit(1)


def _fail(error: StackError) -> NoReturn:
    _notes.print(f"farthing: {error}", style="red", markup=False)
    raise typer.Exit(1) from error

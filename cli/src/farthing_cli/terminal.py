"""Where commands write: results on stdout, everything else on stderr."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def output() -> Console:
    """For results."""
    return Console(highlight=False)


def notes() -> Console:
    """For progress and complaints."""
    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))

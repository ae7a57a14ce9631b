"""Where commands write: results on stdout, everything else on stderr."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


def output() -> Console:
    """For results."""
    return Console(highlight=False)


def notes() -> Console:
    """For progress and complaints."""
    return Console(stderr=True, highlight=False)


def cell(text: str) -> Text:
    """What somebody else wrote, for a table: neither markup nor anything that commands a terminal."""
    return Text("".join(each if each.isprintable() else "\ufffd" for each in text))


def print_json(document: Any) -> None:
    """The one JSON document of a command."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))

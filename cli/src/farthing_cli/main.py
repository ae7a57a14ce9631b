"""The `farthing` command: names the sub-commands, and loads the one that is asked for."""

import errno
import os
import sys
from importlib import import_module
from itertools import pairwise
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from farthing_cli.problems import Problem
from farthing_cli.terminal import notes

# Where the `app` of each is, in the order of --help.
COMMANDS = {
    "demo": "farthing_cli.demo.command",
    "verify": "farthing_cli.verify.command",
    "token": "farthing_cli.token",
    "id": "farthing_cli.identity",
    "orders": "farthing_cli.orders",
    "wallet": "farthing_cli.wallet",
    "stack": "farthing_cli.stack",
    "archive": "farthing_cli.archive",
    "dlq": "farthing_cli.dlq",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class LazyGroup(TyperGroup):
    """Knows the commands by name and imports them when they are asked for: all of them take a second."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in COMMANDS:
            self.add_command(TyperCommand(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        found = typer.main.get_command(import_module(COMMANDS[cmd_name]).app)
        found.name = cmd_name
        return found


app = typer.Typer(cls=LazyGroup, no_args_is_help=True)


@app.callback()
def farthing() -> None:
    """Farthing: the billing back office of platforms that sell through resellers."""


def main() -> None:
    """Entry point of the console script."""
    try:
        _check_encoding(sys.argv[1:])
        app()
    except Problem as problem:
        _end(problem)
    except OSError as error:
        # Files are complained about with their names where they are written: what has none is stdout.
        if error.errno not in _FULL or error.filename is not None:
            raise
        # What is left in stdout's buffer would fail again as Python ends, which then ends with 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end(Problem(f"the result cannot be written: {error.strerror}"))


def _check_encoding(arguments: list[str]) -> None:
    """Problem where one is no UTF-8: Python lets such bytes in, and neither protos nor JSON would let them out."""
    for before, argument in pairwise(["", *arguments]):
        try:
            argument.encode()
        except UnicodeEncodeError:
            text = os.fsencode(argument).decode(errors="backslashreplace")
            option = f"{before} " if before.startswith("-") and not argument.startswith("-") else ""
            raise Problem(f"{option}{text}: that is no valid UTF-8", 2) from None


def _end(problem: Problem) -> NoReturn:
    notes().print(f"farthing: {problem}", style="red", markup=False, soft_wrap=True)
    raise SystemExit(problem.exit_code) from None

"""The `farthing` command: names the sub-commands, and loads the one that is asked for."""

from importlib import import_module
from typing import Any

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
        app()
    except Problem as problem:
        notes().print(f"farthing: {problem}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(problem.exit_code) from None

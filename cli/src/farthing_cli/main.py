"""The `farthing` command: wires the sub-commands together, nothing else."""

import typer

from farthing_cli.stack import stack_app

app = typer.Typer(
    help="Farthing: the billing back office of platforms that sell through resellers.", no_args_is_help=True
)
app.add_typer(stack_app, name="stack")


def main() -> None:
    """Entry point of the console script."""
    app()

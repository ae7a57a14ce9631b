"""The `farthing` command: wires the sub-commands together, nothing else."""

import typer

from farthing_cli.archive import archive_app
from farthing_cli.demo.command import demo
from farthing_cli.dlq import dlq_app
from farthing_cli.identity import identity
from farthing_cli.orders import orders_app
from farthing_cli.problems import Problem
from farthing_cli.stack import stack_app
from farthing_cli.terminal import notes
from farthing_cli.token import token
from farthing_cli.verify.command import verify
from farthing_cli.wallet import wallet_app

app = typer.Typer(
    help="Farthing: the billing back office of platforms that sell through resellers.", no_args_is_help=True
)
app.command()(demo)
app.command()(verify)
app.command()(token)
app.command("id")(identity)
app.add_typer(orders_app, name="orders")
app.add_typer(wallet_app, name="wallet")
app.add_typer(stack_app, name="stack")
app.add_typer(archive_app, name="archive")
app.add_typer(dlq_app, name="dlq")


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except Problem as problem:
        notes().print(f"farthing: {problem}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(problem.exit_code) from None

"""`farthing id`: the id behind a domain, for calls and scripts."""

from typing import Annotated

import typer

from farthing_cli.bearers import As, Bearer, TokenOption, run_as
from farthing_cli.terminal import AsJson, print_json
from farthing_cli.tokens import SERVICE
from farthing_cli.wallet import CurrencyOption, wallet_id

app = typer.Typer(add_completion=False)


@app.command()
def identity(
    domain: Annotated[str, typer.Argument(help="An organization's domain, such as acme.example.")],
    *,
    wallet: Annotated[bool, typer.Option("--wallet", help="The id of its wallet.")] = False,
    currency: CurrencyOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
) -> None:
    """Print the id of an organization, or of its wallet: WALLET=$(farthing id acme.example --wallet)."""

    async def work(bearer: Bearer) -> tuple[str, str]:
        organization_id = await bearer.organization_id(domain)
        return organization_id, await wallet_id(bearer, "", currency) if wallet else ""

    organization_id, found = run_as(As(domain, SERVICE, token), work)
    if as_json:
        print_json({"organization_id": organization_id, **({"wallet_id": found} if wallet else {})})
    else:
        typer.echo(found or organization_id)

"""`farthing token`: a development token for a member of an organization, or for the operator."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

import typer
from farthing.wallet.v1.organizations_pb2 import Organization
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.bearers import organization
from farthing_cli.calls import Services
from farthing_cli.environment import stack_environment
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, print_json
from farthing_cli.tokens import MEMBER_ROLES, SERVICE, TokenMaker, member_with_role

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


app = typer.Typer(add_completion=False)


@app.command()
def token(
    role: Annotated[str, typer.Option(help=f"{', '.join(MEMBER_ROLES)}, or {SERVICE} for an operator.")],
    org: Annotated[str, typer.Option(help="Domain of the member's organization, such as acme.example.")] = "",
    ttl: Annotated[str, typer.Option(help="How long it is good: 90s, 30m, 1h, 7d.")] = "1h",
    as_json: AsJson = False,
) -> None:
    """Print a development token: TOKEN=$(farthing token --org acme.example --role boss)."""
    lifetime = _lifetime(ttl)
    if role not in (*MEMBER_ROLES, SERVICE):
        raise Problem(f"there is no role '{role}'; the roles are {', '.join(MEMBER_ROLES)} and {SERVICE}", 2)
    if role != SERVICE and not org:
        raise Problem(f"a token of a {role} needs its organization: --org DOMAIN", 2)
    environment = stack_environment()
    maker = TokenMaker(environment)
    now = SYSTEM_CLOCK.now()
    if role == SERVICE:
        signed, bearer = maker.of_operator(now, lifetime), {"role": SERVICE}
    else:
        home = asyncio.run(_organization(environment, maker.of_operator(now), org))
        member = member_with_role(home, role)
        signed = maker.of_member(home, member, now, lifetime)
        bearer = {"role": role, "name": member.name, "email": member.email, "organization_id": home.id}
    if as_json:
        print_json({"token": signed, "expires_at": (now + lifetime).isoformat(), **bearer})
    else:
        typer.echo(signed)


def _lifetime(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if match is None:
        raise Problem(f"'{text}' is no time; write a number with s, m, h or d, such as 30m", 2)
    return timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])


async def _organization(environment: Mapping[str, str], operator_token: str, domain: str) -> Organization:
    async with Services(environment) as services:
        return await organization(services, operator_token, domain)

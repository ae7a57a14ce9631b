"""As whom a command acts: with a token that is given, or with a development token of a member of an organization."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import grpc
import typer
from farthing.wallet.v1.organizations_pb2 import GetOrganizationRequest, Organization
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.calls import Refused, Services, call, problem_of
from farthing_cli.environment import stack_environment
from farthing_cli.problems import Problem
from farthing_cli.tokens import MEMBER_ROLES, SERVICE, TokenMaker, member_with_role

TokenOption = Annotated[
    str,
    typer.Option("--token", envvar="FARTHING_TOKEN", help="A token of yours, in place of a development token."),
]


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class As:
    """What the options say."""

    org: Annotated[str, typer.Option(help="Act for this organization, by its domain: acme.example.")] = ""
    role: Annotated[str, typer.Option(help=f"As whom: {', '.join(MEMBER_ROLES)}, or {SERVICE} for an operator.")] = (
        "boss"
    )
    token: TokenOption = ""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who acts, on which services. `organization` is the one that was named, or None."""

    services: Services
    token: str
    organization: Organization | None

    async def ask(self, method: Any, request: Any, doing: str) -> Any:
        """The reply; Problem, with what was being done, where it is refused."""
        try:
            return await call(method, request, self.token, patience_s=5)
        except Refused as refused:
            raise problem_of(refused, doing) from None

    async def organization_id(self, domain: str) -> str:
        """The id of an organization that the bearer may see."""
        return str((await organization(self.services, self.token, domain)).id)


def run_as(who: As, work: Callable[[Bearer], Coroutine[Any, Any, Result]]) -> Result:
    """Does `work` with the system that the environment names, as `who`."""
    environment = stack_environment()

    async def run() -> Result:
        async with Services(environment) as services:
            return await work(await _bearer(environment, services, who))

    return asyncio.run(run())


async def organization(services: Services, token: str, domain: str) -> Organization:
    """The organization with that domain (or id); Problem where there is none."""
    try:
        found: Organization = await call(
            services.organizations.GetOrganization, GetOrganizationRequest(id=domain), token, patience_s=5
        )
    except Refused as refused:
        if refused.code == grpc.StatusCode.NOT_FOUND:
            raise Problem(f"there is no organization '{domain}'") from None
        raise problem_of(refused, f"looking up {domain}") from None
    return found


async def _bearer(environment: Mapping[str, str], services: Services, who: As) -> Bearer:
    if who.token:
        named = await organization(services, who.token, who.org) if who.org else None
        return Bearer(services, who.token, named)
    if who.role not in (*MEMBER_ROLES, SERVICE):
        raise Problem(f"there is no role '{who.role}'; the roles are {', '.join(MEMBER_ROLES)} and {SERVICE}", 2)
    if not who.org and who.role != SERVICE:
        raise Problem("say for whom: --org DOMAIN, or --token TOKEN", 2)
    maker, now = TokenMaker(environment), SYSTEM_CLOCK.now()
    operator = maker.of_operator(now)
    named = await organization(services, operator, who.org) if who.org else None
    if who.role == SERVICE or named is None:
        return Bearer(services, operator, named)
    return Bearer(services, maker.of_member(named, member_with_role(named, who.role), now), named)

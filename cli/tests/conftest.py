"""A small real world: a purchase, its top-ups and an order canceled, made through gRPC, at rest."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from farthing_cli.calls import Refused, Services
from farthing_cli.demo import world
from farthing_cli.demo.people import People
from local_stack.pytest_plugin import temporary_stack
from local_stack.stack import Stack

FARTHING = str(Path(sys.executable).with_name("farthing"))
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def running_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A house of the demo's world: it has another platform than the other tests', and there is one in a house."""
    with temporary_stack(request) as made:
        yield made


@pytest.fixture(scope="module")
def environment(running_stack: Stack) -> dict[str, str]:
    """Its addresses and credentials."""
    return running_stack.env()


@pytest.fixture(scope="module")
def farthing(environment: dict[str, str]) -> Run:
    """Runs the command as a person would."""

    def run(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        values = {**environment, **changed}
        return subprocess.run(
            [FARTHING, *arguments], env=values, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture(scope="module")
def people(environment: dict[str, str]) -> dict[str, str]:
    """A platform, a partner, a customer with a paid and a canceled order; the ids of the organizations by domain."""
    return asyncio.run(_buy_something(environment))


async def able_to_buy(environment: dict[str, str], services: Services, run: str) -> People:
    """The demo's platform, a partner and a customer, found or made, with money."""
    companies = {company.domain: company for company in world.COMPANIES}
    someone = People(environment, services, run)
    for domain in (world.NIMBUS, world.NORTHWIND, world.THISTLE):
        await someone.found(companies[domain])
    for domain in (world.NORTHWIND, world.THISTLE):
        await someone.open_books(domain)
    await someone.stock()
    for domain in (world.NIMBUS, world.NORTHWIND):
        await someone.price_list(domain)
    for payment in world.PAYMENTS:
        if payment.domain in (world.NORTHWIND, world.THISTLE):
            await someone.top_up(payment)
    return someone


async def _buy_something(environment: dict[str, str]) -> dict[str, str]:
    async with Services(environment) as services:
        someone = await able_to_buy(environment, services, "test")
        await someone.buy(world.THISTLE, "team-starter", 1)
        # More than its wallet has: canceled, and told.
        with suppress(Refused):
            await someone.buy(world.THISTLE, "team-starter", 1000, serial=1)
        return {domain: team.id for domain, team in someone.teams.items()}


@pytest.fixture
def as_superuser(environment: dict[str, str]) -> Callable[[str, str], None]:
    """Runs SQL in a service's database past every trigger and policy, as only an intruder would."""

    def run(database: str, sql: str) -> None:
        asyncio.run(_execute(environment, database, sql))

    return run


async def _execute(environment: dict[str, str], database: str, sql: str) -> None:
    connection = await asyncpg.connect(
        host=environment["PGHOST"],
        port=int(environment["PGPORT"]),
        user=environment["PGUSER"],
        password=environment["PGPASSWORD"],
        database=database,
    )
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(sql)
    finally:
        await connection.close()

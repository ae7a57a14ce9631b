"""A migrated database of wallet, and a world in it: a platform, partners, resellers, customers."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from local_stack.stack import Stack
from servicekit.clock import FixedClock
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.testing import as_service, service_database
from wallet.clients.registry import payment_providers
from wallet.engine import Engine
from wallet.rpc.charges import ChargesRpc
from wallet.rpc.organizations import OrganizationRpc
from wallet.rpc.payments import PaymentsRpc
from wallet.rpc.refunds import RefundsRpc
from wallet.rpc.top_ups import TopUps
from wallet.rpc.wallets import Wallets

from .fake_stripe import FakeStripe, fake_stripe
from .ledger_world import World
from .shop import Shop
from .world import BOSS, MEMBER, NOW, House, Organization, Tree, person


@pytest.fixture(scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """A database for the ledger's tests, which write chains of organizations that nobody else shall hear of."""
    async with _own_database(stack) as made:
        yield made


@pytest.fixture(scope="session")
async def house_database(stack: Stack) -> AsyncIterator[Database]:
    """A database for the tests of the tree: it holds one platform and no more."""
    async with _own_database(stack) as made:
        yield made


@pytest.fixture(scope="session")
async def world(database: Database) -> World:
    """Chains to be made, through connections that see everything."""
    return World(await database.pool(4))


@pytest.fixture
async def engine(database: Database) -> AsyncIterator[Engine]:
    """An engine with three connections."""
    made = Engine(database, connections=3)
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def charges(database: Database) -> AsyncIterator[Any]:
    """The handlers of charges and refunds, to fill wallets with, one after the other."""
    engine = Engine(database, connections=2, gather_s=0)
    yield SimpleNamespace(PostCharge=ChargesRpc(engine).PostCharge, PostRefund=RefundsRpc(database).PostRefund)
    await engine.close()


@asynccontextmanager
async def _own_database(stack: Stack) -> AsyncIterator[Database]:
    """A migrated database of wallet, seen as its runtime role."""
    env = stack.env()
    name = f"wallet_{uuid4().hex[:8]}"
    await _as_superuser(env, f"CREATE DATABASE {name} OWNER wallet_owner")
    urls = {
        key: f"{env[key].rpartition('/')[0]}/{name}" for key in ("WALLET_DATABASE_URL", "WALLET_OWNER_DATABASE_URL")
    }
    made = await service_database({**env, **urls}, "wallet", pool_size=8)
    yield made
    await made.close()
    await _as_superuser(env, f"DROP DATABASE {name} WITH (FORCE)")


async def _as_superuser(env: Mapping[str, str], statement: str) -> None:
    # A connection each time: PostgreSQL is killed in between.
    connection = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="postgres"
    )
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="session")
async def house(house_database: Database) -> House:
    """Handlers over the database, in which the one platform is made."""
    pager = Pager("test")
    house = House(
        house_database,
        OrganizationRpc(house_database, FixedClock(NOW), pager),
        Wallets(house_database),
        TopUps(house_database, pager, payment_providers(development=True)),
        Organization(),
    )
    with as_service("operator", "/test/CreatePlatform"):
        house.platform = await house.create(None, "platform")
    return house


@pytest.fixture
async def tree(house: House) -> Tree:
    """A new tree."""
    with as_service():
        partner = await house.create(house.platform, "partner", members=[person("Boris", BOSS)])
        sibling = await house.create(house.platform, "sibling")
        reseller = await house.create(partner, "reseller", members=[person("Rita", BOSS)])
        customer = await house.create(reseller, "customer", members=[person("Cleo", BOSS), person("Max", MEMBER)])
        nephew = await house.create(sibling, "nephew")
    return Tree(partner, reseller, customer, sibling, nephew)


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    """A Stripe on loopback."""
    with fake_stripe() as fake:
        yield fake


@pytest.fixture
async def shop(house: House, stripe: FakeStripe, tmp_path: Path) -> AsyncIterator[Shop]:
    """The handlers."""
    providers = payment_providers(development=True, secrets_dir=tmp_path, stripe_api_url=stripe.url)
    pager = Pager("test")
    yield Shop(
        house,
        stripe,
        tmp_path,
        providers,
        PaymentsRpc(house.database, pager, providers),
        TopUps(house.database, pager, providers),
    )
    assert not stripe.trouble

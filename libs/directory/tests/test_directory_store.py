"""Given the organization tree in a real PostgreSQL, as the runtime role, then everybody sees their own part of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from directory import store
from directory.consumer import copy_organization
from directory.convert import organization_to_message
from directory.domain import Organization
from directory.scopes import Scopes
from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, OrganizationUpdated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_stack.stack import Stack
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.scope import EVERYTHING, Scope
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY = Scope(uuid4(), None)
REVISION = """
from directory.schema import create_organizations
from servicekit.schema import create_base

revision = "0001"
down_revision = None


def upgrade():
    create_base()
    create_organizations()
"""


@pytest.fixture(scope="session")
async def database(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    """A database of its own with two roles, as a service has, and nothing in it but the directory."""
    env = stack.env()
    superuser = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="postgres"
    )
    name = f"directory_{uuid4().hex[:8]}"
    for role in ("owner", "app"):
        await superuser.execute(f"CREATE ROLE {name}_{role} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD 'test'")
    await superuser.execute(f"CREATE DATABASE {name} OWNER {name}_owner")
    await superuser.close()
    address = f"{env['PGHOST']}:{env['PGPORT']}/{name}"
    migrations: Path = tmp_path_factory.mktemp("migrations")
    (migrations / "0001_directory.py").write_text(REVISION)
    await migrate(f"postgresql://{name}_owner:test@{address}", migrations)
    made = Database(f"postgresql://{name}_app:test@{address}", pool_size=4)
    yield made
    # The database goes with the stack, as does the role: other tests may have killed the server meanwhile.
    await made.close()


def organization(parent: Organization | None, name: str) -> Organization:
    """`name` under `parent`; its own root where its parent is the platform."""
    own = uuid4()
    return Organization(
        id=own,
        root_id=own if parent is None or parent.is_platform else parent.root_id,
        parent_id=parent.id if parent else None,
        ancestor_ids=(parent.id, *parent.ancestor_ids) if parent else (),
        name=name,
        domain=f"{name}-{own.hex[:12]}.example",
        currency="EUR",
        language="en",
        created_at=CREATED_AT,
    )


@dataclass(frozen=True)
class Tree:
    """platform -> partner -> reseller -> customer, and beside them sibling -> nephew."""

    platform: Organization
    partner: Organization
    reseller: Organization
    customer: Organization
    sibling: Organization
    nephew: Organization

    def all(self) -> tuple[Organization, ...]:
        return (self.platform, self.partner, self.reseller, self.customer, self.sibling, self.nephew)


@pytest.fixture
async def tree(database: Database) -> Tree:
    """A new tree, written."""
    platform = organization(None, "platform")
    partner, sibling = organization(platform, "partner"), organization(platform, "sibling")
    reseller = organization(partner, "reseller")
    made = Tree(
        platform, partner, reseller, organization(reseller, "customer"), sibling, organization(sibling, "nephew")
    )
    async with database.transaction(EVERYTHING) as connection:
        for each in made.all():
            assert await store.save(connection, each)
    return made


async def test_found_by_id_and_domain(database: Database, tree: Tree) -> None:
    """Given an organization, when it is asked for by id or by domain, then it is found whole."""
    async with database.transaction(EVERYTHING) as connection:
        assert await store.find(connection, tree.reseller.id) == tree.reseller
        assert await store.find_by_domain(connection, tree.reseller.domain) == tree.reseller
        assert await store.find(connection, uuid4()) is None
        assert await store.find_by_domain(connection, "nobody.example") is None


async def test_chain_goes_up_to_the_platform(database: Database, tree: Tree) -> None:
    """Given a tree, when a chain is asked for, then it runs from the buyer over its sellers to the platform."""
    async with database.transaction(EVERYTHING) as connection:
        assert await store.chain(connection, tree.customer.id) == [
            tree.customer,
            tree.reseller,
            tree.partner,
            tree.platform,
        ]
        assert await store.chain(connection, tree.platform.id) == [tree.platform]
        assert await store.chain(connection, uuid4()) == []


async def test_chain_with_a_gap_is_no_chain(database: Database, tree: Tree) -> None:
    """Given a copy that lacks an ancestor, when a chain is asked for, then there is none rather than a short one."""
    missing = organization(tree.partner, "missing")
    orphan = organization(missing, "orphan")
    async with database.transaction(EVERYTHING) as connection:
        await store.save(connection, orphan)
        assert await store.chain(connection, orphan.id) == []


async def test_scope_of(database: Database, tree: Tree) -> None:
    """Given members of each tier, when their scope is asked for, then it has their root, and none for the platform."""
    async with database.transaction(EVERYTHING) as connection:
        assert await store.scope_of(connection, tree.customer.id) == Scope(tree.customer.id, tree.partner.id)
        assert await store.scope_of(connection, tree.partner.id) == Scope(tree.partner.id, tree.partner.id)
        assert await store.scope_of(connection, tree.platform.id) == Scope(tree.platform.id, None)
        assert await store.scope_of(connection, uuid4()) is None


async def test_scopes_remembers_the_latest_used(database: Database, tree: Tree) -> None:
    """Given a cache for two, when three are asked for, then all are right, and the longest unused is forgotten."""
    scopes = Scopes(database, capacity=2)
    for each in (tree.partner, tree.reseller, tree.partner, tree.customer):
        assert await scopes.of(each.id) == Scope(each.id, tree.partner.id)
    assert list(scopes._scopes) == [tree.partner.id, tree.customer.id]
    newcomer = organization(tree.partner, "newcomer")
    assert await scopes.of(newcomer.id) is None
    async with database.transaction(EVERYTHING) as connection:
        await store.save(connection, newcomer)
    assert await scopes.of(newcomer.id) == Scope(newcomer.id, tree.partner.id)


async def test_everybody_sees_their_own_and_below(database: Database, tree: Tree) -> None:
    """Given six organizations, when each looks, then it sees itself and those below: no sibling, no parent."""
    expected = {
        tree.platform: set(tree.all()),
        tree.partner: {tree.partner, tree.reseller, tree.customer},
        tree.reseller: {tree.reseller, tree.customer},
        tree.customer: {tree.customer},
        tree.sibling: {tree.sibling, tree.nephew},
        tree.nephew: {tree.nephew},
    }
    for viewer, visible in expected.items():
        async with database.transaction(Scope(viewer.id, viewer.root_id)) as connection:
            found = {each for each in tree.all() if await store.find(connection, each.id)}
            by_domain = {each for each in tree.all() if await store.find_by_domain(connection, each.domain)}
            sees = {
                each
                for each in tree.all()
                if (await connection.execute(text("SELECT sees(:id)"), {"id": each.id})).scalar_one()
            }
        assert found == by_domain == sees == visible, viewer.name


async def test_no_scope_sees_nothing(database: Database, tree: Tree) -> None:
    """Given a connection that forgot its scope, or has an unknown one, when it looks, then there is nothing."""
    count = text("SELECT count(*) FROM organizations")
    async with database.engine.begin() as connection:
        assert (await connection.execute(count)).scalar_one() == 0
    async with database.transaction(NOBODY) as connection:
        assert (await connection.execute(count)).scalar_one() == 0
    async with database.transaction(EVERYTHING) as connection:
        assert (await connection.execute(count)).scalar_one() >= len(tree.all())


async def test_no_writing_outside_of_the_scope(database: Database, tree: Tree) -> None:
    """Given the sibling's scope, when it writes into the partner's tree, then PostgreSQL refuses."""
    intruder = organization(tree.partner, "intruder")
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction(Scope(tree.sibling.id, tree.sibling.id)) as connection:
            await store.save(connection, intruder)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction(Scope(tree.sibling.id, tree.sibling.id)) as connection:
            await store.save(connection, replace(tree.customer, name="taken over", version=2))
    async with database.transaction(EVERYTHING) as connection:
        assert await store.find(connection, intruder.id) is None
        assert await store.find(connection, tree.customer.id) == tree.customer


async def test_runtime_role_cannot_delete(database: Database, tree: Tree) -> None:
    """Given the runtime role, when it deletes an organization, then PostgreSQL refuses."""
    with pytest.raises(DBAPIError, match="permission denied"):
        async with database.transaction(EVERYTHING) as connection:
            await connection.execute(text("DELETE FROM organizations WHERE id = :id"), {"id": tree.customer.id})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_copy_takes_the_highest_version(database: Database, data: st.DataObject) -> None:
    """Given the events of one organization, when they come in any order and twice, then the newest version wins."""
    first = organization(None, "copied")
    versions = [replace(first, version=version, name=f"name {version}") for version in range(1, 6)]
    arriving = data.draw(st.permutations([*versions, *data.draw(st.lists(st.sampled_from(versions), max_size=3))]))
    await _copy(database, arriving)
    async with database.transaction(EVERYTHING) as connection:
        assert await store.find(connection, first.id) == versions[-1]
        row = (
            await connection.execute(text("SELECT name, version FROM organizations WHERE id = :id"), {"id": first.id})
        ).one()
    assert (row.name, row.version) == ("name 5", 5)


async def test_copies_at_the_same_time(database: Database) -> None:
    """Given two versions of a new organization, when both are copied at once, then the newest version wins."""
    first = organization(None, "raced")
    versions = [replace(first, version=version, name=f"name {version}") for version in (1, 2, 3)]
    await asyncio.gather(*(_copy(database, [version]) for version in versions))
    async with database.transaction(EVERYTHING) as connection:
        assert await store.find(connection, first.id) == versions[-1]


async def _copy(database: Database, arriving: list[Organization]) -> None:
    for each in arriving:
        kind = OrganizationCreated if each.version == 1 else OrganizationUpdated
        async with database.transaction(EVERYTHING) as connection:
            await copy_organization(connection, kind(organization=organization_to_message(each)))


def test_ids_of_a_tree(tree: Tree) -> None:
    """Given a tree, when it is asked who stands below whom, then the answer follows the ancestors."""
    assert tree.customer.is_below(tree.partner.id)
    assert not tree.partner.is_below(tree.customer.id)
    assert not tree.partner.is_below(tree.partner.id)
    assert isinstance(tree.customer.parent_id, UUID)

"""Given changes on record, When they are listed, Then each says who did what in whose books, and nobody alters it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from farthing.audit.v1 import audit_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit import audit
from servicekit.audit import AuditRpc, Change
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.server import _origin
from servicekit.testing import as_caller
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

Base = Any

ROOT = uuid4()

REVISION = """
from servicekit import audit

revision = "0002"
down_revision = "0001"


def upgrade():
    audit.create_table()
"""


@pytest.fixture
async def database(empty: Base) -> Database:
    (empty.migrations / "0002_audit.py").write_text(REVISION)
    await migrate(empty.owner_url, empty.migrations)
    return empty.database


async def record(database: Database, organization_id: UUID, action: str = "THING_CHANGED", **fields: object) -> None:
    async with database.transaction(EVERYTHING) as connection:
        await audit.record(connection, Change(ROOT, organization_id, action, "thing", "1", **fields))


async def listed(database: Database, **fields: object) -> pb.ListAuditEventsResponse:
    return await AuditRpc(database, Pager("key")).ListAuditEvents(pb.ListAuditEventsRequest(**fields), None)


async def test_a_change_is_told_whole(database: Database) -> None:
    """Given a change with before and after, When listed, Then who, what, before, after and the request are there."""
    one = uuid4()
    with as_caller(one, ROOT, name="Ann", email="ann@one.example"):
        await record(database, one, before={"limit": "1.5"}, after={"limit": "2", "on": True}, request_id="r1")
        (event,) = (await listed(database)).events
    assert (event.actor_name, event.actor_subject, event.action) == ("Ann", "ann@one.example", "THING_CHANGED")
    assert (event.actor_organization_id, event.organization_id) == (str(one), str(one))
    assert dict(event.before) == {"limit": "1.5"}
    assert dict(event.after) == {"limit": "2", "on": True}
    assert event.request_id == "r1"
    assert event.occurred_at.seconds > 0


async def test_others_see_nothing(database: Database) -> None:
    """Given a change in one organization's books, When another lists, Then it is not there."""
    one, other = uuid4(), uuid4()
    with as_caller(one, ROOT):
        await record(database, one)
    with as_caller(other, ROOT):
        assert not (await listed(database)).events
        assert not (await listed(database, filter=pb.AuditFilter(organization_id=str(one)))).events


async def test_pages_and_filters(database: Database) -> None:
    """Given five changes of two kinds, When listed in pages, Then each comes once, the newest first; filters hold."""
    one = uuid4()
    with as_caller(one, ROOT):
        for number in range(5):
            await record(database, one, action="EVEN" if number % 2 == 0 else "ODD", after={"number": number})
        seen, token = [], ""
        while True:
            page = await listed(database, page_size=2, page_token=token)
            seen += [int(event.after["number"]) for event in page.events]
            token = page.next_page_token
            if not token:
                break
        assert seen == [4, 3, 2, 1, 0]
        odd = await listed(database, filter=pb.AuditFilter(action="ODD"))
        assert [int(event.after["number"]) for event in odd.events] == [3, 1]
        first = await listed(database, page_size=2)
        with pytest.raises(Problem):
            await listed(database, page_token=first.next_page_token, filter=pb.AuditFilter(action="ODD"))


async def test_instants_between_two_microseconds(database: Database) -> None:
    """Given a change, When listed from or to a nanosecond after it, Then it was before; at the instant itself, not."""
    one = uuid4()
    with as_caller(one, ROOT):
        await record(database, one)
        (event,) = (await listed(database)).events
        at = event.occurred_at
        after = Timestamp(seconds=at.seconds, nanos=at.nanos + 1)
        assert (await listed(database, filter=pb.AuditFilter(occurred_from=at))).events
        assert not (await listed(database, filter=pb.AuditFilter(occurred_to=at))).events
        assert not (await listed(database, filter=pb.AuditFilter(occurred_from=after))).events
        assert (await listed(database, filter=pb.AuditFilter(occurred_to=after))).events


@pytest.mark.parametrize("instant", [{"seconds": 2**62}, {"seconds": -(2**62)}, {"nanos": 2_000_000_000}])
async def test_what_is_no_instant(database: Database, instant: dict[str, int]) -> None:
    """Given what is no instant, When the trail is asked for from there, Then it is refused by its field."""
    with as_caller(uuid4(), ROOT), pytest.raises(Problem) as caught:
        await listed(database, filter=pb.AuditFilter(occurred_from=Timestamp(**instant)))
    assert list(caught.value.fields) == ["filter.occurred_from"]


async def test_nothing_is_altered(database: Database) -> None:
    """Given a change on record, When the runtime role tries to change or delete it, Then PostgreSQL refuses."""
    one = uuid4()
    with as_caller(one, ROOT):
        await record(database, one)
    for statement in ("UPDATE audit_events SET action = 'X'", "DELETE FROM audit_events"):
        with pytest.raises(DBAPIError):
            async with database.transaction(EVERYTHING) as connection:
                await connection.execute(text(statement))


@pytest.mark.parametrize(
    ("peer", "metadata", "expected"),
    [
        ("ipv4:10.1.2.3:4444", (), "10.1.2.3"),
        ("ipv6:%5B::1%5D:4444", (), "[::1]"),
        ("ipv4:10.1.2.3:1", (("x-forwarded-for", "192.0.2.7"),), "192.0.2.7 via 10.1.2.3"),
        ("unix:", (), "unix:"),
    ],
)
def test_where_a_call_came_from(peer: str, metadata: tuple[tuple[str, str], ...], expected: str) -> None:
    """Given a connection's address and maybe a gateway's word, When read, Then both are kept."""
    assert _origin(peer, metadata) == expected

"""Issuing: one receipt each, gapless numbers, everything or nothing."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, WalletEvent
from servicekit.consumers import NotYet
from servicekit.scope import EVERYTHING
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


async def rows(world, query: str, **values):
    async with world.database.transaction(EVERYTHING) as connection:
        return (await connection.execute(text(query), values)).mappings().all()


async def numbers(world, issuer, year: int = 2026) -> list[str]:
    found = await rows(
        world,
        "SELECT number FROM documents WHERE issuer_id = :issuer AND year = :year ORDER BY sequence",
        issuer=UUID(issuer.id),
        year=year,
    )
    return [row["number"] for row in found]


async def test_one_receipt_for_an_event_that_comes_twice(world) -> None:
    """Given an order that is paid, when its event comes twice (with two ids), then there is one receipt."""
    event = world.order()
    await world.hear(event)
    await world.hear(event)
    top_up = world.top_up()
    await world.hear(top_up)
    await world.hear(top_up)
    assert await numbers(world, world.partner) == ["R-2026-000001", "R-2026-000002"]


async def test_numbers_are_gapless_under_concurrency_and_over_the_year(world) -> None:
    """Given 50 payments at once around New Year, some twice, when issued, then each year counts without a gap."""
    old = datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    new = datetime(2027, 1, 1, tzinfo=UTC)
    events = [world.order(paid_at=old if index % 2 else new) for index in range(50)]

    async def hear(event) -> None:
        # Two that race for the same order: the loser is rolled back and tried again, as the inbox does.
        try:
            await world.hear(event)
        except NotYet:
            await world.hear(event)

    await asyncio.gather(*(hear(event) for event in [*events, *events[:10]]))
    assert await numbers(world, world.partner, 2026) == [f"R-2026-{n:06d}" for n in range(1, 26)]
    assert await numbers(world, world.partner, 2027) == [f"R-2027-{n:06d}" for n in range(1, 26)]


async def test_an_unknown_organization_waits(world) -> None:
    """Given an order whose customer is not known yet, when it comes, then it waits, and takes no number."""
    late = world.organization_message("Late", world.partner)
    event = world.order(late)
    with pytest.raises(NotYet, match=late.id):
        await world.hear(event)
    await world.hear(world.order())
    await world.hear(WalletEvent(organization_created=OrganizationCreated(organization=late)))
    await world.hear(event)
    assert await numbers(world, world.partner) == ["R-2026-000001", "R-2026-000002"]


async def test_what_does_not_add_up_is_poison_and_takes_no_number(world) -> None:
    """Given an order whose lines miss its total, when it comes, then ValueError says so and no number is lost."""
    event = world.order()
    event.order_completed.order.total.units += 1
    with pytest.raises(ValueError, match="add up"):
        await world.hear(event)
    await world.hear(world.order())
    assert await numbers(world, world.partner) == ["R-2026-000001"]


async def test_an_issued_document_cannot_change(world) -> None:
    """Given an issued document, when the service itself tries to change or delete it, then PostgreSQL refuses."""
    event = world.order()
    await world.hear(event)
    order_id = UUID(event.order_completed.order.id)
    for statement in (
        "UPDATE documents SET number = 'R-2026-999999' WHERE source_id = :id",
        "UPDATE documents SET source = 'x' WHERE source_id = :id",
        "DELETE FROM documents WHERE source_id = :id",
        "DELETE FROM deliveries WHERE document_id = :id",
        "UPDATE manifest SET sha256 = sha256 WHERE document_id = :id",
        "DELETE FROM manifest WHERE document_id = :id",
        "DELETE FROM snapshots WHERE organization_id = :id",
    ):
        with pytest.raises(DBAPIError, match=r"permission denied|append-only"):
            await rows(world, statement, id=order_id)


async def test_the_platform_counts_once_over_all_roots(world) -> None:
    """Given two partners of the platform, when both top up, then the platform's numbers run through both roots."""
    other = await world.organization("Other partner", world.platform)
    await world.hear(world.top_up(world.partner))
    await world.hear(world.top_up(other))
    assert await numbers(world, world.platform) == ["R-2026-000001", "R-2026-000002"]

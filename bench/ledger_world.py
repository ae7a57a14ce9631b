"""A ledger to buy in: 1,000 partners with a reseller each, and one partner under whose reseller everybody buys.

Every purchase has three tiers: a customer buys from a reseller, the reseller from a partner, the partner from the
platform. 10,000 customers are spread over the 1,000 partners, another 10,000 are all under the one. The rows are
what wallet's own commands write, put in by SQL. Ids are counted, so that pgbench can compute them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from directory.convert import organization_to_message
from directory.domain import Member, Organization, Role
from local_stack.stack import Stack

from bench.own_stack import run, superuser_url

Rows = list[tuple[object, ...]]

PARTNERS = 1_000
CUSTOMERS = 10_000
CURRENCY = "USD"
CREDIT_MICROS = 10**17
# What each tier pays, in micros: net, tax.
TIERS = ((12_000_000, 2_280_000), (9_000_000, 1_710_000), (7_000_000, 1_330_000))

_PLATFORM = 1
_PARTNER = 1_000_000
_RESELLER = 2_000_000
_CUSTOMER = 3_000_000
_WALLET = 10_000_000
_CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ground:
    """Customers whose numbers run from `first`, and how many partners are above them."""

    name: str
    first: int
    partners: int


SPREAD = Ground("spread", 0, PARTNERS)
HOT = Ground("hot", CUSTOMERS, 1)


def counted_id(number: int) -> UUID:
    """The organization or wallet of that number."""
    return UUID(f"00000000-0000-7000-8000-{100_000_000_000 + number}")


def chain(ground: Ground, customer: int) -> tuple[UUID, UUID, UUID, UUID]:
    """Customer `customer` (0 to 9,999) of the ground, its reseller, the partner, the platform."""
    partner = customer % PARTNERS if ground.partners > 1 else PARTNERS
    return (
        counted_id(_CUSTOMER + ground.first + customer),
        counted_id(_RESELLER + partner),
        counted_id(_PARTNER + partner),
        counted_id(_PLATFORM),
    )


def pgbench_script(ground: Ground) -> str:
    """The purchase of a customer drawn by lot, through the SQL function of `ledger_function.sql`."""
    partner = f":customer % {PARTNERS}" if ground.partners > 1 else str(PARTNERS)
    return f"""
\\set customer random(0, {CUSTOMERS - 1})
\\set partner {partner}
SELECT bench_purchase({_CUSTOMER + ground.first} + :customer, {_RESELLER} + :partner, {_PARTNER} + :partner);
"""


def seed(stack: Stack) -> None:
    """Fills wallet's tables, freshly migrated."""
    run(_seed(stack))


def settle(stack: Stack) -> None:
    """Between two measurements: what the last one wrote is on disk and its events are on the topic."""
    run(_settle(stack))


async def _seed(stack: Stack) -> None:
    organizations = [_organization(_PLATFORM, "platform", [])]
    wallets: Rows = []
    for ground in (SPREAD, HOT):
        above: set[int] = set()
        for customer in range(CUSTOMERS):
            partner = customer % PARTNERS if ground.partners > 1 else PARTNERS
            if partner not in above:
                above.add(partner)
                _add(organizations, wallets, _PARTNER + partner, [_PLATFORM])
                _add(organizations, wallets, _RESELLER + partner, [_PARTNER + partner, _PLATFORM])
            ancestors = [_RESELLER + partner, _PARTNER + partner, _PLATFORM]
            _add(organizations, wallets, _CUSTOMER + ground.first + customer, ancestors)
    connection = await asyncpg.connect(superuser_url(stack, "wallet"))
    try:
        await connection.copy_records_to_table(
            "organizations",
            records=organizations,
            columns=[
                *("root_id", "id", "parent_id", "ancestor_ids", "domain", "name"),
                *("currency", "version", "resource", "created_at"),
            ],
        )
        await connection.copy_records_to_table(
            "wallets",
            records=wallets,
            columns=["root_id", "id", "organization_id", "seller_id", "currency", "credit_limit_micros"],
        )
        # Not the tables that are still empty: their plans would stay those of empty tables for a while.
        await connection.execute("VACUUM ANALYZE organizations, wallets")
    finally:
        await connection.close()


async def _settle(stack: Stack) -> None:
    from servicekit.testing import eventually

    connection = await asyncpg.connect(superuser_url(stack, "wallet"))
    try:

        async def published() -> bool:
            return not await connection.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")

        await eventually(published, timeout_s=300, every_s=0.2)
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _add(
    organizations: list[tuple[object, ...]], wallets: list[tuple[object, ...]], number: int, up: list[int]
) -> None:
    row = _organization(number, f"organization-{number}", up)
    organizations.append(row)
    wallets.append((row[0], counted_id(_WALLET + number), row[1], row[2], CURRENCY, CREDIT_MICROS))


def _organization(number: int, name: str, up: list[int]) -> tuple[object, ...]:
    root = ([number, *up])[-2] if up else number
    domain = f"{name}.example"
    organization = Organization(
        id=counted_id(number),
        root_id=counted_id(root),
        parent_id=counted_id(up[0]) if up else None,
        ancestor_ids=tuple(map(counted_id, up)),
        name=name,
        domain=domain,
        currency=CURRENCY,
        language="en",
        created_at=_CREATED_AT,
        members=(Member(counted_id(number), "Bo Boss", f"boss@{domain}", Role.BOSS),),
    )
    return (
        organization.root_id,
        organization.id,
        organization.parent_id,
        list(organization.ancestor_ids),
        domain,
        name,
        CURRENCY,
        1,
        organization_to_message(organization).SerializeToString(),
        _CREATED_AT,
    )

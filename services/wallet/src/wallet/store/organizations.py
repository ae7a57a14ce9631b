"""The tree, as its owner writes it: locks in a fixed order, names that are unique in the whole system, pages."""

from uuid import UUID

from directory import store as directory
from directory.domain import Organization
from servicekit.scope import Scope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_CLAIM = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_DOMAIN_TAKEN = text("SELECT EXISTS (SELECT FROM organizations WHERE domain = :domain)")
_PLATFORM_EXISTS = text("SELECT EXISTS (SELECT FROM organizations WHERE parent_id IS NULL)")
_KEEP_TREE = text("SELECT FROM organizations WHERE root_id = :root_id AND id = :root_id FOR SHARE")
_CHANGE_TREE = text("SELECT FROM organizations WHERE root_id = :root_id AND id = :root_id FOR NO KEY UPDATE")
_LOCK = text("SELECT resource FROM organizations WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_LOCK_BELOW = text(
    "SELECT resource FROM organizations WHERE root_id = :root_id AND ancestor_ids @> ARRAY[:id]::uuid[]"
    " ORDER BY id FOR NO KEY UPDATE"
)
# Logos make organizations large: `bytes_before` is what those before it in the page weigh.
_PAGE = text("""
    SELECT resource, candidates FROM (
        SELECT resource, domain, count(*) OVER () AS candidates,
               sum(octet_length(resource)) OVER (ORDER BY domain) - octet_length(resource) AS bytes_before
        FROM (
            SELECT resource, domain FROM organizations
            WHERE (:everything OR id = :scope OR ancestor_ids @> ARRAY[CAST(:scope AS uuid)]) AND domain > :after
              AND (CAST(:parent_id AS uuid) IS NULL OR parent_id = :parent_id)
            ORDER BY domain LIMIT :limit + 1
        ) AS next
    ) AS weighed WHERE bytes_before < :max_bytes ORDER BY domain LIMIT :limit
""")


async def claim_domain(connection: AsyncConnection, domain: str) -> bool:
    """True if the domain is free in the whole system; it is the transaction's then, until it ends.

    Unique constraints begin with root_id, so they cannot say it: a lock on the name does. Needs scope EVERYTHING.
    """
    await connection.execute(_CLAIM, {"name": f"organization domain {domain}"})
    return not (await connection.execute(_DOMAIN_TAKEN, {"domain": domain})).scalar_one()


async def claim_platform(connection: AsyncConnection) -> bool:
    """True if there is no platform yet; nobody else makes one until the transaction ends. Needs scope EVERYTHING."""
    await connection.execute(_CLAIM, {"name": "organization platform"})
    return not (await connection.execute(_PLATFORM_EXISTS)).scalar_one()


async def hold_tree(connection: AsyncConnection, root_id: UUID, *, changing: bool) -> None:
    """Locks the shape of a root's tree, before any other of its rows: against changes, or in order to change it.

    Nobody moves, and nobody is created or changed under one who moves, at the same time.
    """
    await connection.execute(_CHANGE_TREE if changing else _KEEP_TREE, {"root_id": root_id})


async def lock(connection: AsyncConnection, root_id: UUID, organization_id: UUID) -> Organization:
    """The organization as it is now, kept so until the transaction ends. Hold its tree first."""
    row = await connection.execute(_LOCK, {"root_id": root_id, "id": organization_id})
    return directory.organizations([row.scalar_one()])[0]


async def lock_below(connection: AsyncConnection, organization: Organization) -> list[Organization]:
    """Every organization below, kept as it is until the transaction ends. Hold the tree, changing, first."""
    rows = await connection.execute(_LOCK_BELOW, {"root_id": organization.root_id, "id": organization.id})
    return directory.organizations(rows.scalars().all())


async def page(
    connection: AsyncConnection, scope: Scope, *, parent_id: UUID | None, after: str, limit: int, max_bytes: int
) -> tuple[list[Organization], bool]:
    """Organizations of the scope by domain, after the domain `after`, and whether there are more.

    Only the buyers of `parent_id`, where it is given. Up to `limit`, and none after `max_bytes` are reached.
    """
    values = {
        "everything": scope.everything,
        "scope": scope.organization_id,
        "parent_id": parent_id,
        "after": after,
        "limit": limit,
        "max_bytes": max_bytes,
    }
    rows = (await connection.execute(_PAGE, values)).all()
    more = bool(rows) and rows[0].candidates > len(rows)
    return directory.organizations([row.resource for row in rows]), more

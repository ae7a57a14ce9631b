"""The organization tree in SQL. What a connection finds is bounded by its scope, by row-level security."""

from collections.abc import Sequence
from uuid import UUID

from farthing.wallet.v1.organizations_pb2 import Organization as OrganizationMessage
from servicekit.scope import Scope
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from directory.convert import organization_from_message, organization_to_message
from directory.domain import Organization

_FIND = text("SELECT resource FROM organizations WHERE id = :id")
_FIND_BY_DOMAIN = text("SELECT resource FROM organizations WHERE domain = :domain")
_CHAIN = text(
    "SELECT above.resource FROM organizations AS found"
    " JOIN organizations AS above ON above.id = found.id OR above.id = ANY (found.ancestor_ids)"
    " WHERE found.id = :id ORDER BY cardinality(above.ancestor_ids) DESC"
)
_SCOPE = text("SELECT root_id, parent_id FROM organizations WHERE id = :id")
_SAVE = text("""
    INSERT INTO organizations AS mine
        (root_id, id, parent_id, ancestor_ids, domain, name, currency, version, resource, created_at)
    VALUES
        (:root_id, :id, :parent_id, :ancestor_ids, :domain, :name, :currency, :version, :resource,
         :created_at)
    ON CONFLICT (root_id, id) DO UPDATE SET
        parent_id = excluded.parent_id, ancestor_ids = excluded.ancestor_ids, domain = excluded.domain,
        name = excluded.name, currency = excluded.currency, version = excluded.version,
        resource = excluded.resource
    WHERE mine.version < excluded.version
""")


async def find(connection: AsyncConnection, organization_id: UUID) -> Organization | None:
    """The organization of that id, or None where there is none in the connection's scope."""
    return await _one(connection, _FIND, {"id": organization_id})


async def find_by_domain(connection: AsyncConnection, domain: str) -> Organization | None:
    """The organization of that domain, or None where there is none in the connection's scope."""
    return await _one(connection, _FIND_BY_DOMAIN, {"domain": domain})


async def chain(connection: AsyncConnection, organization_id: UUID) -> list[Organization]:
    """The organization, its seller, its seller's seller, up to the platform; empty where it is unknown.

    Needs scope EVERYTHING: nobody sees its seller. A chain with a gap (an ancestor not copied here yet) is
    empty too.
    """
    rows = (await connection.execute(_CHAIN, {"id": organization_id})).scalars().all()
    found = [_read(row) for row in rows]
    whole = bool(found) and tuple(link.id for link in found[1:]) == found[0].ancestor_ids
    return found if whole else []


async def scope_of(connection: AsyncConnection, organization_id: UUID) -> Scope | None:
    """How far a member of that organization sees, or None where it is not known here (yet).

    Needs scope EVERYTHING. The platform has no root: it sees all of them.
    """
    row = (await connection.execute(_SCOPE, {"id": organization_id})).one_or_none()
    if row is None:
        return None
    return Scope(organization_id, None if row.parent_id is None else row.root_id)


async def save(connection: AsyncConnection, organization: Organization) -> bool:
    """Writes the organization unless this version or a newer one is here; True if it was written."""
    row = {
        "root_id": organization.root_id,
        "id": organization.id,
        "parent_id": organization.parent_id,
        "ancestor_ids": list(organization.ancestor_ids),
        "domain": organization.domain,
        "name": organization.name,
        "currency": organization.currency,
        "version": organization.version,
        "resource": organization_to_message(organization).SerializeToString(deterministic=True),
        "created_at": organization.created_at,
    }
    return (await connection.execute(_SAVE, row)).rowcount == 1


def organizations(resources: Sequence[bytes]) -> list[Organization]:
    """Reads values of the column `resource`, for queries made elsewhere."""
    return [_read(resource) for resource in resources]


async def _one(connection: AsyncConnection, query: TextClause, key: dict[str, object]) -> Organization | None:
    resource = (await connection.execute(query, key)).scalar_one_or_none()
    return None if resource is None else _read(resource)


def _read(resource: bytes) -> Organization:
    return organization_from_message(OrganizationMessage.FromString(resource))

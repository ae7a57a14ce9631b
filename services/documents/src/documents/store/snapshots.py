"""SQL of organizations as they are now, and as they were when something was made in their name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from directory.domain import Organization
from directory.store import organizations

from documents.store.rows import Db

# A caller with no more organizations than this is found by index; a larger one by walking the newest rows.
_FEW_ORGANIZATIONS = 200
_SCOPE_IDS = "SELECT id FROM organizations LIMIT $1"
_SNAPSHOTS = "SELECT id, version, resource FROM organizations WHERE id = ANY ($1::uuid[])"
_KEEP_SNAPSHOTS = """
INSERT INTO snapshots (root_id, organization_id, version, resource)
SELECT $1, id, version, resource FROM organizations
 WHERE (id, version) IN (SELECT * FROM unnest($2::uuid[], $3::bigint[])) ORDER BY id
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An organization as it is now, and its version."""

    organization: Organization
    version: int


async def snapshots(db: Db, ids: Sequence[UUID]) -> dict[UUID, Snapshot]:
    """The copies of these organizations that have arrived."""
    rows = await db.fetch(_SNAPSHOTS, list(ids))
    read = organizations([row["resource"] for row in rows])
    return {row["id"]: Snapshot(found, row["version"]) for row, found in zip(rows, read, strict=True)}


async def keep_snapshots(db: Db, root_id: UUID, *wanted: Snapshot) -> None:
    """Keeps organizations as they are now, for ever."""
    keep = {each.organization.id: each.version for each in wanted}
    await db.execute(_KEEP_SNAPSHOTS, root_id, list(keep), list(keep.values()))


async def organizations_to_list(db: Db, wanted: UUID | None) -> list[UUID] | None:
    """Whose rows a list looks up by index: the one wanted, or all of a small scope; None: walk the newest."""
    if wanted is not None:
        return [wanted]
    found = await db.fetch(_SCOPE_IDS, _FEW_ORGANIZATIONS + 1)
    return [row["id"] for row in found] if len(found) <= _FEW_ORGANIZATIONS else None

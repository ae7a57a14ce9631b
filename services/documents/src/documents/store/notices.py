"""SQL of notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from documents.domain import Notice, NoticeKind
from documents.store.deliveries import SHOWN
from documents.store.rows import Db, Row
from documents.store.snapshots import Snapshot, keep_snapshots, organizations_to_list

_NOW = "SELECT farthing_now()"
_INSERT = """
INSERT INTO notices (root_id, id, event_id, audience, kind, event, organization_id, organization_version, issuer_id,
  issuer_version, subject, order_id, order_number, top_up_id, occurred_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (root_id, event_id, audience) DO NOTHING RETURNING id
"""
_LIST = (
    """
SELECT n.id, n.kind, n.organization_id, n.issuer_id, n.subject, n.order_id, n.order_number, n.top_up_id, n.occurred_at,
"""
    + SHOWN
    + """
  FROM notices AS n JOIN deliveries AS v ON v.root_id = n.root_id AND v.notice_id = n.id
 WHERE ($1::uuid[] IS NULL OR n.organization_id = ANY ($1) OR n.issuer_id = ANY ($1))
   AND ($2::text IS NULL OR n.kind = $2)
   AND ($3::uuid IS NULL OR n.order_id = $3)
   AND ($4::uuid IS NULL OR n.top_up_id = $4)
   AND ($5::timestamptz IS NULL OR n.occurred_at >= $5)
   AND ($6::timestamptz IS NULL OR n.occurred_at < $6)
   AND ($7::timestamptz IS NULL OR (n.occurred_at, n.id) < ($7, $8))
 ORDER BY n.occurred_at DESC, n.id DESC LIMIT $9
"""
)


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """What a list is narrowed to; None is no bound. `before` is the place after which a page begins."""

    organization_id: UUID | None = None
    kind: NoticeKind | None = None
    order_id: UUID | None = None
    top_up_id: UUID | None = None
    occurred_from: datetime | None = None
    occurred_to: datetime | None = None
    before: tuple[datetime, UUID] | None = None


async def now(db: Db) -> datetime:
    """The database's instant."""
    instant: datetime = await db.fetchval(_NOW)
    return instant


async def insert_notice(
    db: Db, notice_id: UUID, notice: Notice, issuer: Snapshot, recipient: Snapshot, *, subject: str
) -> bool:
    """Writes the notice, and keeps its issuer and recipient as they are now; False where it was written before."""
    await keep_snapshots(db, notice.root_id, issuer, recipient)
    written = await db.fetchval(
        _INSERT,
        notice.root_id,
        notice_id,
        notice.event_id,
        notice.audience,
        notice.kind,
        notice.event,
        recipient.organization.id,
        recipient.version,
        issuer.organization.id,
        issuer.version,
        subject,
        notice.order_id,
        notice.order_number,
        notice.top_up_id,
        notice.occurred_at,
    )
    return written is not None


async def list_notices(db: Db, wanted: NoticeFilter, limit: int) -> list[Row]:
    """Notices in the connection's scope with their deliveries, the newest first."""
    occurred_at, notice_id = wanted.before or (None, None)
    return await db.fetch(
        _LIST,
        await organizations_to_list(db, wanted.organization_id),
        wanted.kind,
        wanted.order_id,
        wanted.top_up_id,
        wanted.occurred_from,
        wanted.occurred_to,
        occurred_at,
        notice_id,
        limit,
    )

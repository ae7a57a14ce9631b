"""The audit trail: who changed what, before and after, when and from where (mission W7).

A service that keeps one creates the table in a migration, records each change in the change's own transaction, and
serves `ListAuditEvents` with `AuditRpc`. Append-only; read by the organization whose books it is about and those above.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from alembic import op
from farthing.audit.v1 import audit_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit import schema
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.ids import new_id, parse_id
from servicekit.instants import boundary
from servicekit.paging import Pager, page_size

# Before and after are a few fields; a page of them must fit a message.
PAGE_MAX = 200

_TABLE = """
    CREATE TABLE audit_events (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        -- Whose books it is about.
        organization_id uuid NOT NULL,
        actor_subject text NOT NULL,
        actor_name text NOT NULL,
        actor_organization_id uuid,
        service text NOT NULL,
        action text NOT NULL CHECK (action <> ''),
        target_type text NOT NULL,
        target_id text NOT NULL,
        before jsonb,
        after jsonb,
        origin text NOT NULL,
        request_id text NOT NULL,
        occurred_at timestamptz NOT NULL DEFAULT farthing_now(),
        PRIMARY KEY (root_id, id)
    )
"""
_INDEXES = (
    "CREATE INDEX audit_events_newest ON audit_events (id DESC)",
    "CREATE INDEX audit_events_of ON audit_events (organization_id, id DESC)",
    "CREATE INDEX audit_events_target ON audit_events (target_id, id DESC)",
)

_ADD = text("""
    INSERT INTO audit_events (root_id, id, organization_id, actor_subject, actor_name, actor_organization_id, service,
                              action, target_type, target_id, before, after, origin, request_id)
    VALUES (:root_id, :id, :organization_id, :actor_subject, :actor_name, :actor_organization_id, :service,
            :action, :target_type, :target_id, CAST(:before AS jsonb), CAST(:after AS jsonb), :origin, :request_id)
""")
# `sees` is what row-level security asks, too; here it stands beside the filter for whoever reads the query.
_PAGE = """
    SELECT id, organization_id, actor_subject, actor_name, actor_organization_id, service, action, target_type,
           target_id, before, after, occurred_at, origin, request_id
    FROM audit_events WHERE {conditions} ORDER BY id DESC LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `action` is such as `ORDER_REFUNDED`; `before` and `after` hold the changed fields, never secrets.

    Their values are texts, numbers, booleans, None, and lists and mappings of these; amounts as texts.
    """

    root_id: UUID
    organization_id: UUID
    action: str
    target_type: str
    target_id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    request_id: str = ""


def create_table() -> None:
    """Creates `audit_events`; called inside an alembic upgrade, after the function `sees` exists."""
    op.execute(_TABLE)
    for index in _INDEXES:
        op.execute(index)
    schema.append_only("audit_events")
    schema.tenant_table("audit_events")


async def record(connection: AsyncConnection, change: Change) -> None:
    """Writes a change of the caller's down, in the change's transaction."""
    call = current_call()
    principal = call.principal
    await connection.execute(
        _ADD,
        {
            "root_id": change.root_id,
            "id": new_id(),
            "organization_id": change.organization_id,
            "actor_subject": principal.subject,
            "actor_name": principal.name,
            "actor_organization_id": principal.organization_id,
            "service": principal.service or "",
            "action": change.action,
            "target_type": change.target_type,
            "target_id": change.target_id,
            "before": None if change.before is None else json.dumps(change.before),
            "after": None if change.after is None else json.dumps(change.after),
            "origin": call.origin,
            "request_id": change.request_id,
        },
    )


class AuditRpc:
    """`ListAuditEvents` of any service's AuditService."""

    def __init__(self, database: Database, pager: Pager) -> None:
        self._database, self._pager = database, pager

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, _context: Any) -> pb.ListAuditEventsResponse:
        size = page_size(request.page_size, maximum=PAGE_MAX)
        cursor = self._pager.decode(request.page_token, bound_to=request.filter)
        conditions, values = _conditions(request.filter)
        if cursor is not None:
            conditions.append("id < :before")
            values["before"] = UUID(cursor["before"])
        query = text(_PAGE.format(conditions=" AND ".join(conditions)))
        async with self._database.transaction(current_call().scope) as connection:
            rows = (await connection.execute(query, {**values, "limit": size + 1})).all()
        reply = pb.ListAuditEventsResponse(events=[_message(row) for row in rows[:size]])
        if len(rows) > size:
            reply.next_page_token = self._pager.encode({"before": str(rows[size - 1].id)}, bound_to=request.filter)
        return reply


def _conditions(wanted: pb.AuditFilter) -> tuple[list[str], dict[str, Any]]:
    conditions = ["true" if current_call().scope.everything else "sees(organization_id)"]
    values: dict[str, Any] = {}
    organization_id = parse_id(wanted.organization_id)
    for name, condition, value in (
        ("organization_id", "organization_id = :organization_id", organization_id),
        ("action", "action = :action", wanted.action),
        ("target_id", "target_id = :target_id", wanted.target_id),
        ("actor_subject", "actor_subject = :actor_subject", wanted.actor_subject),
        ("occurred_from", "occurred_at >= :occurred_from", boundary(wanted, "occurred_from", "filter.")),
        ("occurred_to", "occurred_at < :occurred_to", boundary(wanted, "occurred_to", "filter.")),
    ):
        if value:
            conditions.append(condition)
            values[name] = value
    return conditions, values


def _message(row: Row[Any]) -> pb.AuditEvent:
    occurred_at = Timestamp()
    occurred_at.FromDatetime(row.occurred_at)
    message = pb.AuditEvent(
        id=str(row.id),
        organization_id=str(row.organization_id),
        actor_subject=row.actor_subject,
        actor_name=row.actor_name,
        actor_organization_id=str(row.actor_organization_id or ""),
        service=row.service,
        action=row.action,
        target_type=row.target_type,
        target_id=row.target_id,
        occurred_at=occurred_at,
        origin=row.origin,
        request_id=row.request_id,
    )
    for field, found in (("before", row.before), ("after", row.after)):
        if found is not None:
            getattr(message, field).update(found)
            # An empty mapping is not the same as none.
            getattr(message, field).SetInParent()
    return message

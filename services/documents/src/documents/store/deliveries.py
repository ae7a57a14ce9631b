"""SQL of mails on their way: of documents and of notices alike."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from documents.domain import Delivery, DeliveryState
from documents.store.rows import Db, Row

_QUEUE = """
INSERT INTO deliveries (root_id, document_id, notice_id, state, message_id, recipients, queued_at, next_attempt_at,
  last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
# The lease keeps other workers away while this one sends, outside of any transaction.
_CLAIM = """
WITH due AS (
  SELECT root_id, mail_id FROM deliveries
   WHERE state IN ('QUEUED', 'DEFERRED') AND {whose} IS NOT NULL AND next_attempt_at <= farthing_now()
   ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE deliveries AS d SET next_attempt_at = farthing_now() + $2
    FROM due WHERE d.root_id = due.root_id AND d.mail_id = due.mail_id AND d.state IN ('QUEUED', 'DEFERRED')
  RETURNING d.*
)
SELECT claimed.root_id, claimed.mail_id, claimed.state AS delivery_state, claimed.message_id, claimed.recipients,
       claimed.accepted, claimed.refused, claimed.refusals, claimed.attempts, claimed.queued_at, claimed.sent_at,
       claimed.last_error,
"""
_CLAIM_RECEIPTS = (
    _CLAIM.format(whose="document_id")
    + """
       d.type, d.source, d.number, d.order_number, d.total_micros, d.currency, d.issued_at,
       d.object_key, d.object_version, d.sha256, issuer.resource AS issuer
  FROM claimed
  JOIN documents AS d ON d.root_id = claimed.root_id AND d.id = claimed.document_id
  JOIN snapshots AS issuer ON (issuer.root_id, issuer.organization_id, issuer.version)
       = (d.root_id, d.issuer_id, d.issuer_version)
"""
)
_CLAIM_NOTICES = (
    _CLAIM.format(whose="notice_id")
    + """
       n.kind, n.audience, n.event, n.occurred_at, issuer.resource AS issuer, recipient.resource AS recipient
  FROM claimed
  JOIN notices AS n ON n.root_id = claimed.root_id AND n.id = claimed.notice_id
  JOIN snapshots AS issuer ON (issuer.root_id, issuer.organization_id, issuer.version)
       = (n.root_id, n.issuer_id, n.issuer_version)
  JOIN snapshots AS recipient ON (recipient.root_id, recipient.organization_id, recipient.version)
       = (n.root_id, n.organization_id, n.organization_version)
"""
)
_SAVE = """
UPDATE deliveries SET state = $3, accepted = $4, refused = $5, refusals = $6, attempts = $7, next_attempt_at = $8,
       sent_at = $9, last_error = $10
 WHERE root_id = $1 AND mail_id = $2 AND state IN ('QUEUED', 'DEFERRED') AND attempts < $7
"""
# What a row of a list has of its delivery `v`.
SHOWN = """
       v.state AS delivery_state, v.recipients, v.message_id, v.attempts AS delivery_attempts,
       v.last_error AS delivery_error, v.next_attempt_at AS delivery_next_attempt_at, v.sent_at
"""


async def queue(
    db: Db,
    root_id: UUID,
    delivery: Delivery,
    message_id: str,
    *,
    document_id: UUID | None = None,
    notice_id: UUID | None = None,
) -> None:
    """Writes the new delivery of a document or of a notice."""
    await db.execute(
        _QUEUE,
        root_id,
        document_id,
        notice_id,
        delivery.state,
        message_id,
        list(delivery.recipients),
        delivery.queued_at,
        delivery.next_attempt_at,
        delivery.last_error,
    )


async def claim_receipts(db: Db, limit: int, lease: timedelta) -> list[Row]:
    """Takes deliveries of documents to try, with what their mails are made from."""
    return await db.fetch(_CLAIM_RECEIPTS, limit, lease)


async def claim_notices(db: Db, limit: int, lease: timedelta) -> list[Row]:
    """Takes deliveries of notices to try, with what their mails are made from."""
    return await db.fetch(_CLAIM_NOTICES, limit, lease)


def delivery_of(row: Row) -> Delivery:
    """The delivery in a claimed row."""
    return Delivery(
        state=DeliveryState(row["delivery_state"]),
        recipients=tuple(row["recipients"]),
        queued_at=row["queued_at"],
        accepted=tuple(row["accepted"]),
        refused=tuple(row["refused"]),
        refusals=tuple(row["refusals"]),
        attempts=row["attempts"],
        sent_at=row["sent_at"],
        last_error=row["last_error"],
    )


async def save(db: Db, root_id: UUID, mail_id: UUID, delivery: Delivery) -> None:
    """Writes how a try went."""
    await db.execute(
        _SAVE,
        root_id,
        mail_id,
        delivery.state,
        list(delivery.accepted),
        list(delivery.refused),
        list(delivery.refusals),
        delivery.attempts,
        delivery.next_attempt_at,
        delivery.sent_at,
        delivery.last_error,
    )

"""What changes documents: issue one, write notices, note a place in the archive. One transaction each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from money import minor_exponent
from servicekit.consumers import NotYet
from servicekit.database import driver
from servicekit.faults import fault_point
from servicekit.ids import new_id
from sqlalchemy.ext.asyncio import AsyncConnection

from documents.convert import receipt_view
from documents.domain import Archived, ManifestLine, Notice, Source, document_number, new_delivery
from documents.notice_events import notice_view
from documents.notice_mail import notice_message, notice_recipients
from documents.store import deliveries, receipts
from documents.store import notices as notice_rows
from documents.store.rows import Db
from documents.store.snapshots import Snapshot, snapshots


@dataclass(frozen=True, slots=True)
class ArchivedDocument:
    """A document that lies in the archive, and who gets it by mail."""

    root_id: UUID
    document_id: UUID
    archived: Archived
    recipients: tuple[str, ...]


async def issue(connection: AsyncConnection, source: Source) -> UUID | None:
    """Issues the receipt of an order or top-up within the caller's transaction; None where it has one.

    Raises NotYet while an organization has not arrived, ValueError where a receipt cannot be made of the event
    (its amounts do not add up, its currency does not exist): then it takes no number.
    """
    db = await driver(connection)
    if await receipts.is_issued(db, source):
        return None
    what = f"{source.type} {source.source_id}"
    issuer, recipient = await _known(db, what, source.issuer_id, source.recipient_id)
    minor_exponent(source.currency)
    receipt_view(
        source.type,
        source.payload,
        number=document_number(source.year, 1),
        issued_at=source.issued_at,
        issuer=issuer.organization,
        recipient=recipient.organization,
    )
    document_id = new_id()
    try:
        sequence = await receipts.next_sequence(db, issuer.organization, source.year)
        await receipts.insert_document(db, document_id, source, issuer, recipient, sequence=sequence)
    except (asyncpg.UniqueViolationError, asyncpg.TransactionRollbackError) as error:
        # Another worker issued the same receipt meanwhile, or each waited for the other's issuer.
        raise NotYet(f"{source.type} {source.source_id} is issued elsewhere at this moment") from error
    await fault_point("documents.before_issue_commit")
    return document_id


async def notify(connection: AsyncConnection, notices: Sequence[Notice], mail_domain: str) -> int:
    """Writes notices and queues their mails within the caller's transaction; how many were not written before.

    Raises NotYet while an organization has not arrived, ValueError where no mail can be made of the event.
    """
    db = await driver(connection)
    written = 0
    for notice in notices:
        what = f"{notice.kind} {notice.event_id}"
        issuer, recipient = await _known(db, what, notice.issuer_id, notice.recipient_id)
        view = notice_view(notice.kind, notice.audience, notice.event)
        people = notice_recipients(view, recipient.organization)
        notice_id = new_id()
        message_id = f"<{notice_id}@{mail_domain}>"
        message = notice_message(
            view,
            message_id=message_id,
            recipients=people,
            issuer=issuer.organization,
            recipient=recipient.organization,
            occurred_at=notice.occurred_at,
        )
        if await notice_rows.insert_notice(db, notice_id, notice, issuer, recipient, subject=message.subject):
            delivery = new_delivery(people, await notice_rows.now(db))
            await deliveries.queue(db, notice.root_id, delivery, message_id, notice_id=notice_id)
            written += 1
    if written:
        await fault_point("documents.before_notice_commit")
    return written


async def _known(db: Db, what: str, issuer_id: UUID, recipient_id: UUID) -> tuple[Snapshot, Snapshot]:
    """Issuer and recipient as they are now. Raises NotYet while one has not arrived."""
    found = await snapshots(db, [issuer_id, recipient_id])
    for organization_id in (issuer_id, recipient_id):
        if organization_id not in found:
            raise NotYet(f"organization {organization_id} of {what} is not known here yet")
    return found[issuer_id], found[recipient_id]


async def record_archived(db: Db, documents: Sequence[ArchivedDocument], mail_domain: str, now: datetime) -> int:
    """Marks documents ARCHIVED, adds their manifest lines and queues their mails; how many were not yet.

    Roots are locked in the order of their ids, so that two of these never wait for each other in a circle.
    """
    by_root: defaultdict[UUID, list[ArchivedDocument]] = defaultdict(list)
    for document in documents:
        by_root[document.root_id].append(document)
    recorded = 0
    async with db.transaction():
        for root_id in sorted(by_root):
            recorded += await _record_root(db, root_id, by_root[root_id], mail_domain, now)
        await fault_point("documents.before_archive_commit")
    await fault_point("documents.after_archive_commit")
    return recorded


async def _record_root(
    db: Db,
    root_id: UUID,
    documents: Sequence[ArchivedDocument],
    mail_domain: str,
    now: datetime,
) -> int:
    sequence, last_hash = await receipts.lock_head(db, root_id)
    lines: list[ManifestLine] = []
    for document in sorted(documents, key=lambda each: each.document_id):
        archived = document.archived
        key = await receipts.mark_archived(db, root_id, document.document_id, archived)
        if key is None:
            continue
        line = ManifestLine.after(
            lines[-1].hash if lines else last_hash,
            root_id=root_id,
            sequence=sequence + len(lines) + 1,
            document_id=document.document_id,
            object_key=key,
            object_version=archived.object_version,
            sha256=archived.sha256,
            size_bytes=archived.size_bytes,
        )
        lines.append(line)
        message_id = f"<{document.document_id}@{mail_domain}>"
        delivery = new_delivery(document.recipients, now)
        await deliveries.queue(db, root_id, delivery, message_id, document_id=document.document_id)
    if lines:
        await receipts.append_manifest(db, lines)
    return len(lines)

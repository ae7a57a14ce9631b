"""What `documents` does by itself: archive what was issued, mail it and the notices, keep the locks alive.

Each takes its rows for the length of a lease, works outside of any transaction, and writes how it went. A worker
that dies leaves rows that others take when the lease is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

import asyncpg
import structlog
from directory.store import organizations
from prometheus_client import Counter, Histogram
from servicekit.clock import Clock
from servicekit.faults import fault_point
from servicekit.jobs import Job

from documents.archive import ArchiveDamaged, ArchiveDown, ArchiveRefused, years
from documents.clients import ArchiveClient
from documents.commands import ArchivedDocument, record_archived
from documents.convert import purchaser_of
from documents.domain import (
    ARCHIVE_BACKOFF_S,
    Answer,
    Audience,
    Delivery,
    DeliveryState,
    DocumentType,
    NoticeKind,
    after_attempt,
    backoff,
    mailboxes,
)
from documents.mailer import Mail, Mailer, Message, receipt_message, write
from documents.notice_events import notice_view
from documents.notice_mail import notice_message
from documents.rendering import Drawing, Renderer
from documents.settings import DocumentsSettings
from documents.store import deliveries, receipts
from documents.store.rows import Db, Row

log = structlog.get_logger()

# The workers' own connections, which see everything.
Pool: TypeAlias = "asyncpg.Pool[Any]"

_ARCHIVED = Counter("farthing_documents_archived", "Documents put into the archive")
_ARCHIVE_FAILURES = Counter("farthing_documents_archive_failures", "Tries to archive a document that failed")
_RENDER = Histogram("farthing_documents_render_seconds", "Drawing one receipt, its wait for a worker included")
_PUT = Histogram("farthing_documents_put_seconds", "Putting one document into the archive")
_MAILS = Counter("farthing_documents_mails", "Tries to mail, by the state they led to", ["state"])

LANES = 2
ARCHIVE_BATCH = 8
MAIL_BATCH = 16
EXTEND_BATCH = 100
POLL_S = 0.05
EXTEND_EVERY_S = 3600.0
PROBE_EVERY_S = 1.0
# Of its lease, how much a worker may use: it stops before another one begins.
_WORK_SHARE = 0.8


class Archiver:
    """Draws and archives issued documents; `archived` wakes the mail job."""

    def __init__(
        self,
        pool: Pool,
        archive: ArchiveClient,
        renderer: Renderer,
        *,
        settings: DocumentsSettings,
        clock: Clock,
        archived: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._archive = archive
        self._renderer = renderer
        self._clock = clock
        self._archived = archived
        self._lease = timedelta(seconds=settings.lease_s)
        self._retention = years(settings.retention_years)
        self._mail_domain = settings.mail_domain

    async def run(self) -> int:
        """Archives a batch; how many documents it took. None before the store has passed its probe."""
        if not self._archive.ready.is_set():
            return 0
        async with self._pool.acquire() as db:
            rows = await receipts.claim_issued(db, ARCHIVE_BATCH, self._lease)
        if not rows:
            return 0
        await fault_point("documents.after_issue_commit")
        tried = await asyncio.gather(*(self._archive_one(row) for row in rows))
        done = [document for document in tried if document is not None]
        if done:
            async with self._pool.acquire() as db:
                recorded = await record_archived(db, done, self._mail_domain, self._clock.now())
            self._archived.set()
            _ARCHIVED.inc(recorded)
        return len(rows)

    async def _archive_one(self, row: Row) -> ArchivedDocument | None:
        """None where it must be tried again; then it says why in its row."""
        try:
            async with asyncio.timeout(_WORK_SHARE * self._lease.total_seconds()):
                return await self._draw_and_put(row)
        except Exception as error:
            _ARCHIVE_FAILURES.inc()
            wait = backoff(ARCHIVE_BACKOFF_S, row["attempts"])
            known = isinstance(error, ArchiveDown | ArchiveRefused)
            log.warning(
                "document not archived, trying again",
                document_id=str(row["id"]),
                number=row["number"],
                attempts=row["attempts"],
                next_try_s=wait.total_seconds(),
                error=repr(error),
                exc_info=not known,
            )
            async with self._pool.acquire() as db:
                await receipts.put_off(db, row["root_id"], row["id"], wait, str(error) or repr(error))
            return None

    async def _draw_and_put(self, row: Row) -> ArchivedDocument:
        document_type = DocumentType(row["type"])
        drawing = Drawing(
            document_type, row["source"], row["number"], row["issued_at"], row["issuer"], row["recipient"]
        )
        with _RENDER.time():
            pdf = await self._renderer.render(drawing)
        await fault_point("documents.before_put")
        retain_until = self._clock.now() + self._retention
        with _PUT.time():
            archived = await self._archive.put(row["object_key"], pdf, retain_until, maybe_there=row["attempts"] > 1)
        await fault_point("documents.after_put")
        return ArchivedDocument(row["root_id"], row["id"], archived, _recipients(row))


def _recipients(row: Row) -> tuple[str, ...]:
    """The purchaser and the boss, once if they are the same mailbox (mission D1)."""
    _, purchaser = purchaser_of(DocumentType(row["type"]), row["source"])
    (recipient,) = organizations([row["recipient"]])
    return mailboxes(purchaser, recipient.boss.email if recipient.boss else "")


class NotNow(Exception):  # noqa: N818 - not an error, a matter of time
    """What a mail carries is not to be had at the moment."""


class Mailbag(Protocol):
    """Mails to be sent, of one sort."""

    async def claim(self, db: Db, limit: int, lease: timedelta) -> list[Row]:
        """Takes deliveries to try."""
        ...

    async def message(self, row: Row) -> Message:
        """The mail of a claimed row. Raises NotNow where it cannot be made at the moment."""
        ...


class ReceiptBag:
    """The mails of archived documents: each carries the archived bytes."""

    def __init__(self, archive: ArchiveClient) -> None:
        self._archive = archive

    async def claim(self, db: Db, limit: int, lease: timedelta) -> list[Row]:
        return await deliveries.claim_receipts(db, limit, lease)

    async def message(self, row: Row) -> Message:
        try:
            pdf = await self._archive.read(row["object_key"], row["object_version"], row["sha256"])
        except (ArchiveDown, ArchiveRefused, ArchiveDamaged) as error:
            raise NotNow(str(error)) from error
        (issuer,) = organizations([row["issuer"]])
        document_type = DocumentType(row["type"])
        return receipt_message(
            Mail(
                type=document_type,
                message_id=row["message_id"],
                recipients=tuple(row["recipients"]),
                purchaser_name=purchaser_of(document_type, row["source"])[0],
                issuer=issuer,
                number=row["number"],
                order_number=row["order_number"],
                total_micros=row["total_micros"],
                currency=row["currency"],
                issued_at=row["issued_at"],
                pdf=pdf,
            )
        )


class NoticeBag:
    """The mails of notices, composed from what was kept when they were written."""

    async def claim(self, db: Db, limit: int, lease: timedelta) -> list[Row]:
        return await deliveries.claim_notices(db, limit, lease)

    async def message(self, row: Row) -> Message:
        issuer, recipient = organizations([row["issuer"], row["recipient"]])
        return notice_message(
            notice_view(NoticeKind(row["kind"]), Audience(row["audience"]), row["event"]),
            message_id=row["message_id"],
            recipients=tuple(row["recipients"]),
            issuer=issuer,
            recipient=recipient,
            occurred_at=row["occurred_at"],
        )


class Postman:
    """Sends what is in its bag. A mail that cannot go out changes nothing but its own delivery.

    `filled` says that there may be something new; without it the bag is looked into now and then.
    """

    def __init__(
        self,
        pool: Pool,
        bag: Mailbag,
        mailer: Mailer,
        *,
        settings: DocumentsSettings,
        clock: Clock,
        filled: asyncio.Event,
    ) -> None:
        self._pool = pool
        self._bag = bag
        self._mailer = mailer
        self._clock = clock
        self._filled = filled
        self._lease = timedelta(seconds=settings.lease_s)
        self._give_up_after = timedelta(days=settings.mail_give_up_days)

    async def run(self) -> int:
        """Tries a batch of due deliveries; how many it took."""
        self._filled.clear()
        async with self._pool.acquire() as db:
            rows = await self._bag.claim(db, MAIL_BATCH, self._lease)
        if not rows:
            await self._until_filled()
            return 0
        await asyncio.gather(*(self._deliver(row) for row in rows))
        return len(rows)

    async def _until_filled(self) -> None:
        try:
            async with asyncio.timeout(10 * POLL_S):
                await self._filled.wait()
        except TimeoutError:
            return

    async def _deliver(self, row: Row) -> None:
        delivery = deliveries.delivery_of(row)
        bound_s = _WORK_SHARE * self._lease.total_seconds()
        try:
            async with asyncio.timeout(bound_s):
                answers = await self._send(row, delivery)
        except TimeoutError:
            answers = dict.fromkeys(delivery.pending, Answer(0, f"not done within {bound_s:.0f} s"))
        after = after_attempt(delivery, answers, self._clock.now(), self._give_up_after)
        async with self._pool.acquire() as db:
            await deliveries.save(db, row["root_id"], row["mail_id"], after)
        await fault_point("documents.after_sent_commit")
        _MAILS.labels(after.state).inc()
        if after.state is not DeliveryState.SENT:
            log.warning(
                "not mailed",
                message_id=row["message_id"],
                state=after.state,
                attempts=after.attempts,
                error=after.last_error,
            )

    async def _send(self, row: Row, delivery: Delivery) -> dict[str, Answer]:
        try:
            message = await self._bag.message(row)
        except NotNow as why:
            return dict.fromkeys(delivery.pending, Answer(0, str(why)))
        return dict(await self._mailer.send(write(message, self._mailer.sender), delivery.pending))


class Keeper:
    """Locks are extended before they end: for ever (mission D7)."""

    def __init__(self, pool: Pool, archive: ArchiveClient, *, settings: DocumentsSettings, clock: Clock) -> None:
        self._pool = pool
        self._archive = archive
        self._clock = clock
        self._retention = years(settings.retention_years)
        self._threshold = years(settings.retention_extend_below_years)

    async def run(self) -> int:
        """Extends a batch; how many documents it was."""
        now = self._clock.now()
        until = (now + self._retention).replace(microsecond=0)
        async with self._pool.acquire() as db:
            rows = await receipts.to_extend(db, now + self._threshold, EXTEND_BATCH)
        for row in rows:
            await self._archive.retain(row["object_key"], row["object_version"], until)
            async with self._pool.acquire() as db:
                await receipts.extend(db, row["root_id"], row["id"], until)
        return len(rows)


class Gatekeeper:
    """Nothing is archived before the store has shown that its locks hold; meanwhile the drawing workers get warm."""

    def __init__(self, archive: ArchiveClient, renderer: Renderer, clock: Clock) -> None:
        self._archive = archive
        self._renderer = renderer
        self._clock = clock

    async def run(self) -> int:
        """Probes until the store has passed once; then never again in this process."""
        if not self._archive.ready.is_set():
            await self._renderer.warm()
            checks = await self._archive.open_gate(self._clock.now())
            log.info("the archive's locks hold", endpoint=self._archive.archive.endpoint.url, checks=len(checks))
        return 0


def jobs(
    archiver: Archiver, postman: Postman, notifier: Postman, keeper: Keeper, gatekeeper: Gatekeeper
) -> Sequence[Job]:
    """Several lanes each: while one batch is written, the next is drawn or sent."""
    return [
        Job("probe_archive", PROBE_EVERY_S, gatekeeper.run),
        *(Job(f"archive_receipts_{lane}", POLL_S, archiver.run) for lane in range(LANES)),
        *(Job(f"deliver_receipts_{lane}", POLL_S / 10, postman.run) for lane in range(LANES)),
        Job("deliver_notices", POLL_S, notifier.run),
        Job("extend_retention", EXTEND_EVERY_S, keeper.run),
    ]

"""Receipts: their numbers, their places in the archive, its chain of hashes; notices; how a mail fares. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from uuid import UUID

MEDIA_TYPE = "application/pdf"
# The hash before a root's first manifest line.
GENESIS = bytes(32)
# Seconds until the next try; the last one repeats.
ARCHIVE_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
MAIL_BACKOFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
# As HTML and the contracts define an address; nothing in it can break out of a header or an SMTP command.
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_MAILBOX = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})*")


class DocumentType(StrEnum):
    """What a document is."""

    PURCHASE_RECEIPT = "PURCHASE_RECEIPT"
    TOP_UP_RECEIPT = "TOP_UP_RECEIPT"


class DocumentState(StrEnum):
    """ISSUED has its number; ARCHIVED lies in the object store under lock."""

    ISSUED = "ISSUED"
    ARCHIVED = "ARCHIVED"


class DeliveryState(StrEnum):
    """Where a mail stands."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    DEFERRED = "DEFERRED"
    FAILED = "FAILED"


class NoticeKind(StrEnum):
    """What a notice tells."""

    BALANCE_LOW = "BALANCE_LOW"
    TOP_UP_FAILED = "TOP_UP_FAILED"
    ORDER_REFUNDED = "ORDER_REFUNDED"
    ORDER_CANCELED = "ORDER_CANCELED"
    ORDER_PAYMENT_KEPT = "ORDER_PAYMENT_KEPT"
    ADJUSTMENT_POSTED = "ADJUSTMENT_POSTED"


class Audience(StrEnum):
    """Which side of a sale a notice is for."""

    BUYER = "BUYER"
    SELLER = "SELLER"


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to be told to one side, once. `event` is the whole event, byte for byte."""

    kind: NoticeKind
    audience: Audience
    root_id: UUID
    event_id: UUID
    recipient_id: UUID
    issuer_id: UUID
    occurred_at: datetime
    event: bytes
    order_id: UUID | None = None
    order_number: str = ""
    top_up_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What was paid: an order or a top-up, as its event tells. `payload` is the event's resource, byte for byte."""

    type: DocumentType
    root_id: UUID
    source_id: UUID
    issuer_id: UUID
    recipient_id: UUID
    order_number: str
    total_micros: int
    currency: str
    issued_at: datetime
    payload: bytes

    @property
    def year(self) -> int:
        """The year whose numbers it takes, in UTC."""
        return self.issued_at.astimezone(UTC).year


def document_number(year: int, sequence: int) -> str:
    """Such as `R-2026-000042`; grows past six digits where an issuer has more."""
    return f"R-{year:04d}-{sequence:06d}"


def object_key(issuer_domain: str, year: int, number: str) -> str:
    """Where the document lies: `<issuer's domain>/<year>/<number>.pdf`. No key is the beginning of another's path."""
    return f"{issuer_domain}/{year:04d}/{number}.pdf"


def file_name(number: str) -> str:
    """The name a download gets."""
    return f"{number}.pdf"


def backoff(schedule_s: tuple[float, ...], attempts: int) -> timedelta:
    """How long to wait after `attempts` tries (1 or more)."""
    return timedelta(seconds=schedule_s[min(max(attempts, 1), len(schedule_s)) - 1])


def mailboxes(*addresses: str) -> tuple[str, ...]:
    """The usable ones in their order, each once; upper and lower case are the same mailbox."""
    found: dict[str, str] = {}
    for address in addresses:
        trimmed = address.strip()
        if _MAILBOX.fullmatch(trimmed):
            found.setdefault(trimmed.casefold(), trimmed)
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Archived:
    """A document's place in the archive."""

    object_version: str
    sha256: bytes
    size_bytes: int
    retained_until: datetime


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """One archived document in its root's chain. `hash` covers everything else, `previous_hash` included."""

    root_id: UUID
    sequence: int
    document_id: UUID
    object_key: str
    object_version: str
    sha256: bytes
    size_bytes: int
    previous_hash: bytes
    hash: bytes

    @staticmethod
    def after(
        previous_hash: bytes,
        *,
        root_id: UUID,
        sequence: int,
        document_id: UUID,
        object_key: str,
        object_version: str,
        sha256: bytes,
        size_bytes: int,
    ) -> ManifestLine:
        """The line that follows the one with `previous_hash` (`GENESIS` for sequence 1)."""
        # Hex and numbers hold no line break, keys and versions are checked, so the text reads in one way only.
        fields = (
            "farthing manifest 1",
            str(root_id),
            str(sequence),
            str(document_id),
            object_key,
            object_version,
            sha256.hex(),
            str(size_bytes),
            previous_hash.hex(),
        )
        if any("\n" in field for field in fields):
            raise ValueError(f"manifest line {sequence} of {root_id}: a line break in its object's name")
        digest = hashlib.sha256("\n".join(fields).encode()).digest()
        return ManifestLine(
            root_id, sequence, document_id, object_key, object_version, sha256, size_bytes, previous_hash, digest
        )

    def fault(self, previous: ManifestLine | None) -> str | None:
        """What breaks the chain between `previous` (None before the first) and this line, or None."""
        expected_sequence = previous.sequence + 1 if previous else 1
        if self.sequence != expected_sequence:
            return f"line {expected_sequence} is missing; line {self.sequence} stands in its place"
        if self.previous_hash != (previous.hash if previous else GENESIS):
            return f"line {self.sequence} does not follow the hash of the line before it"
        computed = ManifestLine.after(
            self.previous_hash,
            root_id=self.root_id,
            sequence=self.sequence,
            document_id=self.document_id,
            object_key=self.object_key,
            object_version=self.object_version,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
        )
        if computed.hash != self.hash:
            return f"line {self.sequence} was changed: its content does not give its hash"
        return None


def chain_faults(lines: list[ManifestLine]) -> list[str]:
    """Every break in a root's whole chain, in order; empty where it is intact."""
    pairs = [(None, lines[0]), *pairwise(lines)] if lines else []
    return [fault for previous, line in pairs if (fault := line.fault(previous))]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the mail server said about one recipient. `code` is SMTP's (RFC 5321), 0 where it was not reached."""

    code: int
    text: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    @property
    def refused(self) -> bool:
        return 500 <= self.code < 600


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail. Each recipient is accepted, refused, or still pending; only pending ones are tried (again).

    `refusals` says why, for each of `refused`. `sent_at` is when the first recipient's server accepted it.
    """

    state: DeliveryState
    recipients: tuple[str, ...]
    queued_at: datetime
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    attempts: int = 0
    next_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    last_error: str = ""

    @property
    def pending(self) -> tuple[str, ...]:
        """Those who still wait for the mail."""
        return tuple(r for r in self.recipients if r not in self.accepted and r not in self.refused)


def new_delivery(recipients: tuple[str, ...], now: datetime) -> Delivery:
    """Queued at once; failed where nobody has a mailbox."""
    if not recipients:
        reason = "nobody it is for has a mailbox; add one to the boss and send it by hand"
        return Delivery(DeliveryState.FAILED, (), now, last_error=reason)
    return Delivery(DeliveryState.QUEUED, recipients, now, next_attempt_at=now)


def after_attempt(
    delivery: Delivery, answers: Mapping[str, Answer], now: datetime, give_up_after: timedelta
) -> Delivery:
    """The delivery after a try. `answers` has one for each pending recipient; a missing one counts as not reached.

    A recipient refused for good is not tried again; one that was put off is, with backoff, until `give_up_after`
    from the start. SENT once nobody is pending and somebody accepted; FAILED once nobody is pending and nobody did.
    """
    unreached = Answer(0, "no answer")
    tried = {recipient: answers.get(recipient, unreached) for recipient in delivery.pending}
    expired = now - delivery.queued_at >= give_up_after
    accepted = tuple(r for r, a in tried.items() if a.accepted)
    refused = tuple(r for r, a in tried.items() if a.refused or (expired and not a.accepted))
    refusals = delivery.refusals + tuple(_trouble(r, tried[r], expired) for r in refused)
    put_off = [_trouble(r, a, expired) for r, a in tried.items() if r not in accepted and r not in refused]
    attempts = delivery.attempts + 1
    done = replace(
        delivery,
        accepted=delivery.accepted + accepted,
        refused=delivery.refused + refused,
        refusals=refusals,
        attempts=attempts,
        last_error="; ".join([*refusals, *put_off])[:2000],
        sent_at=delivery.sent_at or (now if accepted else None),
    )
    if done.pending:
        wait = backoff(MAIL_BACKOFF_S, attempts)
        return replace(done, state=DeliveryState.DEFERRED, next_attempt_at=now + wait)
    return replace(done, state=DeliveryState.SENT if done.accepted else DeliveryState.FAILED, next_attempt_at=None)


def _trouble(recipient: str, answer: Answer, expired: bool) -> str:
    said = f"{answer.code} {answer.text}" if answer.code else answer.text
    if answer.refused:
        return f"{recipient} refused: {said}"
    return f"{recipient} {'given up' if expired else 'put off'}: {said}"

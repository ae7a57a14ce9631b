"""SQL of documents and their manifest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from directory.domain import Organization

from documents.domain import (
    GENESIS,
    Archived,
    DocumentType,
    ManifestLine,
    Source,
    document_number,
    object_key,
)
from documents.store.deliveries import SHOWN
from documents.store.rows import Db, Row
from documents.store.snapshots import Snapshot, keep_snapshots, organizations_to_list

SERIES = "RECEIPT"

# Issuing

_ISSUED = "SELECT 1 FROM documents WHERE root_id = $1 AND type = $2 AND source_id = $3"
_NEXT_SEQUENCE = """
INSERT INTO counters AS c (root_id, issuer_id, series, year, last) VALUES ($1, $2, $3, $4, 1)
ON CONFLICT (root_id, issuer_id, series, year) DO UPDATE SET last = c.last + 1 RETURNING last
"""
_INSERT_DOCUMENT = """
INSERT INTO documents (root_id, id, type, source_id, order_number, source, series, issuer_id, issuer_version,
  issuer_name, recipient_id, recipient_version, recipient_name, year, sequence, number, currency, total_micros,
  issued_at, object_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
"""


async def is_issued(db: Db, source: Source) -> bool:
    """True if the order or top-up has its receipt."""
    return await db.fetchval(_ISSUED, source.root_id, source.type, source.source_id) is not None


async def next_sequence(db: Db, issuer: Organization, year: int) -> int:
    """The issuer's next number of the year. Nobody else gets one until this transaction ends: so none is lost."""
    sequence: int = await db.fetchval(_NEXT_SEQUENCE, issuer.root_id, issuer.id, SERIES, year)
    return sequence


async def insert_document(
    db: Db,
    document_id: UUID,
    source: Source,
    issuer: Snapshot,
    recipient: Snapshot,
    *,
    sequence: int,
) -> None:
    """Writes the document as ISSUED, and keeps its issuer and recipient as they are now."""
    await keep_snapshots(db, source.root_id, issuer, recipient)
    number = document_number(source.year, sequence)
    await db.execute(
        _INSERT_DOCUMENT,
        source.root_id,
        document_id,
        source.type,
        source.source_id,
        source.order_number,
        source.payload,
        SERIES,
        issuer.organization.id,
        issuer.version,
        issuer.organization.name,
        recipient.organization.id,
        recipient.version,
        recipient.organization.name,
        source.year,
        sequence,
        number,
        source.currency,
        source.total_micros,
        source.issued_at,
        object_key(issuer.organization.domain, source.year, number),
    )


# Archiving

# The lease keeps other workers away while this one draws and puts, outside of any transaction.
_CLAIM_ISSUED = """
WITH due AS (
  SELECT root_id, id FROM documents WHERE state = 'ISSUED' AND next_attempt_at <= farthing_now()
   ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE documents AS d SET next_attempt_at = farthing_now() + $2, attempts = d.attempts + 1
    FROM due WHERE d.root_id = due.root_id AND d.id = due.id AND d.state = 'ISSUED'
  RETURNING d.*
)
SELECT claimed.*, issuer.resource AS issuer, recipient.resource AS recipient
  FROM claimed
  JOIN snapshots AS issuer ON (issuer.root_id, issuer.organization_id, issuer.version)
       = (claimed.root_id, claimed.issuer_id, claimed.issuer_version)
  JOIN snapshots AS recipient ON (recipient.root_id, recipient.organization_id, recipient.version)
       = (claimed.root_id, claimed.recipient_id, claimed.recipient_version)
"""
_PUT_OFF = """
UPDATE documents SET next_attempt_at = farthing_now() + $3, last_error = $4
 WHERE root_id = $1 AND id = $2 AND state = 'ISSUED'
"""
_ARCHIVE = """
UPDATE documents SET state = 'ARCHIVED', object_version = $3, sha256 = $4, size_bytes = $5, retained_until = $6,
       archived_at = farthing_now(), last_error = ''
 WHERE root_id = $1 AND id = $2 AND state = 'ISSUED' RETURNING object_key
"""
_START_CHAIN = """
INSERT INTO manifest_heads (root_id, sequence, hash) SELECT root_id, 0, $2 FROM unnest($1::uuid[]) AS root_id
ON CONFLICT DO NOTHING
"""
_LOCK_HEAD = "SELECT sequence, hash FROM manifest_heads WHERE root_id = $1 FOR UPDATE"
_MOVE_HEAD = "UPDATE manifest_heads SET sequence = $2, hash = $3 WHERE root_id = $1"
_APPEND = """
INSERT INTO manifest (root_id, sequence, document_id, object_key, object_version, sha256, size_bytes,
  previous_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def claim_issued(db: Db, limit: int, lease: timedelta) -> list[Row]:
    """Takes documents to archive: their rows with `issuer` and `recipient`, serialized as they were when issued."""
    return await db.fetch(_CLAIM_ISSUED, limit, lease)


async def put_off(db: Db, root_id: UUID, document_id: UUID, wait: timedelta, error: str) -> None:
    """Gives a claimed document back, to be tried after `wait`."""
    await db.execute(_PUT_OFF, root_id, document_id, wait, error[:2000])


async def lock_head(db: Db, root_id: UUID) -> tuple[int, bytes]:
    """Sequence and hash of the root's last manifest line, locked until the transaction ends."""
    await db.execute(_START_CHAIN, [root_id], GENESIS)
    (row,) = await db.fetch(_LOCK_HEAD, root_id)
    return row["sequence"], row["hash"]


async def mark_archived(db: Db, root_id: UUID, document_id: UUID, archived: Archived) -> str | None:
    """Writes where the document lies; its object's key, or None where another worker was first."""
    key: str | None = await db.fetchval(
        _ARCHIVE,
        root_id,
        document_id,
        archived.object_version,
        archived.sha256,
        archived.size_bytes,
        archived.retained_until,
    )
    return key


async def append_manifest(db: Db, lines: Sequence[ManifestLine]) -> None:
    """Writes the lines of one root, in order, and moves its head."""
    await db.executemany(_APPEND, [_manifest_values(line) for line in lines])
    last = lines[-1]
    await db.execute(_MOVE_HEAD, last.root_id, last.sequence, last.hash)


def _manifest_values(line: ManifestLine) -> tuple[Any, ...]:
    return (
        line.root_id,
        line.sequence,
        line.document_id,
        line.object_key,
        line.object_version,
        line.sha256,
        line.size_bytes,
        line.previous_hash,
        line.hash,
    )


# Retention

_TO_EXTEND = """
SELECT root_id, id, object_key, object_version FROM documents
 WHERE state = 'ARCHIVED' AND retained_until < $1 ORDER BY retained_until LIMIT $2
"""
_EXTEND = """
UPDATE documents SET retained_until = greatest(retained_until, $3) WHERE root_id = $1 AND id = $2
"""


async def to_extend(db: Db, before: datetime, limit: int) -> list[Row]:
    """Documents whose lock ends before that instant, the first to end first."""
    return await db.fetch(_TO_EXTEND, before, limit)


async def extend(db: Db, root_id: UUID, document_id: UUID, until: datetime) -> None:
    """Notes the longer lock."""
    await db.execute(_EXTEND, root_id, document_id, until)


# Reading

_DOCUMENT = (
    """
SELECT d.*,
"""
    + SHOWN
    + """
  FROM documents AS d LEFT JOIN deliveries AS v ON v.root_id = d.root_id AND v.document_id = d.id
"""
)
_GET = _DOCUMENT + " WHERE d.id = $1"
_LIST = (
    _DOCUMENT
    + """
 WHERE ($1::uuid[] IS NULL OR d.recipient_id = ANY ($1) OR d.issuer_id = ANY ($1))
   AND ($2::text IS NULL OR d.type = $2)
   AND ($3::uuid IS NULL OR (d.source_id = $3 AND d.type = 'PURCHASE_RECEIPT'))
   AND ($4::uuid IS NULL OR (d.source_id = $4 AND d.type = 'TOP_UP_RECEIPT'))
   AND ($5::timestamptz IS NULL OR d.issued_at >= $5)
   AND ($6::timestamptz IS NULL OR d.issued_at < $6)
   AND ($7::timestamptz IS NULL OR (d.issued_at, d.id) < ($7, $8))
 ORDER BY d.issued_at DESC, d.id DESC LIMIT $9
"""
)


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """What a list is narrowed to; None is no bound. `before` is the place after which a page begins."""

    organization_id: UUID | None = None
    type: DocumentType | None = None
    order_id: UUID | None = None
    top_up_id: UUID | None = None
    issued_from: datetime | None = None
    issued_to: datetime | None = None
    before: tuple[datetime, UUID] | None = None


async def get_document(db: Db, document_id: UUID) -> Row | None:
    """A document with its delivery, or None where there is none in the connection's scope."""
    return await db.fetchrow(_GET, document_id)


async def list_documents(db: Db, wanted: DocumentFilter, limit: int) -> list[Row]:
    """Documents in the connection's scope with their deliveries, the newest first."""
    ids = await organizations_to_list(db, wanted.organization_id)
    issued_at, document_id = wanted.before or (None, None)
    return await db.fetch(
        _LIST,
        ids,
        wanted.type,
        wanted.order_id,
        wanted.top_up_id,
        wanted.issued_from,
        wanted.issued_to,
        issued_at,
        document_id,
        limit,
    )


# Verifying

_ROOTS = "SELECT root_id FROM manifest_heads UNION SELECT root_id FROM manifest ORDER BY root_id"
_LINES = """
SELECT root_id, sequence, document_id, object_key, object_version, sha256, size_bytes, previous_hash, hash
  FROM manifest WHERE root_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3
"""
_HEAD = "SELECT sequence, hash FROM manifest_heads WHERE root_id = $1"
# A document and its line must say the same, both ways.
_UNMATCHED = """
SELECT d.number, d.object_key FROM documents AS d
  FULL JOIN manifest AS m ON m.root_id = d.root_id AND m.document_id = d.id
 WHERE (d.state = 'ARCHIVED' OR m.root_id IS NOT NULL)
   AND (d.object_key, d.object_version, d.sha256, d.size_bytes)
       IS DISTINCT FROM (m.object_key, m.object_version, m.sha256, m.size_bytes)
"""
_GAPS = """
SELECT issuer_id, series, year, count(*) AS documents, max(sequence) AS last FROM documents
 GROUP BY issuer_id, series, year HAVING count(*) <> max(sequence) OR count(DISTINCT sequence) <> count(*)
"""
_COUNTS = """
SELECT count(*) AS documents, count(*) FILTER (WHERE state = 'ARCHIVED') AS archived,
       count(DISTINCT (issuer_id, series, year)) AS series FROM documents
"""


async def roots(db: Db) -> list[UUID]:
    """Every root with a manifest."""
    return [row["root_id"] for row in await db.fetch(_ROOTS)]


async def manifest_lines(db: Db, root_id: UUID, page: int = 1000) -> AsyncIterator[list[ManifestLine]]:
    """A root's whole manifest, in order, a page at a time."""
    last = 0
    while rows := await db.fetch(_LINES, root_id, last, page):
        last = rows[-1]["sequence"]
        yield [ManifestLine(**dict(row)) for row in rows]


async def head(db: Db, root_id: UUID) -> tuple[int, bytes]:
    """Sequence and hash of the last line as the head says; zero and genesis where there is none."""
    row = await db.fetchrow(_HEAD, root_id)
    return (row["sequence"], row["hash"]) if row else (0, GENESIS)


async def unmatched(db: Db) -> list[str]:
    """Documents that disagree with the manifest."""
    rows = await db.fetch(_UNMATCHED)
    return [f"{row['number'] or 'a line without a document'} ({row['object_key']})" for row in rows]


async def gaps(db: Db) -> list[str]:
    """Issuers and years whose numbers are not 1, 2, 3, ... without a gap."""
    return [
        f"issuer {row['issuer_id']}, {row['year']}: {row['documents']} documents, but the last is {row['last']}"
        for row in await db.fetch(_GAPS)
    ]


async def counts(db: Db) -> Row:
    """How many `documents`, how many `archived`, and in how many `series` of numbers."""
    (row,) = await db.fetch(_COUNTS)
    counted: Row = row
    return counted

"""The archive's half of invariant 3, and 15: the manifest's chain; every document locked, with its bytes."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from farthing_cli.environment import need
from farthing_cli.problems import Problem
from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings

_MANIFEST = """
SELECT root_id, sequence, document_id, object_key, object_version, sha256, size_bytes, previous_hash, hash
FROM manifest ORDER BY root_id, sequence
"""
_HEADS = """
SELECT h.root_id, h.sequence, h.hash = m.hash AS same, m.sequence AS last
FROM manifest_heads h FULL JOIN (SELECT DISTINCT ON (root_id) root_id, sequence, hash FROM manifest
                                 ORDER BY root_id, sequence DESC) m ON m.root_id = h.root_id
WHERE h.sequence IS DISTINCT FROM m.sequence OR h.hash IS DISTINCT FROM m.hash
"""
_UNMANIFESTED = """
SELECT coalesce(d.number, 'document ' || m.document_id) AS number, d.id IS NULL AS unarchived,
       m.document_id IS NULL AS missing
FROM (SELECT * FROM documents WHERE state = 'ARCHIVED') d
FULL JOIN manifest m ON m.root_id = d.root_id AND m.document_id = d.id
WHERE (d.object_key, d.object_version, d.sha256, d.size_bytes)
      IS DISTINCT FROM (m.object_key, m.object_version, m.sha256, m.size_bytes)
"""
_ARCHIVED = """
SELECT number, object_key, object_version, sha256, size_bytes, retained_until
FROM documents WHERE state = 'ARCHIVED' ORDER BY root_id, id
"""
_GAPS = """
SELECT d.issuer_id, d.series, d.year, count(*) AS count, min(d.sequence) AS first, max(d.sequence) AS last,
       max(c.last) AS counted, count(*) FILTER (WHERE position(d.year::text in d.number) = 0
           OR right(d.number, length(d.sequence::text)) <> d.sequence::text) AS misnamed
FROM documents d
LEFT JOIN counters c ON c.issuer_id = d.issuer_id AND c.series = d.series AND c.year = d.year
GROUP BY d.issuer_id, d.series, d.year
HAVING count(DISTINCT d.sequence) <> max(d.sequence) OR count(*) <> max(d.sequence) OR min(d.sequence) <> 1
    OR max(c.last) IS DISTINCT FROM max(d.sequence)
    OR count(*) FILTER (WHERE position(d.year::text in d.number) = 0
        OR right(d.number, length(d.sequence::text)) <> d.sequence::text) > 0
"""
READERS = 8
PIECE_BYTES = 64 * 1024
# Servers keep whole seconds.
_GRAIN = timedelta(seconds=1)


async def manifest_chains(evidence: Evidence, findings: Findings) -> None:
    """3, archive: each manifest line's hash follows from the line before and from what it says."""
    root_id, previous, sequence, broken = None, bytes(32), 0, False
    async for row in evidence.rows("documents", _MANIFEST):
        if row["root_id"] != root_id:
            root_id, previous, sequence, broken = row["root_id"], bytes(32), 0, False
            findings.count("archive chains")
        findings.count("manifest lines hashed")
        sequence += 1
        intact = row["sequence"] == sequence and row["previous_hash"] == previous and manifest_hash(row) == row["hash"]
        if not intact and not broken:
            findings.fault(f"manifest of {root_id}: line {row['sequence']} does not follow from the line before it")
        broken, previous = broken or not intact, row["hash"]
    async for row in evidence.rows("documents", _HEADS):
        findings.fault(f"manifest of {row['root_id']}: ends at {row['last']}, its head says {row['sequence']}")


def manifest_hash(row: Any) -> bytes:
    """Version 1 of the manifest's encoding, as the README of documents tells."""
    fields = (
        "farthing manifest 1",
        str(row["root_id"]),
        str(row["sequence"]),
        str(row["document_id"]),
        row["object_key"],
        row["object_version"],
        row["sha256"].hex(),
        str(row["size_bytes"]),
        row["previous_hash"].hex(),
    )
    return hashlib.sha256("\n".join(fields).encode()).digest()


async def locked_with_their_hash(evidence: Evidence, findings: Findings) -> None:
    """15: manifest = archived documents; each object version is there, has the hash, and is locked; no number lacks."""
    async for row in evidence.rows("documents", _UNMANIFESTED):
        why = "is not archived" if row["unarchived"] else "is not in the manifest" if row["missing"] else "differs"
        findings.fault(f"{row['number']}: {why} (documents and manifest must say the same)")
    async for row in evidence.rows("documents", _GAPS):
        findings.fault(
            f"issuer {row['issuer_id']} {row['series']}-{row['year']}: {row['count']} numbers from {row['first']} to "
            f"{row['last']}, counter at {row['counted']}, {row['misnamed']} misnamed: they must be 1, 2, 3 .."
        )
    store = Store(evidence.environment)
    waiting: set[asyncio.Task[tuple[int, list[str]]]] = set()
    async for row in evidence.rows("documents", _ARCHIVED):
        if len(waiting) >= READERS:
            waiting = await _collect(waiting, findings, asyncio.FIRST_COMPLETED)
        waiting.add(asyncio.create_task(asyncio.to_thread(store.faults, row, evidence.now)))
    await _collect(waiting, findings, asyncio.ALL_COMPLETED)


async def _collect(
    tasks: set[asyncio.Task[tuple[int, list[str]]]], findings: Findings, when: str
) -> set[asyncio.Task[tuple[int, list[str]]]]:
    if not tasks:
        return tasks
    done, waiting = await asyncio.wait(tasks, return_when=when)
    for task in done:
        size_bytes, faults = task.result()
        findings.count("locked objects")
        findings.count("bytes hashed", size_bytes)
        for fault in faults:
            findings.fault(fault)
    return waiting


class Store:
    """The object store, read as anybody with its keys would."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._url = need(environment, "S3_ENDPOINT", "where the object store listens")
        self._bucket = need(environment, "S3_BUCKET", "the archive's bucket")
        address = urlsplit(self._url)
        self._client = Minio(
            endpoint=address.netloc,
            access_key=need(environment, "S3_ACCESS_KEY", "who we are at the object store"),
            secret_key=need(environment, "S3_SECRET_KEY", "our secret at the object store"),
            region=environment.get("S3_REGION") or "us-east-1",
            secure=address.scheme == "https",
            http_client=urllib3.PoolManager(
                maxsize=READERS, retries=urllib3.Retry(2), timeout=urllib3.Timeout(connect=3, read=20)
            ),
        )

    def faults(self, row: Any, now: datetime) -> tuple[int, list[str]]:
        """How many bytes were read, and what is wrong with the object of an archived document."""
        name = f"{row['number']} ({row['object_key']} version {row['object_version']})"
        try:
            size_bytes, sha256 = self._read(row["object_key"], row["object_version"])
            until = self.locked_until(row["object_key"], row["object_version"])
        except S3Error as error:
            return 0, [f"{name} cannot be read: {error.code}"]
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Problem(f"the object store at {self._url} does not answer: {error}") from error
        faults = []
        if (size_bytes, sha256) != (row["size_bytes"], row["sha256"]):
            faults.append(f"{name} has SHA-256 {sha256.hex()}, not {row['sha256'].hex()} as archived")
        if until is None:
            faults.append(f"{name} is not under COMPLIANCE retention")
        elif until <= now or until + _GRAIN < row["retained_until"]:
            faults.append(f"{name} is locked until {until:%Y-%m-%d}, not until {row['retained_until']:%Y-%m-%d}")
        return size_bytes, faults

    def _read(self, key: str, version: str) -> tuple[int, bytes]:
        response = self._client.get_object(bucket_name=self._bucket, object_name=key, version_id=version)
        try:
            digest, size_bytes = hashlib.sha256(), 0
            for piece in response.stream(PIECE_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
        finally:
            response.close()
            response.release_conn()
        return size_bytes, digest.digest()

    def locked_until(self, key: str, version: str) -> datetime | None:
        """The end of the COMPLIANCE lock of a version, None where it has none."""
        try:
            # Some servers leave the lock out of HEAD for versions that are not the newest.
            retention = self._client.get_object_retention(bucket_name=self._bucket, object_name=key, version_id=version)
        except ValueError:
            # Ceph writes nanoseconds, which the SDK cannot read; its HEAD has the lock.
            head = self._client.stat_object(bucket_name=self._bucket, object_name=key, version_id=version)
            found = head.metadata or {}
            if found.get("x-amz-object-lock-mode") != "COMPLIANCE":
                return None
            return datetime.fromisoformat(found["x-amz-object-lock-retain-until-date"][:19]).replace(tzinfo=UTC)
        if retention is None or retention.mode != "COMPLIANCE":
            return None
        until: datetime = retention.retain_until_date
        return until if until.tzinfo else until.replace(tzinfo=UTC)

"""Proves that the archive is whole: every document, its manifest line, its object, its lock (design 8: 3, 15)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from servicekit.database import Database, driver
from servicekit.scope import EVERYTHING

from documents.archive import ArchiveRefused
from documents.clients import ArchiveClient
from documents.domain import GENESIS, ManifestLine
from documents.store import receipts

OBJECTS_AT_ONCE = 8
FAULTS_SHOWN = 20


@dataclass
class Finding:
    """One invariant: what was compared, and each way in which it does not hold (the first twenty)."""

    name: str
    compared: str = ""
    fault_count: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.fault_count == 0

    def add(self, *faults: str) -> None:
        """Notes what does not hold."""
        self.fault_count += len(faults)
        self.faults.extend(faults[: max(0, FAULTS_SHOWN - len(self.faults))])


async def verify(database: Database, archive: ArchiveClient, now: datetime) -> list[Finding]:
    """Every check, over everything. Raises ArchiveDown where the object store does not answer."""
    chain = Finding("the manifest's chain of hashes is intact")
    match = Finding("every archived document has its manifest line, and says the same")
    numbers = Finding("numbers are gapless by issuer and year")
    objects = Finding("every manifest line has its object, by version, with its hash")
    locks = Finding("every object is locked in COMPLIANCE mode beyond now")
    lines = 0
    async with database.transaction(EVERYTHING) as connection:
        db = await driver(connection)
        match.add(*await receipts.unmatched(db))
        numbers.add(*await receipts.gaps(db))
        counts = await receipts.counts(db)
        roots = await receipts.roots(db)
    for root_id in roots:
        previous: ManifestLine | None = None
        async with database.transaction(EVERYTHING) as connection:
            db = await driver(connection)
            sequence, last_hash = await receipts.head(db, root_id)
            pages = [page async for page in receipts.manifest_lines(db, root_id)]
        for page in pages:
            for line in page:
                if fault := line.fault(previous):
                    chain.add(f"root {root_id}: {fault}")
                previous = line
            lines += len(page)
            await _objects(archive, page, objects, locks, now)
        end = (previous.sequence, previous.hash) if previous else (0, GENESIS)
        if end != (sequence, last_hash):
            chain.add(f"root {root_id}: the chain ends at line {end[0]}, its head says {sequence}")
    chain.compared = f"{lines} lines of {len(roots)} roots, each recomputed from the one before"
    match.compared = f"{counts['archived']} archived of {counts['documents']} documents with {lines} lines"
    numbers.compared = f"{counts['documents']} documents in {counts['series']} series"
    objects.compared = f"{lines} objects, each read and hashed"
    locks.compared = f"{lines} retention dates with {now.isoformat(timespec='seconds')}"
    return [chain, match, numbers, objects, locks]


async def _objects(
    archive: ArchiveClient, lines: Sequence[ManifestLine], objects: Finding, locks: Finding, now: datetime
) -> None:
    slots = asyncio.Semaphore(OBJECTS_AT_ONCE)

    async def look(line: ManifestLine) -> None:
        async with slots:
            place = f"{line.object_key} (version {line.object_version})"
            try:
                found = await archive.sha256_of(line.object_key, line.object_version)
                if found != line.sha256:
                    objects.add(f"{place} has SHA-256 {found.hex()}, its line says {line.sha256.hex()}")
                until = await archive.retained_until(line.object_key, line.object_version)
            except ArchiveRefused as refusal:
                objects.add(f"{place}: {refusal}")
                return
            if until is None:
                locks.add(f"{place} is not locked")
            elif until <= now:
                locks.add(f"{place} was locked until {until.isoformat()}")

    await asyncio.gather(*(look(line) for line in lines))

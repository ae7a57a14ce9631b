"""The verifier finds what somebody changed behind its back; the probe finds a store whose locks do not hold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from documents.archive import Archive
from documents.audit import verify
from documents.clients import ArchiveClient, ArchiveUnfit
from documents.probe import probe


async def as_owner(stack, *statements: tuple) -> None:
    """Somebody with the database owner's password, who first takes the triggers away."""
    connection = await asyncpg.connect(stack.env()["DOCUMENTS_OWNER_DATABASE_URL"])
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL farthing.scope = 'all'")
            await connection.execute("ALTER TABLE manifest DISABLE TRIGGER USER")
            for statement, *values in statements:
                await connection.execute(statement, *values)
            await connection.execute("ALTER TABLE manifest ENABLE TRIGGER USER")
    finally:
        await connection.close()


async def failed(world, workers, now: datetime | None = None) -> dict[str, list[str]]:
    findings = await verify(world.database, workers.archive, now or datetime.now(UTC))
    assert all(finding.compared for finding in findings)
    return {finding.name: finding.faults for finding in findings if not finding.ok}


async def test_verify_holds_and_finds_a_changed_line(world, workers, stack) -> None:
    """Given an archive that holds, when the owner changes a manifest line, then verify names it; put back, it holds."""
    for _ in range(3):
        await world.hear(world.order())
    await workers.settle()
    assert await failed(world, workers) == {}

    root = UUID(world.partner.root_id)
    change = "UPDATE manifest SET size_bytes = size_bytes + $3 WHERE root_id = $1 AND sequence = $2"
    await as_owner(stack, (change, root, 2, 1))
    try:
        faults = await failed(world, workers)
        assert "line 2 was changed" in faults["the manifest's chain of hashes is intact"][0]
        assert faults["every archived document has its manifest line, and says the same"]
    finally:
        await as_owner(stack, (change, root, 2, -1))
    assert await failed(world, workers) == {}


async def test_verify_finds_a_cut_chain(world, workers, stack) -> None:
    """Given a chain that ends before its head, as if its last line were gone, when verified, then that is said."""
    await world.hear(world.order())
    await world.hear(world.order())
    await workers.settle()
    root = UUID(world.partner.root_id)
    await as_owner(stack, ("UPDATE manifest_heads SET sequence = sequence + 1 WHERE root_id = $1", root))
    try:
        faults = await failed(world, workers)
        assert "the chain ends at line 2, its head says 3" in faults["the manifest's chain of hashes is intact"][0]
    finally:
        await as_owner(stack, ("UPDATE manifest_heads SET sequence = sequence - 1 WHERE root_id = $1", root))


async def test_verify_sees_a_lock_that_is_over(world, workers) -> None:
    """Given locks of ten years, when verify looks in eleven, then it says they are over."""
    await world.hear(world.order())
    await workers.settle()
    faults = await failed(world, workers, datetime.now(UTC) + timedelta(days=366 * 11))
    assert faults["every object is locked in COMPLIANCE mode beyond now"]


async def test_the_probe_passes_the_local_store(workers) -> None:
    """Given a store with working object lock, when it is probed, then every check passes and says what it found."""
    checks = probe(workers.archive.archive.endpoint, datetime.now(UTC))
    assert [check.name for check in checks if not check.ok] == []
    assert len(checks) == 13
    assert all(check.found for check in checks)


async def test_a_store_without_locks_is_refused(workers) -> None:
    """Given a bucket without object lock, when it is probed, then it is refused by name and the gate stays shut."""
    endpoint = replace(workers.archive.archive.endpoint, bucket="without-locks")
    client = endpoint.client()
    if not client.bucket_exists(bucket_name=endpoint.bucket):
        client.make_bucket(bucket_name=endpoint.bucket)
    gate = ArchiveClient(Archive(endpoint))
    with pytest.raises(ArchiveUnfit, match="locked put is accepted"):
        await gate.open_gate(datetime.now(UTC))
    assert not gate.ready.is_set()
    gate.close()

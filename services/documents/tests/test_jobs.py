"""Archiving and mailing on the real S3 and SMTP: once, under lock, through outages and crashes."""

import asyncio
import hashlib
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pypdf
import pytest
from documents import jobs as jobs_module
from documents.archive import ArchiveDown, ArchiveRefused, years
from documents.commands import record_archived
from documents.jobs import Keeper
from minio.error import S3Error
from servicekit.clock import FixedClock
from servicekit.scope import EVERYTHING
from servicekit.testing import eventually
from sqlalchemy import text


async def query(world, statement: str, **values):
    async with world.database.transaction(EVERYTHING) as connection:
        return (await connection.execute(text(statement), values)).mappings().all()


async def document_of(world, source_id: str):
    (row,) = await query(
        world,
        "SELECT d.*, v.state AS delivery_state, v.recipients, v.message_id, v.last_error AS delivery_error,"
        " v.attempts AS delivery_attempts, v.accepted, v.refused"
        " FROM documents d LEFT JOIN deliveries v ON v.root_id = d.root_id AND v.document_id = d.id"
        " WHERE d.source_id = :id",
        id=UUID(source_id),
    )
    return row


async def issued(world, event):
    """The event arrives; the id of its order or top-up."""
    await world.hear(event)
    if event.WhichOneof("event") == "order_completed":
        return event.order_completed.order.id
    return event.top_up_settled.top_up.id


def versions(workers, key: str) -> list[str]:
    archive = workers.archive.archive
    found = archive.endpoint.client().list_objects(
        bucket_name=archive.endpoint.bucket, prefix=key, include_version=True
    )
    return [str(each.version_id) for each in found if each.object_name == key]


async def test_a_purchase_ends_in_the_archive_and_in_two_mailboxes(world, workers) -> None:
    """Given a purchase, when the jobs run, then its PDF is locked by version and hash, and one mail reaches both."""
    source_id = await issued(world, world.order())
    await workers.settle()
    document = await document_of(world, source_id)
    assert document["state"] == "ARCHIVED"
    assert document["object_key"] == f"{world.partner.domain}/2026/R-2026-000001.pdf"
    pdf = workers.archive.archive.read(document["object_key"], document["object_version"], document["sha256"])
    words = pypdf.PdfReader(io.BytesIO(pdf)).pages[0].extract_text()
    assert "R-2026-000001" in words
    assert "Partner & Söhne" in words
    until = workers.archive.archive.retained_until(document["object_key"], document["object_version"])
    assert until == document["retained_until"]
    assert until > datetime.now(UTC) + timedelta(days=3650)

    assert document["delivery_state"] == "SENT"
    (mail,) = workers.mails(document["message_id"])
    assert mail["To"] == f"ann@{world.customer.domain}"
    assert mail["Cc"] == f"boss@{world.customer.domain}"
    assert mail["X-RcptTo"] == f"ann@{world.customer.domain}, boss@{world.customer.domain}"
    assert mail["Reply-To"] == f"boss@{world.partner.domain}"
    (attachment,) = [part for part in mail.walk() if part.get_filename()]
    assert attachment.get_filename() == "R-2026-000001.pdf"
    assert hashlib.sha256(attachment.get_payload(decode=True)).digest() == document["sha256"]


async def test_a_top_up_gets_its_receipt(world, workers) -> None:
    """Given a settled top-up, when the jobs run, then a receipt over it is archived and mailed."""
    source_id = await issued(world, world.top_up())
    await workers.settle()
    document = await document_of(world, source_id)
    assert (document["type"], document["state"]) == ("TOP_UP_RECEIPT", "ARCHIVED")
    assert document["delivery_state"] == "SENT"


async def test_the_purchaser_who_is_the_boss_gets_one_mail(world, workers) -> None:
    """Given the boss buys, spelled in capitals, when the mail goes out, then it has one recipient."""
    source_id = await issued(world, world.order(payer=f"BOSS@{world.customer.domain}"))
    await workers.settle()
    document = await document_of(world, source_id)
    assert document["recipients"] == [f"BOSS@{world.customer.domain}"]
    (mail,) = workers.mails(document["message_id"])
    assert mail["Cc"] is None


async def test_nobody_to_mail(world, workers) -> None:
    """Given neither purchaser nor boss has a mailbox, when it is archived, then its delivery says why it failed."""
    lonely = await world.organization("Lonely", world.partner, boss="")
    event = world.order(lonely, payer="nobody")
    source_id = await issued(world, event)
    await workers.settle()
    document = await document_of(world, source_id)
    assert (document["state"], document["delivery_state"]) == ("ARCHIVED", "FAILED")
    assert "mailbox" in document["delivery_error"]


async def test_refused_and_deferring_mailboxes(world, workers) -> None:
    """Given a boss whose mailbox is refused, or busy, when mailed, then only the busy one is tried again."""
    refused = await world.organization("Refused", world.partner, boss="refused@there.example")
    deferring = await world.organization("Deferring", world.partner, boss="deferring@there.example")
    both = await world.organization("Both", world.partner, boss="refused.too@there.example")
    first = await issued(world, world.order(refused))
    second = await issued(world, world.order(deferring))
    third = await issued(world, world.order(both, payer="refused@there.example"))
    await workers.settle()

    one = await document_of(world, first)
    assert one["delivery_state"] == "SENT"
    assert one["delivery_error"].startswith("refused@there.example refused: 550")
    assert len(workers.mails(one["message_id"])) == 1

    two = await document_of(world, second)
    assert two["delivery_state"] == "DEFERRED"
    assert two["accepted"] == [f"ann@{deferring.domain}"]
    assert "451" in two["delivery_error"]
    await asyncio.sleep(1.1)
    await workers.settle()
    again = await document_of(world, second)
    assert again["delivery_attempts"] == 2
    (mail,) = workers.mails(again["message_id"])
    assert mail["X-RcptTo"] == f"ann@{deferring.domain}"

    three = await document_of(world, third)
    assert three["delivery_state"] == "FAILED"
    assert three["refused"] == ["refused@there.example", "refused.too@there.example"]


async def test_smtp_down_and_back(world, workers, stack) -> None:
    """Given the mail server is down, when a receipt is archived, then its mail goes out once it is back."""
    stack.kill("smtp")
    try:
        source_id = await issued(world, world.order())
        await workers.settle()
        document = await document_of(world, source_id)
        assert (document["state"], document["delivery_state"]) == ("ARCHIVED", "DEFERRED")
        assert "mail server" in document["delivery_error"]
    finally:
        stack.start("smtp")

    async def sent() -> bool:
        await workers.settle()
        return (await document_of(world, source_id))["delivery_state"] == "SENT"

    await eventually(sent, timeout_s=20)
    assert len(workers.mails(document["message_id"])) == 1


async def test_s3_down_and_back(world, workers, stack) -> None:
    """Given the object store is down, when a receipt is issued, then it waits, and is archived in one version after."""
    stack.kill("s3")
    try:
        source_id = await issued(world, world.order())
        await workers.settle()
        document = await document_of(world, source_id)
        assert document["state"] == "ISSUED"
        assert "object store" in document["last_error"]
    finally:
        stack.start("s3")

    async def archived() -> bool:
        await workers.settle()
        return (await document_of(world, source_id))["state"] == "ARCHIVED"

    await eventually(archived, timeout_s=20)
    assert len(versions(workers, document["object_key"])) == 1


async def test_crash_between_put_and_commit_leaves_one_version(world, workers, monkeypatch) -> None:
    """Given a worker dies after its put, when another takes over, then there is still one version."""

    async def die(*_: object) -> int:
        raise ConnectionError("died before the commit")

    source_id = await issued(world, world.order())
    monkeypatch.setattr(jobs_module, "record_archived", die)
    with pytest.raises(ConnectionError):
        await workers.archiver.run()
    before = await document_of(world, source_id)
    assert before["state"] == "ISSUED"
    (version,) = versions(workers, before["object_key"])

    monkeypatch.setattr(jobs_module, "record_archived", record_archived)

    async def archived() -> bool:
        await workers.settle()
        return (await document_of(world, source_id))["state"] == "ARCHIVED"

    await eventually(archived, timeout_s=15, every_s=0.3)
    after = await document_of(world, source_id)
    assert after["object_version"] == version
    assert versions(workers, after["object_key"]) == [version]
    assert after["delivery_state"] == "SENT"


async def test_two_workers_archive_once(world, workers) -> None:
    """Given many receipts and several lanes at once, when they run, then each document has one line and one version."""
    for _ in range(20):
        await world.hear(world.order())
    await asyncio.gather(*(workers.settle() for _ in range(3)))
    found = await query(
        world,
        "SELECT d.object_key, count(m.*) AS lines FROM documents d"
        " LEFT JOIN manifest m ON m.root_id = d.root_id AND m.document_id = d.id"
        " WHERE d.issuer_id = :issuer GROUP BY 1",
        issuer=UUID(world.partner.id),
    )
    assert [row["lines"] for row in found] == [1] * 20
    assert all(len(versions(workers, row["object_key"])) == 1 for row in found)


async def test_a_locked_version_cannot_be_deleted(world, workers) -> None:
    """Given an archived document, when its version is deleted or its lock shortened, then the store refuses."""
    source_id = await issued(world, world.order())
    await workers.settle()
    document = await document_of(world, source_id)
    archive = workers.archive.archive
    key, version = document["object_key"], document["object_version"]
    with pytest.raises(S3Error) as refused:
        archive.endpoint.client().remove_object(
            bucket_name=archive.endpoint.bucket, object_name=key, version_id=version
        )
    assert refused.value.code == "AccessDenied"
    with pytest.raises(ArchiveRefused):
        archive.retain(key, version, datetime.now(UTC) + timedelta(days=1))
    assert archive.sha256_of(key, version) == document["sha256"]


async def test_locks_are_extended(world, workers, settings) -> None:
    """Given a lock with less than the threshold left, when the keeper runs, then store and row have it for longer."""
    source_id = await issued(world, world.order())
    await workers.settle()
    before = await document_of(world, source_id)
    later = FixedClock(datetime.now(UTC) + years(6))
    keeper = Keeper(workers.pool, workers.archive, settings=settings, clock=later)
    while await keeper.run():
        pass
    after = await document_of(world, source_id)
    assert after["retained_until"] > before["retained_until"] + years(5.9)
    there = workers.archive.archive.retained_until(after["object_key"], after["object_version"])
    assert there == after["retained_until"]


async def test_a_worker_process_that_dies_is_replaced(world, workers, renderer) -> None:
    """Given the drawing worker is killed, when the next receipt comes, then it is drawn by a new one."""
    for process in list(renderer._pool._processes.values()):
        process.kill()
    source_id = await issued(world, world.order())
    await workers.settle()
    assert (await document_of(world, source_id))["state"] == "ARCHIVED"


async def test_an_unreachable_store_is_down_not_refused(stack, workers) -> None:
    """Given the object store is down, when it is asked, then the error says it is down, so that jobs try again."""
    stack.kill("s3")
    try:
        with pytest.raises(ArchiveDown):
            workers.archive.archive.sha256_of("a.example/2026/none.pdf", "none")
    finally:
        stack.start("s3")

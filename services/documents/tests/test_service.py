"""The whole service as a process: events from Kafka, kill -9 at every named point, one receipt and one mail."""

import asyncio
import json
import mailbox
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from servicekit.ids import new_id
from servicekit.scope import EVERYTHING
from servicekit.testing import eventually
from sqlalchemy import text

FAULT_POINTS = (
    "documents.before_issue_commit",
    "documents.after_issue_commit",
    "documents.before_put",
    "documents.after_put",
    "documents.before_archive_commit",
    "documents.after_archive_commit",
    "documents.before_data",
    "documents.after_data",
    "documents.after_sent_commit",
)
NOTICE_FAULT_POINTS = (
    "documents.before_notice_commit",
    "documents.before_data",
    "documents.after_data",
    "documents.after_sent_commit",
)
# Short enough that what a killed service held is free again soon.
LEASE = {"LEASE_S": "2", "RENDER_PROCESSES": "1"}


async def publish(stack, topic: str, key: str, root_id: str, message, event_id: UUID) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.env()["KAFKA_BOOTSTRAP"])
    await producer.start()
    headers = [
        ("event_id", str(event_id).encode()),
        ("root_id", root_id.encode()),
        ("occurred_at", datetime.now(UTC).isoformat().encode()),
    ]
    try:
        await producer.send_and_wait(topic, message.SerializeToString(), key=key.encode(), headers=headers)
    finally:
        await producer.stop()


async def buy(stack, world) -> tuple[UUID, object]:
    """A purchase whose event is on the topic twice; the order's id."""
    event = world.order()
    order = event.order_completed.order
    event_id = new_id()
    for _ in range(2):
        await publish(stack, "farthing.orders.v1", order.organization_id, world.customer.root_id, event, event_id)
    return UUID(order.id), event


async def receipts(world, order_id: UUID) -> list:
    async with world.database.transaction(EVERYTHING) as connection:
        query = (
            "SELECT d.number, d.state, v.state AS delivery_state, v.message_id, v.recipients FROM documents d"
            " LEFT JOIN deliveries v ON v.root_id = d.root_id AND v.document_id = d.id WHERE d.source_id = :id"
        )
        return list((await connection.execute(text(query), {"id": order_id})).mappings())


@pytest.mark.parametrize("fault", FAULT_POINTS)
async def test_kill_9_leaves_one_receipt_and_one_mail(stack, world, fault: str) -> None:
    """Given documents dies at a named point, when it is started again, then there is one receipt and one kept mail."""
    stack.start("documents", FARTHING_FAULT=fault, **LEASE)
    try:
        order_id, _ = await buy(stack, world)
        await eventually(lambda: stack.pid("documents") is None, timeout_s=30)
        stack.start("documents", **LEASE)

        async def sent() -> bool:
            return [row["delivery_state"] for row in await receipts(world, order_id)] == ["SENT"]

        await eventually(sent, timeout_s=40, every_s=0.2)
        (receipt,) = await receipts(world, order_id)
        assert receipt["number"] == "R-2026-000001"
        kept = [
            mail
            for mail in mailbox.Maildir(Path(stack.env()["SMTP_MAILDIR"]), create=False)
            if mail["Message-ID"] == receipt["message_id"]
        ]
        assert len(kept) == 1
        assert kept[0]["X-RcptTo"] == ", ".join(receipt["recipients"])
        assert_verified(stack)
    finally:
        await asyncio.to_thread(stack.stop, "documents")


@pytest.mark.parametrize("fault", NOTICE_FAULT_POINTS)
async def test_kill_9_leaves_one_notice_and_one_mail_each(stack, world, fault: str) -> None:
    """Given documents dies at a named point of a notice, when it is started again, then each side has one notice and
    one kept mail."""
    event, event_id = world.told("order_payment_kept"), new_id()
    stack.start("documents", FARTHING_FAULT=fault, **LEASE)
    try:
        for _ in range(2):
            await publish(stack, "farthing.orders.v1", world.customer.id, world.customer.root_id, event, event_id)
        await eventually(lambda: stack.pid("documents") is None, timeout_s=30)
        stack.start("documents", **LEASE)

        async def told() -> list:
            query = (
                "SELECT n.audience, v.state, v.message_id, v.recipients FROM notices n JOIN deliveries v"
                " ON v.root_id = n.root_id AND v.notice_id = n.id WHERE n.event_id = :id ORDER BY 1"
            )
            async with world.database.transaction(EVERYTHING) as connection:
                return list((await connection.execute(text(query), {"id": event_id})).mappings())

        async def sent() -> bool:
            return [(row["audience"], row["state"]) for row in await told()] == [("BUYER", "SENT"), ("SELLER", "SENT")]

        await eventually(sent, timeout_s=40, every_s=0.2)
        box = list(mailbox.Maildir(Path(stack.env()["SMTP_MAILDIR"]), create=False))
        for row in await told():
            (mail,) = [mail for mail in box if mail["Message-ID"] == row["message_id"]]
            assert mail["X-RcptTo"] == ", ".join(row["recipients"])
    finally:
        await asyncio.to_thread(stack.stop, "documents")


def assert_verified(stack) -> None:
    """`documents archive verify --json` finds nothing wrong."""
    command = [str(Path(sys.executable).with_name("documents")), "archive", "verify", "--json"]
    done = subprocess.run(command, env=stack.service_env("documents"), capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"]) == (0, True), done.stdout
    assert len(answer["checks"]) == 5

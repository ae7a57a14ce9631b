"""Invariant 17: at rest nothing is left to do; and waiting for that rest."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from farthing_cli.environment import need
from farthing_cli.problems import Problem
from farthing_cli.verify.collect import TopicReader, Topics
from farthing_cli.verify.evidence import SERVICES, connect
from farthing_cli.verify.findings import Findings

POLL_S = 0.3
ADMIN_TIMEOUT_S = 10.0

# An order that waits for money from outside is nobody's work until the money is there.
_PENDING = (
    "(state = 'PENDING_PAYMENT' "
    "AND (payment_method = 'BALANCE' OR top_up_id IS NULL OR payment_received_at IS NOT NULL)) "
    "OR (state = 'CANCELED' AND payment_received_at IS NOT NULL AND payment_kept_at IS NULL) "
    "OR (state = 'CANCELED' AND payment_due_at IS NOT NULL AND refusal_reason IS NULL "
    "AND payment_received_at IS NULL AND top_up_ended_at IS NULL)"
)
# Work of each service, in the order in which it flows on: what is under way, and what of it is overdue.
_WORK = {
    "wallet": {
        # Where there is a checkout page, somebody else is at work, until it is to be closed.
        "top-ups due": (
            "SELECT count(*) FROM top_ups WHERE state = 1 AND due_at IS NOT NULL "
            "AND (checkout_url = '' OR cancel_reason <> '')",
            "SELECT count(*) FROM top_ups WHERE state = 1 AND due_at < farthing_now() - interval '1 minute'",
        ),
    },
    "orders": {
        "orders pending": (
            f"SELECT count(*) FROM orders WHERE {_PENDING}",  # noqa: S608 - our own words
            f"SELECT count(*) FROM orders WHERE (({_PENDING}) "  # noqa: S608 - our own words
            "AND greatest(created_at, payment_received_at, canceled_at) < farthing_now() - interval '1 minute') "
            "OR (state = 'PENDING_PAYMENT' AND payment_received_at IS NULL "
            "AND payment_due_at < farthing_now() - interval '1 minute')",
        ),
        "refunds pending": (
            "SELECT count(*) FROM refunds WHERE state = 'PENDING'",
            "SELECT count(*) FROM refunds WHERE state = 'PENDING' "
            "AND created_at < farthing_now() - interval '1 minute'",
        ),
    },
    "documents": {
        "documents to archive": (
            "SELECT count(*) FROM documents WHERE state = 'ISSUED'",
            "SELECT count(*) FROM documents WHERE state = 'ISSUED' "
            "AND created_at < farthing_now() - interval '1 minute'",
        ),
        "mails to send": (
            "SELECT count(*) FROM deliveries WHERE state IN ('QUEUED', 'DEFERRED')",
            "SELECT count(*) FROM deliveries WHERE state IN ('QUEUED', 'DEFERRED') "
            "AND next_attempt_at < farthing_now() - interval '1 minute'",
        ),
    },
}
_UNPUBLISHED = "SELECT count(*) FROM outbox WHERE published_at IS NULL"


class Watch:
    """Looks at what is under way, again and again. `left` and `overdue` are from the last look, by name."""

    def __init__(
        self,
        databases: Mapping[str, "asyncpg.Connection[Any]"],
        admin: AIOKafkaAdminClient,
        kafka: TopicReader,
        topics: Topics,
    ) -> None:
        self._databases, self._admin, self._kafka, self._topics = databases, admin, kafka, topics
        self.left: dict[str, int] = {}
        self.overdue: dict[str, int] = {}

    async def look(self) -> bool:
        """True where nothing is under way. In the order in which work flows, so that none slips by behind us."""
        self.left, self.overdue = {}, {}
        for service in ("wallet", "orders"):
            await self._work(service)
        for service in SERVICES:
            waiting = await self._databases[service].fetchval(_UNPUBLISHED)
            self.left[f"{service} unpublished"] = self.overdue[f"{service} unpublished"] = waiting
        for topic, services in self._topics.consumers.items():
            for service in services:
                lag = await self._lag(topic, service)
                self.left[f"{service} lag on {topic}"] = self.overdue[f"{service} lag on {topic}"] = lag
        await self._work("documents")
        return not any(self.left.values())

    async def _work(self, service: str) -> None:
        for what, (under_way, overdue) in _WORK[service].items():
            self.left[what] = await self._databases[service].fetchval(under_way)
            self.overdue[what] = await self._databases[service].fetchval(overdue)

    async def _lag(self, topic: str, service: str) -> int:
        ends = await self._kafka.ends([topic])
        committed = await asyncio.wait_for(
            self._admin.list_consumer_group_offsets(f"{service}.{topic}"), ADMIN_TIMEOUT_S
        )
        lag = 0
        for partition, end in ends.items():
            found = committed.get(partition)
            lag += end - (found.offset if found is not None and found.offset >= 0 else 0)
        return lag


@asynccontextmanager
async def watch(environment: Mapping[str, str], kafka: TopicReader, topics: Topics) -> AsyncIterator[Watch]:
    """A Watch with connections of its own: it must see what the snapshots do not."""
    databases = {}
    admin = AIOKafkaAdminClient(bootstrap_servers=need(environment, "KAFKA_BOOTSTRAP", "where Kafka listens"))
    try:
        await asyncio.wait_for(admin.start(), ADMIN_TIMEOUT_S)
        for service in SERVICES:
            databases[service] = await connect(environment, service)
            await databases[service].execute("SELECT set_config('farthing.scope', 'all', false)")
        yield Watch(databases, admin, kafka, topics)
    except (KafkaError, TimeoutError) as error:
        raise Problem(f"Kafka does not answer: {error or type(error).__name__}") from error
    finally:
        for connection in databases.values():
            await connection.close()
        await asyncio.wait({asyncio.ensure_future(admin.close())}, timeout=5)


async def settle(found: Watch, wait_s: float, progress: Callable[[str], None]) -> float:
    """Waits until nothing is under way, at most `wait_s`; returns how long that took. `found` has the last look."""
    started_s = time.monotonic()
    while not await found.look():
        waited_s = time.monotonic() - started_s
        if waited_s >= wait_s:
            break
        left = ", ".join(f"{number} {what}" for what, number in found.left.items() if number)
        progress(f"waiting for rest, {wait_s - waited_s:.0f} s at most: {left}")
        await asyncio.sleep(POLL_S)
    return time.monotonic() - started_s


def nothing_left(found: Watch, findings: Findings) -> None:
    """17: outboxes empty, no consumer behind, nothing overdue."""
    findings.count("outboxes and consumers", sum(1 for what in found.overdue if "lag" in what or "unpublished" in what))
    for what, number in found.overdue.items():
        findings.expect(number == 0, f"{number} {what}")
    for what in ("orders pending", "refunds pending", "documents to archive", "mails to send"):
        findings.count(what, found.left[what])

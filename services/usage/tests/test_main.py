"""Given the service `usage` as a process of its own, then it stands, and listens."""

import asyncio
import urllib.request
from typing import Any

import grpc
from directory.consumer import TOPIC
from grpc_health.v1 import health_pb2, health_pb2_grpc
from local_stack.stack import Stack
from usage.main import wire


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as reply:
        return str(reply.read().decode())


async def test_it_starts_and_says_so(stack: Stack) -> None:
    """Given an empty database, When it is migrated, twice, and started, Then health is SERVING and metrics answer."""
    stack.migrate("usage")
    stack.migrate("usage")
    stack.start("usage")
    env = stack.env()

    async with grpc.aio.insecure_channel(env["USAGE_GRPC"]) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    text = await asyncio.to_thread(read, env["USAGE_METRICS"])

    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    assert "farthing_outbox_unpublished" in text


async def test_it_hears_of_organizations() -> None:
    """Given its wiring, When it is built, Then it copies the organization tree and serves no RPC of its own yet."""

    class Runtime:
        database: Any = None

    wiring = await wire(Runtime())  # type: ignore[arg-type]

    (consumer,) = wiring.consumers
    assert (consumer.name, consumer.topic) == ("usage.organizations", TOPIC)
    assert list(wiring.servicers) == []

"""Given a whole service as a process of its own, then it starts, drains, fails and traces as it should."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from local_stack import ports
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from servicekit.consumers import Consumer
from servicekit.service import check_consumers
from servicekit.testing import eventually

SCRIPT = Path(__file__).with_name("kit_service.py")


class Process:
    """The service `kit`, running."""

    def __init__(self, process: "asyncio.subprocess.Process", settings: Any, house: Any) -> None:
        self.process, self.settings, self.house = process, settings, house
        self.channel = grpc.aio.insecure_channel(settings.grpc_bind)
        self.orders = orders_pb2_grpc.OrderServiceStub(self.channel)
        self.lines: list[dict[str, Any]] = []

    async def healthy(self) -> bool:
        stub = health_pb2_grpc.HealthStub(self.channel)
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.aio.AioRpcError:
            assert self.process.returncode is None, "the service ended"
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def place(self, request_id: str, *more: tuple[str, str]) -> orders_pb2.Order:
        item = orders_pb2.NewOrderItem(sku_id="019ab000-0000-7000-8000-000000000001", quantity=1)
        request = orders_pb2.PlaceOrderRequest(request_id=request_id, items=[item])
        return await self.orders.PlaceOrder(request, metadata=[*self.house.metadata(), *more], timeout=10)

    def get(self, seconds: float) -> Any:
        request = orders_pb2.GetOrderRequest(id=str(seconds))
        return self.orders.GetOrder(request, metadata=self.house.metadata(), timeout=20)

    async def read_log(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))


@pytest.fixture
async def start(base: Any, kafka: Any, house: Any, running: Any) -> AsyncIterator[Any]:
    """Starts a `kit` process; `extra` goes to its environment."""
    started: list[Process] = []

    async def start_one(**extra: str) -> Process:
        settings = house.settings()
        environment = {
            "PATH": os.environ["PATH"],
            "FARTHING_ENV": "development",
            "DATABASE_URL": base.app_url,
            "GRPC_BIND": settings.grpc_bind,
            "INTERNAL_GRPC_BIND": settings.internal_grpc_bind,
            "KAFKA_BOOTSTRAP": kafka.bootstrap,
            "JWT_ISSUER": settings.jwt_issuer,
            "JWT_AUDIENCE": settings.jwt_audience,
            "JWT_JWKS_FILE": str(settings.jwt_jwks_file),
            "TLS_CA_FILE": str(settings.tls_ca_file),
            "TLS_CERT_FILE": str(settings.tls_cert_file),
            "TLS_KEY_FILE": str(settings.tls_key_file),
            "KIT_TOPIC": kafka.topic,
            **extra,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), "serve", env=environment, stdout=asyncio.subprocess.PIPE
        )
        made = Process(process, settings, house)
        running.start(made.read_log())
        started.append(made)
        return made

    yield start_one
    for one in started:
        await one.channel.close()
        if one.process.returncode is None:
            one.process.kill()
        await one.process.wait()


async def test_a_call_under_way_ends_well_when_the_service_is_told_to_stop(start: Any) -> None:
    """Given a call of two seconds under way, When SIGTERM comes, Then it is answered, new ones are not, exit code 0."""
    service = await start()
    await eventually(service.healthy, 20)
    under_way = service.get(2)
    await asyncio.sleep(0.5)

    service.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with grpc.aio.insecure_channel(service.settings.grpc_bind) as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)

    assert refused.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert (await under_way).number == "2"
    assert await asyncio.wait_for(service.process.wait(), 15) == 0
    assert [line["event"] for line in service.lines if line["event"] in {"serving", "stopped"}] == [
        "serving",
        "stopped",
    ]


async def test_a_service_whose_part_ends_by_itself_fails_loudly(start: Any) -> None:
    """Given a service one of whose jobs ends, When it runs, Then it exits with an error for its keeper to see."""
    service = await start(KIT_JOB="broken")

    assert await asyncio.wait_for(service.process.wait(), 20) == 1


async def test_metrics_are_served(start: Any) -> None:
    """Given a service that served a call, When its metrics are read, Then the call is counted by method and code."""
    (port,) = ports.choose(1)
    service = await start(METRICS_BIND=f"127.0.0.1:{port}")
    await eventually(service.healthy, 20)
    await service.get(0)

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            return str(reply.read().decode())

    lines = (await asyncio.to_thread(read)).splitlines()
    counted = 'farthing_grpc_server_seconds_count{code="OK",method="/farthing.orders.v1.OrderService/GetOrder"} 1.0'
    assert counted in lines


async def test_a_trace_id_passes_through_without_a_collector(start: Any, base: Any, kafka: Any) -> None:
    """Given no collector, When a call comes with a traceparent, Then outbox, Kafka and consumer pass it on."""
    service = await start()
    await eventually(service.healthy, 20)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    await service.place("r-1", ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"))
    await eventually(base.effects, 20)

    (record,) = await kafka.read(kafka.topic, 1)
    assert dict(record.headers)["traceparent"].decode()[3:35] == trace_id
    assert (await base.effects())[0][3:35] == trace_id


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector: keeps the spans it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_one_trace_spans_grpc_sql_and_kafka(start: Any, base: Any, kafka: Any) -> None:
    """Given a collector, When an order is placed and heard of, Then one trace holds the call, its SQL, and the consumer
    with its SQL; and the relay's polling fills no traces."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    service = await start(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    await eventually(service.healthy, 20)

    await service.place("r-1")
    await eventually(base.effects, 20)
    service.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(service.process.wait(), 20) == 0
    await server.stop(1)

    call = next(span for span in collector.spans if span.name == "/farthing.orders.v1.OrderService/PlaceOrder")
    of_trace = [span for span in collector.spans if span.trace_id == call.trace_id]
    consumed = next(span for span in of_trace if span.name == f"consume {kafka.topic}")
    assert consumed.parent_span_id == call.span_id
    statements = {
        parent.name: [span.name for span in of_trace if span.parent_span_id == parent.span_id and span is not consumed]
        for parent in (call, consumed)
    }
    assert len(statements[call.name]) >= 3
    assert len(statements[consumed.name]) >= 2
    assert (await base.effects())[0][3:35] == call.trace_id.hex()
    assert len(collector.spans) < 60


@pytest.mark.parametrize(
    ("missing", "says"),
    [("GRPC_BIND", "GRPC_BIND"), ("JWT_ISSUER", "JWT_ISSUER"), ("TLS_KEY_FILE", "TLS_KEY_FILE")],
)
async def test_a_service_that_lacks_a_variable_says_which(house: Any, missing: str, says: str) -> None:
    """Given an environment without a variable, When the service starts, Then it names it and tells no secret."""
    settings = house.settings()
    environment = {
        "PATH": os.environ["PATH"],
        "FARTHING_ENV": "development",
        "DATABASE_URL": "postgresql://kit:hunter2@127.0.0.1:1/kit",
        "GRPC_BIND": settings.grpc_bind,
        "INTERNAL_GRPC_BIND": settings.internal_grpc_bind,
        "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "JWT_ISSUER": "x",
        "JWT_AUDIENCE": "x",
        "JWT_JWKS_FILE": str(settings.jwt_jwks_file),
        "TLS_CA_FILE": str(settings.tls_ca_file),
        "TLS_CERT_FILE": str(settings.tls_cert_file),
        "TLS_KEY_FILE": str(settings.tls_key_file),
    }
    del environment[missing]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        "serve",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 1
    assert says in output.decode()
    assert "Traceback" not in output.decode()
    assert "hunter2" not in output.decode()


@pytest.mark.parametrize("second", [("kit.b", "topic"), ("kit.a", "another topic")], ids=["one topic", "one name"])
def test_two_consumers_that_would_share_their_events_stop_the_service(second: tuple[str, str]) -> None:
    """Given two consumers of one topic or one name, When they are wired, Then the service does not start."""

    async def handle(*_: Any) -> None:
        """Never called."""

    consumers = [Consumer(*names, orders_pb2.Order, handle) for names in (("kit.a", "topic"), second)]

    check_consumers(consumers[:1])
    with pytest.raises(ValueError, match="two consumers"):
        check_consumers(consumers)

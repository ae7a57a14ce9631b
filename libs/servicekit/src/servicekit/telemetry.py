"""Logs, traces and metrics: JSON lines with trace ids, W3C trace context (OTLP where an endpoint is set), Prometheus.

Without an endpoint no spans are made: a trace id is still passed on and logged, which costs next to nothing.
"""

import logging
import random
import re
import sys
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from prometheus_client import start_http_server

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_traceparent: ContextVar[str | None] = ContextVar("farthing_traceparent", default=None)
_tracer: trace.Tracer | None = None


def configure_logging(service: str, level: str) -> None:
    """JSON lines on standard output. Libraries' own logs come along; aiokafka's are thinned out in an outage."""

    def add_context(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"] = service
        traceparent = current_traceparent()
        if traceparent:
            event["trace_id"] = traceparent[3:35]
        return event

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    # On the handler: a logger's own filters do not see the records of the loggers below it.
    handler.addFilter(_RateLimit("aiokafka", per_s=1.0))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


class _RateLimit(logging.Filter):
    """Lets one record a period of `library` pass; an outage of Kafka logs a hundred lines a second otherwise."""

    def __init__(self, library: str, per_s: float) -> None:
        super().__init__()
        self._library = library
        self._period_s = 1.0 / per_s
        self._last_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != self._library:
            return True
        if record.created - self._last_s < self._period_s:
            return False
        self._last_s = record.created
        return True


def configure_tracing(service: str, endpoint: str | None, sample_ratio: float) -> None:
    """Sends spans of gRPC, SQL and Kafka to the OTLP `endpoint`; does nothing without one."""
    global _tracer  # noqa: PLW0603 - one tracer a process, as OpenTelemetry itself has it
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

    provider = TracerProvider(
        resource=Resource.create({"service.name": f"farthing-{service}"}),
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
    )
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://")))
    )
    trace.set_tracer_provider(provider)
    _tracer = trace.get_tracer("farthing")
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]


def flush_traces() -> None:
    """Sends what is left before the process ends."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


def serve_metrics(bind: str) -> None:
    """Prometheus metrics at `http://<bind>/metrics`, from a thread of their own."""
    host, _, port = bind.rpartition(":")
    start_http_server(int(port), addr=host)


def current_traceparent() -> str | None:
    """The trace context to hand on (W3C traceparent), or None outside of any work."""
    if _tracer is not None:
        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return _traceparent.get()


class _Passing:
    """Without spans: a trace id that is handed on and logged. A class, since a generator costs twice as much."""

    __slots__ = ("_parent", "_token")

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._token: Token[str | None] | None = None

    def __enter__(self) -> None:
        parent = self._parent
        if parent is None or not _TRACEPARENT.match(parent):
            # Ids that must be unique, not secret.
            parent = f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"
        self._token = _traceparent.set(parent)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _traceparent.reset(self._token)


def span(name: str, parent: str | None = None, kind: SpanKind = SpanKind.INTERNAL) -> AbstractContextManager[Any]:
    """Work that continues the trace `parent`, or begins one."""
    if _tracer is None:
        return _Passing(parent)
    return _tracer.start_as_current_span(name, context=_context_of(parent), kind=kind)


def _context_of(parent: str | None) -> Any:
    match = _TRACEPARENT.match(parent or "")
    if match is None:
        return None
    context = SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16))
    )
    return trace.set_span_in_context(NonRecordingSpan(context))

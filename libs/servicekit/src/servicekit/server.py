"""The gRPC server: one gate before every handler (who, may they, is the input sound), health, limits, drain."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import grpc
import grpc.aio
import protovalidate
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import SpanKind
from prometheus_client import Histogram

from servicekit.auth import AccessRule, TokenVerifier, access_rules, bearer, service_of
from servicekit.call import Call, Principal, serving
from servicekit.consumers import is_transient
from servicekit.database import sqlstate
from servicekit.ids import new_id
from servicekit.problems import Problem, invalid, unauthenticated, unavailable
from servicekit.scope import EVERYTHING, Scope
from servicekit.settings import Settings
from servicekit.telemetry import span

log = structlog.get_logger()

_SECONDS = Histogram(
    "farthing_grpc_server_seconds",
    "Time to serve a call",
    ["method", "code"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


@lru_cache(10_000)
def _seconds(method: str, code: str) -> Histogram:
    """The histogram's child; to find it among the labels each time costs more than to count."""
    return _SECONDS.labels(method, code)


OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")

# Of text, and of text within JSON.
_NOT_TEXT = ("22021", "22P05")
# Characters of a forwarded address that are kept.
ORIGIN_MAX = 200

Handler = Any
# Untyped on purpose: the types in grpc's stubs lack what the library has (`abort_with_status`).
Context = Any
ScopeOf = Callable[[UUID], Awaitable[Scope | None]]


@dataclass(frozen=True, slots=True)
class Servicer:
    """One gRPC service: protoc's `add_..._to_server`, our object, and its descriptor."""

    add: Callable[[Any, grpc.aio.Server], None]
    servicer: object
    descriptor: ServiceDescriptor


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Stands before every handler of ours. Health and reflection pass; they say nothing about anybody."""

    def __init__(
        self, rules: dict[str, AccessRule], tokens: TokenVerifier, scope_of: ScopeOf | None, deadline_s: float
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._scope_of = scope_of
        self._deadline_s = deadline_s
        self._handlers: dict[str, Handler] = {}
        self._validator = protovalidate.Validator()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        method = details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = await continuation(details)
        if handler is None or method.startswith(OPEN):
            return handler
        rule = self._rules.get(method)
        if rule is None:
            raise LookupError(f"{method} is served, but its service's descriptor was not given: nobody may call it")
        self._handlers[method] = self._guarded(handler, method, rule)
        return self._handlers[method]

    def _guarded(self, handler: Any, method: str, rule: AccessRule) -> Handler:
        serializers = (handler.request_deserializer, handler.response_serializer)
        if not handler.response_streaming:

            async def unary(request: Any, context: Context) -> Any:
                async def work(call: Call) -> Any:
                    with serving(call):
                        if handler.request_streaming:
                            return await handler.stream_unary(self._validated(request), context)
                        self._validate(request)
                        return await handler.unary_unary(request, context)

                return await self._serve(method, rule, context, work, request, bounded=not handler.request_streaming)

            if handler.request_streaming:
                return grpc.stream_unary_rpc_method_handler(unary, *serializers)
            return grpc.unary_unary_rpc_method_handler(unary, *serializers)

        async def stream(request: Any, context: Context) -> None:
            async def work(call: Call) -> None:
                if handler.request_streaming:
                    replies = handler.stream_stream(self._validated(request), context)
                else:
                    self._validate(request)
                    replies = handler.unary_stream(request, context)
                # A client that goes away ends the handler at once, and what it holds is given back.
                with serving(call):
                    async with aclosing(replies):
                        async for reply in replies:
                            await context.write(reply)

            await self._serve(method, rule, context, work, request, bounded=False)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, *serializers)
        return grpc.unary_stream_rpc_method_handler(stream, *serializers)

    async def _serve(
        self,
        method: str,
        rule: AccessRule,
        context: Context,
        work: Callable[[Call], Awaitable[Any]],
        request: Any,
        *,
        bounded: bool = True,
    ) -> Any:
        metadata = context.invocation_metadata() or ()
        parent = next((value for key, value in metadata if key == "traceparent"), None)
        started_s, code = time.perf_counter(), "OK"
        try:
            with span(method, parent if isinstance(parent, str) else None, SpanKind.SERVER):
                try:
                    async with asyncio.timeout(self._time_left_s(context) if bounded else None):
                        return await work(await self._admit(method, rule, context, metadata))
                except Exception as error:  # noqa: BLE001 - every error becomes an answer; none reaches a stack trace outside
                    problem = _problem(error, method, request)
                    code = problem.code.name
                    await context.abort_with_status(problem.status())
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        finally:
            _seconds(method, code).observe(time.perf_counter() - started_s)

    def _time_left_s(self, context: Context) -> float:
        left_s = context.time_remaining()
        return self._deadline_s if left_s is None else min(left_s, self._deadline_s)

    async def _admit(self, method: str, rule: AccessRule, context: Context, metadata: Any) -> Call:
        token = bearer(metadata)
        principal = self._tokens.principal(token) if token else service_of(context.auth_context() or {})
        if principal is None:
            raise unauthenticated("No token: send `authorization: Bearer <token>`.")
        rule.check(principal)
        return Call(principal, await self._scope(principal), method, _origin(context.peer(), metadata))

    async def _scope(self, principal: Principal) -> Scope:
        if principal.kind == "service":
            return EVERYTHING
        organization_id = principal.organization_id
        if organization_id is None or self._scope_of is None:
            raise unauthenticated("The token names no organization.")
        scope = await self._scope_of(organization_id)
        if scope is None:
            raise unavailable(
                "Your organization is not known here yet; if it is new, repeat in a moment.",
                reason="ORGANIZATION_NOT_YET_KNOWN",
            )
        return scope

    def _validate(self, request: Message) -> None:
        violations = self._validator.collect_violations(request)
        if violations:
            fields = {
                _path(violation.proto.field): violation.proto.message or "is not valid" for violation in violations
            }
            raise invalid("; ".join(f"{field}: {text}" for field, text in fields.items()), fields=fields)

    async def _validated(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            self._validate(request)
            yield request


def _origin(peer: str, metadata: Any) -> str:
    """The connection's address; behind a gateway also whom it names (anybody can send that header: both are kept)."""
    for key, value in metadata:
        if key == "x-forwarded-for" and isinstance(value, str):
            return f"{value[:ORIGIN_MAX]} via {_address(peer)}"
    return _address(peer)


@lru_cache(10_000)
def _address(peer: str) -> str:
    """The address in gRPC's name of a peer; a connection's calls, thousands a second, ask for the same one."""
    return unquote(peer).partition(":")[2].rpartition(":")[0] or peer


def _path(field: Any) -> str:
    parts = []
    for element in field.elements if field else ():
        subscript = element.subscript
        index = (
            f"[{subscript.value}]" if subscript is not None and getattr(subscript, "value", None) is not None else ""
        )
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts) or "request"


def _with_nul(message: Message, path: str) -> Iterator[str]:
    """The paths of texts with U+0000 in them. Keys of maps are not looked at."""
    for field, value in message.ListFields():
        entries = field.message_type is not None and field.message_type.GetOptions().map_entry
        several = list(value.values()) if entries else value if field.is_repeated else [value]
        for index, each in enumerate(several):
            where = f"{path}{field.name}" + (f"[{index}]" if field.is_repeated else "")
            if isinstance(each, str) and "\0" in each:
                yield where
            elif isinstance(each, Message):
                yield from _with_nul(each, f"{where}.")


def _problem(error: Exception, method: str, request: object) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, TimeoutError):
        return Problem(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEPENDENCY_UNAVAILABLE",
            "The time for this call ran out; with the same request id it is safe to repeat.",
        )
    if is_transient(error):
        log.warning("call failed for want of a dependency", method=method, error=repr(error))
        return unavailable(
            "The service cannot reach what it needs right now; repeat in a moment with the same request id."
        )
    if sqlstate(error) in _NOT_TEXT:
        fields = list(_with_nul(request, "")) if isinstance(request, Message) else []
        where = ", ".join(fields) or "A text"
        return invalid(
            f"{where} has the character U+0000 in it, which no text may have; remove it.",
            fields=dict.fromkeys(fields, "has the character U+0000 in it"),
        )
    fault_id = str(new_id())
    log.error("call failed", method=method, fault_id=fault_id, exc_info=error)
    return Problem(
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        f"A fault of ours; nothing was done by halves. Quote {fault_id} when you ask for help.",
        {"fault_id": fault_id},
    )


class Server:
    """A service's listeners: the public one for tokens, the internal one for certificates (mTLS)."""

    def __init__(self, settings: Settings, servicers: Sequence[Servicer], scope_of: ScopeOf | None) -> None:
        self._settings = settings
        tokens = TokenVerifier(settings.jwt_jwks_file, settings.jwt_issuer, settings.jwt_audience)
        rules = access_rules(servicer.descriptor for servicer in servicers)
        self._server = grpc.aio.server(
            interceptors=[Gate(rules, tokens, scope_of, settings.max_deadline_s)],
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                # Two processes on one port would share calls in silence.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
        )
        self._names = [servicer.descriptor.full_name for servicer in servicers]
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for servicer in servicers:
            servicer.add(servicer.servicer, self._server)
        if settings.development:
            names = [
                *self._names,
                health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
                reflection.SERVICE_NAME,
            ]
            reflection.enable_server_reflection(names, self._server)

    async def start(self) -> None:
        """Opens the listeners; health says SERVING from now on."""
        settings = self._settings
        if settings.public_tls_cert_file and settings.public_tls_key_file:
            pair = (settings.public_tls_key_file.read_bytes(), settings.public_tls_cert_file.read_bytes())
            self._server.add_secure_port(settings.grpc_bind, grpc.ssl_server_credentials([pair]))
        else:
            self._server.add_insecure_port(settings.grpc_bind)
        if settings.internal_grpc_bind and settings.tls_ca_file and settings.tls_cert_file and settings.tls_key_file:
            pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
            credentials = grpc.ssl_server_credentials(
                [pair], settings.tls_ca_file.read_bytes(), require_client_auth=True
            )
            self._server.add_secure_port(settings.internal_grpc_bind, credentials)
        await self._server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Says NOT_SERVING, lets calls under way finish within the grace time, then closes."""
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(self._settings.drain_s)

    async def _say(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        for name in ["", *self._names]:
            await self._health.set(name, status)

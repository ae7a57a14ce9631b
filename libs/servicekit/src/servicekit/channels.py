"""Calls to other services: mTLS, keepalive, trace context."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio

from servicekit.settings import Settings
from servicekit.telemetry import current_traceparent


def _with_trace(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    traceparent = current_traceparent()
    if traceparent is None:
        return details
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    metadata.add("traceparent", traceparent)
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


class _UnaryTrace(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_trace(details), request)


class _DownloadTrace(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_trace(details), request)


class _StreamTrace(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], details: grpc.aio.ClientCallDetails, requests: Any
    ) -> Any:
        return await continuation(_with_trace(details), requests)


def service_channel(settings: Settings, target: str) -> grpc.aio.Channel:
    """A channel to another service's internal listener at `target` (host:port), as this service.

    Raises ValueError where the settings lack this service's certificate. Give every call a `timeout`.
    """
    if not (settings.tls_ca_file and settings.tls_cert_file and settings.tls_key_file):
        raise ValueError("TLS_CA_FILE, TLS_CERT_FILE and TLS_KEY_FILE must be set to call other services")
    credentials = grpc.ssl_channel_credentials(
        root_certificates=settings.tls_ca_file.read_bytes(),
        private_key=settings.tls_key_file.read_bytes(),
        certificate_chain=settings.tls_cert_file.read_bytes(),
    )
    options = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # A peer that was killed is looked for again within a second, not after minutes.
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
    ]
    interceptors: Sequence[Any] = [_UnaryTrace(), _DownloadTrace(), _StreamTrace()]
    return grpc.aio.secure_channel(target, credentials, options, interceptors=interceptors)

"""A service is its definition: settings, wiring, and two commands, `migrate` and `serve`."""

import asyncio
import importlib.util
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
import typer
import uvloop

from servicekit.clock import SYSTEM_CLOCK, Clock
from servicekit.consumers import Consumer, ConsumerLoop
from servicekit.database import Database
from servicekit.garbage import collect_seldom
from servicekit.jobs import Job, run_forever
from servicekit.migrate import migrate
from servicekit.outbox import Relay
from servicekit.paging import Pager
from servicekit.server import ScopeOf, Server, Servicer
from servicekit.settings import Settings, read_settings
from servicekit.telemetry import configure_logging, configure_tracing, flush_traces, serve_metrics

log = structlog.get_logger()

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Runtime(Generic[S]):
    """What a service is wired from. Enter into `closing` whatever must be closed at the end."""

    settings: S
    database: Database
    clock: Clock
    pager: Pager
    closing: AsyncExitStack


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a service does: what it serves, hears, and does by itself. `scope_of` finds a caller's scope."""

    servicers: Sequence[Servicer] = ()
    consumers: Sequence[Consumer[Any]] = ()
    jobs: Sequence[Job] = ()
    scope_of: ScopeOf | None = None


@dataclass(frozen=True, slots=True)
class ServiceDefinition(Generic[S]):
    """A deployable. `wire` builds it; `commands` adds sub-commands to its console script, by name."""

    name: str
    settings: type[S]
    wire: Callable[[Runtime[S]], Awaitable[Wiring]]
    commands: dict[str, typer.Typer] = field(default_factory=dict)


def run(definition: ServiceDefinition[Any]) -> None:
    """The console script of a service: `<name> migrate`, `<name> serve`, and what `commands` adds."""
    app = typer.Typer(
        help=f"Farthing's service '{definition.name}'.", no_args_is_help=True, pretty_exceptions_enable=False
    )

    @app.command("migrate")
    def _migrate() -> None:
        """Brings the database to the newest revision."""
        settings = read_settings(definition.settings)
        if settings.owner_database_url is None:
            raise typer.BadParameter("OWNER_DATABASE_URL is not set: migrations run as the owner of the database")
        done = asyncio.run(migrate(settings.owner_database_url.get_secret_value(), migrations_of(definition.name)))
        typer.echo(f"{definition.name}: {', '.join(done) if done else 'nothing to migrate'}")

    @app.command("serve")
    def _serve() -> None:
        """Serves until it is told to stop (SIGTERM), then drains."""
        uvloop.run(serve(definition, read_settings(definition.settings)))

    for name, command in definition.commands.items():
        app.add_typer(command, name=name)
    app()


def migrations_of(service: str) -> Path:
    """The folder of a service's revisions, beside its `src`."""
    spec = importlib.util.find_spec(service)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no service '{service}' here")
    return Path(spec.origin).parents[2] / "migrations"


async def serve(definition: ServiceDefinition[S], settings: S) -> None:
    """Runs a service until SIGTERM or SIGINT; ends with an exception if one of its parts ends by itself."""
    configure_logging(definition.name, settings.log_level)
    configure_tracing(definition.name, settings.otel_exporter_otlp_endpoint, settings.trace_sample_ratio)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application=definition.name,
    )
    async with AsyncExitStack() as closing:
        closing.push_async_callback(database.close)
        pager = Pager(settings.page_token_key.get_secret_value())
        wiring = await definition.wire(Runtime(settings, database, SYSTEM_CLOCK, pager, closing))
        check_consumers(wiring.consumers)
        server = Server(settings, wiring.servicers, wiring.scope_of)
        if settings.metrics_bind:
            serve_metrics(settings.metrics_bind)
        collect_seldom()
        await server.start()
        log.info("serving", grpc=settings.grpc_bind, internal_grpc=settings.internal_grpc_bind)
        await _work(_parts(definition.name, settings, database, wiring), server, stop)
    flush_traces()
    log.info("stopped")


def check_consumers(consumers: Sequence[Consumer[Any]]) -> None:
    """ValueError where two consumers have one topic, and would share a group, or one name, and would share an inbox.

    Each event would reach one of the two only.
    """
    for what, values in (("topic", [one.topic for one in consumers]), ("name", [one.name for one in consumers])):
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"two consumers of the {what} '{value}': make one of them, that handles both")


def _parts(name: str, settings: Settings, database: Database, wiring: Wiring) -> list[Coroutine[Any, Any, None]]:
    parts: list[Coroutine[Any, Any, None]] = [Relay(database, settings.kafka_bootstrap, name).run()]
    parts += [
        ConsumerLoop(consumer, database, settings.kafka_bootstrap, name, settings.kafka_session_timeout_ms).run()
        for consumer in wiring.consumers
    ]
    parts += [run_forever(job) for job in wiring.jobs]
    return parts


async def _work(parts: Sequence[Coroutine[Any, Any, None]], server: Server, stop: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(part) for part in parts]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in tasks if task.done()]
    finally:
        await server.drain()
        for task in [*tasks, stopping]:
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    for task in ended:
        # Relay, consumers and jobs never end by themselves. Whoever runs this service starts it again.
        raise RuntimeError("a part of the service ended by itself") from (
            None if task.cancelled() else task.exception()
        )

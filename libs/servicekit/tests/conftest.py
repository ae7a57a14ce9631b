"""A database of its own for each test, topics of its own, and what it takes to speak to both."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc.aio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from farthing.orders.events.v1.events_pb2 import OrderCompleted, OrdersEvent
from joserfc import jwt
from joserfc.jwk import ECKey
from local_stack import ports
from local_stack.credentials import make_certificates
from local_stack.stack import Stack
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.scope import Scope
from servicekit.server import Server, Servicer
from servicekit.settings import Settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

REVISION = """
from alembic import op
from servicekit.schema import append_only, create_base, grant, tenant_table

revision = "0001"
down_revision = None


def upgrade():
    create_base()
    op.execute("CREATE FUNCTION sees(organization_id uuid) RETURNS boolean LANGUAGE sql STABLE AS "
               "$$ SELECT current_setting('farthing.scope', true) = organization_id::text $$")
    op.execute("CREATE TABLE notes (root_id uuid, id uuid, organization_id uuid NOT NULL, body text, "
               "PRIMARY KEY (root_id, id))")
    grant("notes", "SELECT, INSERT, UPDATE")
    tenant_table("notes")
    op.execute("CREATE TABLE effects (root_id uuid, id bigint GENERATED ALWAYS AS IDENTITY, event_id uuid NOT NULL, "
               "body text NOT NULL, PRIMARY KEY (root_id, id))")
    append_only("effects")
"""


@dataclass(frozen=True)
class Base:
    """A migrated database: its two addresses, the folder of its revisions, and the runtime role's connections."""

    owner_url: str
    app_url: str
    migrations: Path
    database: Database

    async def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await self.database.connect()
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    @staticmethod
    async def write_effect(connection: AsyncConnection, event: OrdersEvent, meta: Any) -> None:
        """The effect of an event, as a consumer's handler: a row with its order number."""
        await connection.execute(
            text("INSERT INTO effects (root_id, event_id, body) VALUES (:root_id, :event_id, :body)"),
            {"root_id": meta.root_id, "event_id": meta.event_id, "body": event.order_completed.order.number},
        )

    async def effects(self) -> list[str]:
        """What consumers did, in order."""
        return [row["body"] for row in await self.rows("SELECT body FROM effects ORDER BY id")]


async def superuser(env: dict[str, str], database: str = "postgres") -> "asyncpg.Connection[Any]":
    return await asyncpg.connect(
        host=env["PGHOST"],
        port=int(env["PGPORT"]),
        user=env["PGUSER"],
        password=env["PGPASSWORD"],
        database=database,
    )


@pytest.fixture
async def empty(stack: Stack, tmp_path: Path) -> AsyncIterator[Base]:
    """A database with its two roles and a revision that has not run yet."""
    env = stack.env()
    name = f"kit_{uuid4().hex[:10]}"
    admin = await superuser(env)
    for role in ("owner", "app"):
        await admin.execute(f"CREATE ROLE {name}_{role} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD 'test'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}_owner")
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "0001_kit.py").write_text(REVISION)
    address = f"{env['PGHOST']}:{env['PGPORT']}/{name}"
    app_url = f"postgresql://{name}_app:test@{address}"
    made = Base(f"postgresql://{name}_owner:test@{address}", app_url, migrations, Database(app_url, pool_size=5))
    yield made
    await made.database.close()
    await admin.close()
    admin = await superuser(env)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for role in ("owner", "app"):
        await admin.execute(f"DROP ROLE {name}_{role}")
    await admin.close()


@pytest.fixture
async def base(empty: Base) -> Base:
    """The same, migrated."""
    await migrate(empty.owner_url, empty.migrations)
    return empty


@dataclass
class Kafka:
    """The real broker, with a topic of the test's own and its dead letters (of the service `kit`)."""

    bootstrap: str
    topic: str
    producer: AIOKafkaProducer
    sent: list[UUID] = field(default_factory=list)

    @property
    def dead_letters(self) -> str:
        return f"{self.topic}.dlq.kit"

    @staticmethod
    def event(number: str) -> OrdersEvent:
        """An event that carries `number`."""
        event = OrdersEvent(order_completed=OrderCompleted(root_id=str(uuid4())))
        event.order_completed.order.number = number
        return event

    async def send(
        self,
        body: str,
        *,
        event_id: UUID | None = None,
        root_id: UUID | None = None,
        partition: int | None = None,
        value: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> UUID:
        """Publishes an event as a relay would, its order number being `body`."""
        event_id = event_id or uuid4()
        standard = [
            ("event_id", str(event_id).encode()),
            ("root_id", str(root_id or uuid4()).encode()),
            ("occurred_at", datetime.now(UTC).isoformat().encode()),
        ]
        await self.producer.send_and_wait(
            self.topic,
            self.event(body).SerializeToString() if value is None else value,
            key=b"key",
            partition=partition,
            headers=standard if headers is None else headers,
        )
        return event_id

    async def read(self, topic: str, count: int, timeout_s: float = 20.0) -> list[ConsumerRecord]:
        """The first `count` records of `topic`, partition by partition; AssertionError if there are fewer."""
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", fetch_max_bytes=50_000_000
        )
        await consumer.start()
        found: list[ConsumerRecord] = []
        try:
            async with asyncio.timeout(timeout_s):
                while len(found) < count:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found.extend(records)
        except TimeoutError:
            raise AssertionError(f"{len(found)} of {count} records in {topic} after {timeout_s} s") from None
        finally:
            await consumer.stop()
        return found


@pytest.fixture
async def kafka(stack: Stack) -> AsyncIterator[Kafka]:
    bootstrap = stack.env()["KAFKA_BOOTSTRAP"]
    topic = f"kit.{uuid4().hex[:10]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    limits = {"max.message.bytes": "9000000"}
    await admin.create_topics(
        [NewTopic(topic, 2, 1, topic_configs=limits), NewTopic(f"{topic}.dlq.kit", 1, 1, topic_configs=limits)]
    )
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    yield Kafka(bootstrap, topic, producer)
    await asyncio.wait_for(producer.stop(), 20)


class Running:
    """Coroutines that run beside a test, and are ended with it."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self.tasks.append(task)
        return task

    async def end(self, task: "asyncio.Task[None]") -> None:
        task.cancel()
        await asyncio.wait({task}, timeout=20)
        assert task.done()


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    beside = Running()
    yield beside
    for task in beside.tasks:
        task.cancel()
    if beside.tasks:
        await asyncio.wait(beside.tasks, timeout=20)


class Keys:
    """A token issuer of the test's own: signing keys, and the JWKS file that servers read."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks.json"
        self.signing = self.publish()

    def publish(self) -> ECKey:
        """A new signing key; from now on the file holds it alone."""
        key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": uuid4().hex})
        self.file.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        return key

    def token(self, key: Any = None, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A good token of a boss, with `claims` put in place of the good ones; None removes one."""
        key = key or self.signing
        good = {
            "iss": "https://issuer.test",
            "aud": "farthing",
            "sub": "ada@example.test",
            "exp": int(time.time()) + 300,
            "org": str(US),
            "roles": ["boss"],
            "name": "Ada",
            "email": "ada@example.test",
        }
        body = {name: value for name, value in {**good, **claims}.items() if value is not None}
        head = header or {"alg": "ES256", "kid": key.as_dict()["kid"]}
        return jwt.encode(head, body, key, algorithms=[head["alg"]])


US = UUID("019ab000-0000-7000-8000-000000000001")
STRANGERS = UUID("019ab000-0000-7000-8000-000000000002")
ROOT = UUID("019ab000-0000-7000-8000-0000000000ff")


@dataclass
class House:
    """Issuer, certificates, and real servers of ours in this process."""

    keys: Keys
    certificates: Path
    us: UUID = US
    strangers: UUID = STRANGERS
    root: UUID = ROOT
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    def settings(self, **changes: Any) -> Settings:
        """What a server reads; two free ports."""
        public, internal = ports.choose(2)
        values: dict[str, Any] = {
            "farthing_env": "development",
            "database_url": "postgresql://nobody@127.0.0.1:1/none",
            "grpc_bind": f"127.0.0.1:{public}",
            "internal_grpc_bind": f"127.0.0.1:{internal}",
            "kafka_bootstrap": "127.0.0.1:1",
            "jwt_issuer": "https://issuer.test",
            "jwt_audience": "farthing",
            "jwt_jwks_file": self.keys.file,
            "tls_ca_file": self.certificates / "ca.pem",
            "tls_cert_file": self.certificates / "wallet.pem",
            "tls_key_file": self.certificates / "wallet.key",
        }
        return Settings(**{**values, **changes})

    async def serve(self, *servicers: Servicer, **changes: Any) -> Settings:
        """Starts a server; it ends with the test."""
        settings = self.settings(**changes)

        async def scope_of(organization_id: UUID) -> Scope | None:
            return Scope(organization_id, ROOT) if organization_id == US else None

        server = Server(settings, servicers, scope_of)
        await server.start()
        self.closing.push_async_callback(server.drain)
        return settings

    async def public(self, settings: Settings) -> grpc.aio.Channel:
        """A channel to the public listener."""
        return await self.closing.enter_async_context(grpc.aio.insecure_channel(settings.grpc_bind))

    async def internal(self, settings: Settings, name: str, folder: Path | None = None) -> grpc.aio.Channel:
        """A channel to the internal listener, with the certificate of `name`."""
        folder = folder or self.certificates
        credentials = grpc.ssl_channel_credentials(
            (self.certificates / "ca.pem").read_bytes(),
            (folder / f"{name}.key").read_bytes() if name else None,
            (folder / f"{name}.pem").read_bytes() if name else None,
        )
        bind = settings.internal_grpc_bind
        return await self.closing.enter_async_context(grpc.aio.secure_channel(bind, credentials))

    def metadata(self, token: str | None = None, **claims: Any) -> list[tuple[str, str]]:
        """The metadata of a call with `token`, or with a good one."""
        return [("authorization", f"Bearer {token or self.keys.token(**claims)}")]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make_certificates(folder, ["wallet", "orders", "documents", "operator"], datetime.now(UTC))
    return folder


@pytest.fixture
async def house(tmp_path: Path, certificates: Path) -> AsyncIterator[House]:
    made = House(Keys(tmp_path), certificates)
    yield made
    await made.closing.aclose()

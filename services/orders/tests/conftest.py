"""A real PostgreSQL with an organization tree and price lists, and a wallet that does as it is told over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from directory import store as directory
from directory.domain import Organization
from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.usage.events.v1.events_pb2 import UsageEvent
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from google.type.money_pb2 import Money
from local_stack.stack import Stack
from orders.clients import WalletClient
from orders.commands.catalogue import Catalogue
from orders.commands.orders import Orders
from orders.commands.paying import Paying
from orders.commands.refunds import Refunds
from orders.consumers import Hearing
from orders.rpc.catalogue import CatalogueRpc
from orders.rpc.orders import OrderRpc
from orders.rpc.reads import Reads
from servicekit.call import Call
from servicekit.clock import FixedClock
from servicekit.consumers import EventMeta
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import as_caller, as_service, service_database
from sqlalchemy import text

from .scripted_wallet import CHARGE_TIMEOUT_S, ScriptedWallet

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLATFORM_ID = uuid4()
LEASE = timedelta(milliseconds=250)


class Context:
    """What the handlers ask of a gRPC call."""

    def time_remaining(self) -> float | None:
        return 5.0


@dataclass
class Member:
    """An organization, and the calls of its boss."""

    organization: Organization

    @property
    def id(self) -> UUID:
        return self.organization.id

    @contextmanager
    def calling(self, method: str) -> Iterator[Call]:
        root_id = None if self.organization.is_platform else self.organization.root_id
        name, email = f"Boss of {self.organization.name}", f"boss@{self.organization.domain}"
        with as_caller(self.id, root_id, name=name, email=email, method=method) as call:
            yield call


@dataclass(repr=False)  # Hypothesis says what failed, and this would drown it.
class World:
    """platform -> partner -> reseller -> customer, and a stranger under another partner."""

    database: Database
    clock: FixedClock
    wallet: ScriptedWallet
    paying: Paying
    orders: Orders
    refunds: Refunds
    catalogue_rpc: CatalogueRpc
    order_rpc: OrderRpc
    platform: Member
    partner: Member
    reseller: Member
    customer: Member
    sibling: Member
    stranger: Member
    sku_id: str = ""
    package_id: str = ""

    @property
    def sellers(self) -> list[Member]:
        """Who sells to the customer, the nearest first."""
        return [self.reseller, self.partner, self.platform]

    async def call(self, who: Member | None, method: str, request: object) -> object:
        """Calls a handler as a member's boss, or as one of our own services."""
        rpc = self.order_rpc if hasattr(self.order_rpc, method) else self.catalogue_rpc
        with who.calling(method) if who else as_service(method=method):
            return await getattr(rpc, method)(request, Context())

    async def sku(self, type_: catalogue_pb2.ProductType.ValueType, name: str, *contents: str) -> str:
        product = await self.call(
            self.platform,
            "CreateProduct",
            catalogue_pb2.CreateProductRequest(request_id=str(uuid4()), type=type_, name=name),
        )
        sku = await self.call(
            self.platform,
            "CreateSku",
            catalogue_pb2.CreateSkuRequest(
                request_id=str(uuid4()),
                product_id=product.id,
                code=f"sku-{uuid4()}",
                name="30 days",
                unit="piece",
                contents=contents,
            ),
        )
        return str(sku.id)

    async def price(
        self, seller: Member, sku_id: str, cents: int, *, currency: str = "EUR", valid_from: datetime | None = None
    ) -> catalogue_pb2.Price:
        money = Money(currency_code=currency, units=cents // 100, nanos=cents % 100 * 10_000_000)
        request = catalogue_pb2.SetPriceRequest(
            request_id=str(uuid4()), seller_id=str(seller.id), sku_id=sku_id, unit_price=money
        )
        if valid_from:
            request.valid_from.FromDatetime(valid_from)
        return await self.call(seller, "SetPrice", request)

    async def tax(self, seller: Member, rate_ppm: int, sku_id: str = "") -> catalogue_pb2.Tax:
        request = catalogue_pb2.SetTaxRequest(
            request_id=str(uuid4()), seller_id=str(seller.id), sku_id=sku_id, name="VAT", rate_ppm=rate_ppm
        )
        return await self.call(seller, "SetTax", request)

    def purchase(self, quantity: int = 1, sku_id: str = "") -> orders_pb2.PlaceOrderRequest:
        item = orders_pb2.NewOrderItem(sku_id=sku_id or self.sku_id, quantity=quantity)
        return orders_pb2.PlaceOrderRequest(request_id=str(uuid4()), items=[item])

    def redraw(self, draw_bits: Callable[[], int]) -> None:
        """Makes order numbers come from `draw_bits`."""
        self.orders = replace(self.orders, draw_bits=draw_bits)
        self.order_rpc._orders = self.orders

    async def place(self, request: orders_pb2.PlaceOrderRequest, who: Member | None = None) -> orders_pb2.Order:
        return await self.call(who or self.customer, "PlaceOrder", request)

    async def hear(self, event: object, root_id: UUID | None = None) -> None:
        """Hands an event to the consumer, as one of wallet's or of usage's topic, of the partner's root or another."""
        meta = EventMeta(uuid4(), root_id or self.partner.id, "", "", NOON)
        hearing = Hearing(self.clock)
        async with self.database.transaction(EVERYTHING) as connection:
            if isinstance(event, WalletEvent):
                await hearing.on_wallet_event(connection, event, meta)
            elif isinstance(event, UsageEvent):
                await hearing.on_usage_event(connection, event, meta)
            else:
                raise TypeError(event)

    async def settle(self, order: orders_pb2.Order) -> None:
        """The money for the order arrives: its event is heard, and nothing more."""
        await self.hear(WalletEvent(top_up_settled=self.wallet.settle(order.id, self.partner.id)))

    async def events(self) -> list[OrdersEvent]:
        """What is in the outbox for the partner's root, in its order."""
        query = text("SELECT payload FROM outbox WHERE root_id = :root_id ORDER BY id")
        async with self.database.transaction(EVERYTHING) as connection:
            rows = await connection.execute(query, {"root_id": self.partner.id})
        return [OrdersEvent.FromString(payload) for payload in rows.scalars()]

    async def event_names(self) -> list[str | None]:
        return [event.WhichOneof("event") for event in await self.events()]


async def problem_of(call: Awaitable[object]) -> Problem:
    """The problem that the call ends with."""
    with pytest.raises(Problem) as raised:
        await call
    return raised.value


@pytest.fixture(scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    """A database of orders as its runtime role; of its own, because its organizations are known to no wallet."""
    env, name = stack.env(), f"orders_{uuid4().hex[:8]}"
    superuser = await asyncpg.connect(
        host=env["PGHOST"], port=int(env["PGPORT"]), user=env["PGUSER"], password=env["PGPASSWORD"], database="postgres"
    )
    await superuser.execute(f"CREATE DATABASE {name} OWNER orders_owner")
    await superuser.close()
    urls = {
        key: f"{env[key].rpartition('/')[0]}/{name}" for key in ("ORDERS_DATABASE_URL", "ORDERS_OWNER_DATABASE_URL")
    }
    database = await service_database({**env, **urls}, "orders", pool_size=10)
    yield database
    # The database goes with the stack: other tests may have killed the server meanwhile.
    await database.close()


@pytest.fixture
async def wallet_channel() -> AsyncIterator[tuple[ScriptedWallet, grpc.aio.Channel]]:
    """A wallet that does as it is told, and a channel to it."""
    wallet, server = ScriptedWallet(), grpc.aio.server()
    wallet.serve(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield wallet, channel
    await server.stop(0)


MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world(
    database: Database, wallet_channel: tuple[ScriptedWallet, grpc.aio.Channel]
) -> AsyncIterator[MakeWorld]:
    """Makes worlds; each has partners of its own under the one platform."""
    wallet, channel = wallet_channel

    async def make(*, currencies: tuple[str, str, str] = ("EUR", "EUR", "EUR")) -> World:
        """`currencies` of customer, reseller and partner."""
        platform = new_organization(PLATFORM_ID, [], "Platform", "USD")
        partner = new_organization(uuid4(), [platform], "Partner", currencies[2])
        reseller = new_organization(uuid4(), [partner, platform], "Reseller", currencies[1])
        customer = new_organization(uuid4(), [reseller, partner, platform], "Customer", currencies[0])
        sibling = new_organization(uuid4(), [reseller, partner, platform], "Sibling", currencies[0])
        other = new_organization(uuid4(), [platform], "Other partner", "EUR")
        stranger = new_organization(uuid4(), [other, platform], "Stranger", "EUR")
        async with database.transaction(EVERYTHING) as connection:
            for organization in (platform, partner, reseller, customer, sibling, other, stranger):
                await directory.save(connection, organization)
        for organization in (partner, reseller, customer, sibling, other, stranger):
            wallet.sellers[str(organization.id)] = (str(organization.parent_id), organization.currency)
        clock = FixedClock(NOON)
        paying = Paying(database, clock, WalletClient(channel, CHARGE_TIMEOUT_S), LEASE)
        orders = Orders(database, clock, paying)
        refunds = Refunds(database, clock, WalletClient(channel, CHARGE_TIMEOUT_S), LEASE)
        reads = Reads(database, clock, Pager("a key for tests"))
        world = World(
            database,
            clock,
            wallet,
            paying,
            orders,
            refunds,
            CatalogueRpc(Catalogue(database, clock), reads),
            OrderRpc(orders, refunds, reads),
            *(Member(each) for each in (platform, partner, reseller, customer, sibling, stranger)),
        )
        world.sku_id = await world.sku(catalogue_pb2.PRODUCT_TYPE_PROXY, "US proxies")
        world.package_id = await world.sku(catalogue_pb2.PRODUCT_TYPE_PACKAGE, "Starter", "10 proxies", "1 profile")
        return world

    yield make
    # The job of a later test must find none of this one's orders.
    wallet.script.clear()
    leftover = text("""
        SELECT count(*) FROM orders WHERE state = 'PENDING_PAYMENT' OR (state = 'CANCELED' AND payment_kept_at IS NULL
        AND (payment_received_at IS NOT NULL
             OR (payment_due_at IS NOT NULL AND refusal_reason IS NULL AND top_up_ended_at IS NULL)))
    """)
    after_all = FixedClock(NOON + timedelta(days=30))
    settler = Paying(database, after_all, WalletClient(channel, CHARGE_TIMEOUT_S), LEASE)
    while True:
        async with database.transaction(EVERYTHING) as connection:
            if not (await connection.execute(leftover)).scalar_one():
                break
        await settler.cancel_overdue()
        await settler.resolve_pending()
        await asyncio.sleep(0.05)


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A world where everything is for sale: platform 1.00, partner 1.50, reseller 2.00 EUR and 19 % tax of hers."""
    made = await make_world()
    for seller, cents in zip(made.sellers, (200, 150, 100), strict=True):
        for sku_id in (made.sku_id, made.package_id):
            await made.price(seller, sku_id, cents)
    await made.tax(made.reseller, 190_000)
    return made


def new_organization(id_: UUID, ancestors: list[Organization], name: str, currency: str) -> Organization:
    root_id = id_ if len(ancestors) < 2 else ancestors[-2].id
    return Organization(
        id=id_,
        root_id=root_id,
        parent_id=ancestors[0].id if ancestors else None,
        ancestor_ids=tuple(each.id for each in ancestors),
        name=name,
        domain=f"{name.lower().replace(' ', '-')}-{id_}.example",
        currency=currency,
        language="en",
        created_at=NOON,
    )

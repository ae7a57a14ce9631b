"""A world of organizations and payments, and the workers of `documents`, on the real PostgreSQL, S3 and SMTP."""

import asyncio
import mailbox
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from uuid import UUID

import pytest
from documents.archive import Archive
from documents.archive_commands import endpoint_of
from documents.clients import ArchiveClient
from documents.consumers import on_orders_event, on_wallet_event
from documents.jobs import Archiver, Keeper, NoticeBag, Pool, Postman, ReceiptBag
from documents.mailer import Mailer, MailServer
from documents.rendering import Renderer
from documents.settings import DocumentsSettings
from farthing.orders.events.v1.events_pb2 import OrderCompleted, OrderPaymentKept, OrdersEvent
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import (
    AdjustmentPosted,
    BalanceLow,
    OrganizationCreated,
    TopUpSettled,
    WalletEvent,
)
from farthing.wallet.v1 import adjustments_pb2, organizations_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from local_stack.stack import Stack
from money.messages import money_to_message
from servicekit.clock import SYSTEM_CLOCK
from servicekit.consumers import EventMeta
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.scope import EVERYTHING
from servicekit.testing import service_database

Ended = orders_pb2.OrderCancellation
PAID_AT = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


def timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def eur(micros: int) -> Money:
    return money_to_message("EUR", micros)


@dataclass
class World:
    """A platform, a partner and a customer of this test alone; more on demand."""

    database: Database
    platform: organizations_pb2.Organization = field(init=False)
    partner: organizations_pb2.Organization = field(init=False)
    customer: organizations_pb2.Organization = field(init=False)

    async def make(self) -> None:
        self.platform = await self.organization("Platform", None)
        self.partner = await self.organization("Partner & Söhne", self.platform)
        self.customer = await self.organization("Customer", self.partner)

    def organization_message(
        self,
        name: str,
        parent: organizations_pb2.Organization | None,
        *,
        language: str = "en",
        boss: str | None = None,
    ) -> organizations_pb2.Organization:
        organization_id = str(new_id())
        above = [parent.id, *parent.ancestor_ids] if parent else []
        root = organization_id if parent is None or not parent.parent_id else parent.root_id
        message = organizations_pb2.Organization(
            id=organization_id,
            parent_id=parent.id if parent else "",
            root_id=root,
            name=name,
            domain=f"t-{UUID(organization_id).hex}.example",
            currency="EUR",
            language=language,
            version=1,
            ancestor_ids=above,
            created_at=timestamp(PAID_AT),
        )
        address = f"boss@{message.domain}" if boss is None else boss
        if address:
            message.members.add(
                id=str(new_id()), name="The Boss", email=address, role=organizations_pb2.MEMBER_ROLE_BOSS
            )
        return message

    async def organization(
        self,
        name: str,
        parent: organizations_pb2.Organization | None,
        *,
        language: str = "en",
        boss: str | None = None,
    ) -> organizations_pb2.Organization:
        message = self.organization_message(name, parent, language=language, boss=boss)
        await self.hear(WalletEvent(organization_created=OrganizationCreated(organization=message)))
        return message

    def order(
        self,
        buyer: organizations_pb2.Organization | None = None,
        *,
        payer: str = "",
        paid_at: datetime = PAID_AT,
    ) -> OrdersEvent:
        """A purchase of `buyer` (the customer) from its seller: 100 EUR net, 19 % tax."""
        buyer = buyer or self.customer
        item = orders_pb2.OrderItem(
            sku_id=str(new_id()),
            product_name="Residential proxies",
            sku_name="Berlin",
            quantity=2,
            unit_price=eur(50_000_000),
            net=eur(100_000_000),
            tax_name="VAT",
            tax_rate_ppm=190_000,
            tax=eur(19_000_000),
        )
        item.proxies.add(address="192.0.2.7", port=8080, location="DE", expires_at=timestamp(PAID_AT))
        order_id = new_id()
        order = orders_pb2.Order(
            id=str(order_id),
            number=f"FA-{order_id.hex[-8:].upper()}",
            state=orders_pb2.Order.STATE_COMPLETED,
            organization_id=buyer.id,
            seller_id=buyer.parent_id,
            paying_user_name="Ann Buyer",
            paying_user_email=payer or f"ann@{buyer.domain}",
            payment_method=orders_pb2.PAYMENT_METHOD_BALANCE,
            items=[item],
            net=eur(100_000_000),
            tax=eur(19_000_000),
            total=eur(119_000_000),
            transaction_id=str(new_id()),
            created_at=timestamp(paid_at),
            paid_at=timestamp(paid_at),
        )
        return OrdersEvent(order_completed=OrderCompleted(root_id=buyer.root_id, order=order))

    def top_up(self, buyer: organizations_pb2.Organization | None = None) -> WalletEvent:
        """A top-up of `buyer` (the customer) by 250 EUR."""
        buyer = buyer or self.customer
        top_up = wallets_pb2.TopUp(
            id=str(new_id()),
            wallet_id=str(new_id()),
            organization_id=buyer.id,
            amount=eur(250_000_000),
            method=wallets_pb2.TOP_UP_METHOD_MANUAL,
            state=wallets_pb2.TopUp.STATE_SETTLED,
            reference="SEPA 4711",
            created_by_name="Ann Buyer",
            created_by_email=f"ann@{buyer.domain}",
            transaction_id=str(new_id()),
            created_at=timestamp(PAID_AT),
            settled_at=timestamp(PAID_AT),
        )
        settled = TopUpSettled(
            root_id=buyer.root_id, top_up=top_up, seller_id=buyer.parent_id, posted_at=timestamp(PAID_AT)
        )
        return WalletEvent(top_up_settled=settled)

    def told(self, name: str, **changed: object) -> OrdersEvent | WalletEvent:
        """An event that `customer` (or `buyer`) is told of by mail; `name` is that of the oneof's field."""
        buyer = changed.get("buyer") or self.customer
        reason = str(changed.get("reason", "Out of stock"))
        amount = eur(int(changed.get("micros", 12_500_000)))
        at = timestamp(PAID_AT)
        if not name.startswith("order_"):
            return self._told_by_wallet(name, buyer, reason, amount)
        order = self.order(buyer).order_completed.order
        event = OrdersEvent()
        told = getattr(event, name)
        told.root_id = buyer.root_id
        told.order.CopyFrom(order)
        if name == "order_refunded":
            told.refund.MergeFrom(orders_pb2.Refund(id=str(new_id()), reason=reason, total=amount, posted_at=at))
            told.refund.lines.add(position=1, product_name=str(changed.get("product", "Proxies")), quantity=2)
        elif name == "order_canceled":
            told.order.cancel_reason = "In English"
            ended = told.order.cancellation
            ended.cause, ended.person_name, ended.note = Ended.CAUSE_PURCHASER, "Ann Buyer", reason
            told.order.canceled_at.CopyFrom(at)
        elif name == "order_payment_kept":
            told.MergeFrom(OrderPaymentKept(top_up_id=str(new_id()), amount=amount, received_at=at))
            told.order.payment.received_at.CopyFrom(at)
            told.order.cancellation.MergeFrom(Ended(cause=Ended.CAUSE_SELLER, note=reason))
        return event

    def _told_by_wallet(
        self, name: str, buyer: organizations_pb2.Organization, reason: str, amount: Money
    ) -> WalletEvent:
        at = timestamp(PAID_AT)
        event = WalletEvent()
        told = getattr(event, name)
        told.root_id = buyer.root_id
        if name == "balance_low":
            told.MergeFrom(BalanceLow(wallet_id=str(new_id()), available=amount, threshold=eur(20_000_000), fell_at=at))
            told.organization_id, told.seller_id = buyer.id, buyer.parent_id
        elif name == "top_up_failed":
            told.top_up.CopyFrom(self.top_up(buyer).top_up_settled.top_up)
            told.top_up.amount.CopyFrom(amount)
            told.top_up.failure_reason = reason
            told.seller_id = buyer.parent_id
            told.failed_at.CopyFrom(at)
        elif name == "adjustment_posted":
            adjustment = adjustments_pb2.Adjustment(id=str(new_id()), amount=amount, reason=reason)
            adjustment.organization_id, adjustment.seller_id = buyer.id, buyer.parent_id
            told.MergeFrom(AdjustmentPosted(adjustment=adjustment, posted_at=at))
        return event

    async def hear(self, event: OrdersEvent | WalletEvent, event_id: UUID | None = None) -> None:
        """The event arrives (without Kafka and inbox)."""
        meta = EventMeta(event_id or new_id(), new_id(), "test", "test", PAID_AT)
        async with self.database.transaction(EVERYTHING) as connection:
            if isinstance(event, OrdersEvent):
                await on_orders_event(connection, event, meta, mail_domain="farthing.test")
            else:
                await on_wallet_event(connection, event, meta, mail_domain="farthing.test")


@dataclass
class Workers:
    """The jobs of one process, run by hand."""

    archive: ArchiveClient
    archiver: Archiver
    postman: Postman
    notifier: Postman
    keeper: Keeper
    pool: Pool
    mailer: Mailer
    maildir: Path

    async def settle(self) -> None:
        """Archives and mails until there is nothing to do at once."""
        while await self.archiver.run():
            pass
        while await self.postman.run():
            pass
        while await self.notifier.run():
            pass

    def mails(self, message_id: str) -> list[Message]:
        """What the mail server keeps of this message."""
        return [mail for mail in mailbox.Maildir(self.maildir, create=False) if mail["Message-ID"] == message_id]


@pytest.fixture(scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    made = await service_database(stack.env(), "documents", pool_size=20)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def settings(stack: Stack) -> DocumentsSettings:
    environment = {name.lower(): value for name, value in stack.service_env("documents").items()}
    return DocumentsSettings.model_validate({**environment, "render_processes": 1, "lease_s": 5})


@pytest.fixture(scope="session")
async def renderer() -> AsyncIterator[Renderer]:
    async with Renderer(1) as made:
        await made.warm()
        yield made


@pytest.fixture
async def workers(
    stack: Stack, database: Database, settings: DocumentsSettings, renderer: Renderer
) -> AsyncIterator[Workers]:
    archive = ArchiveClient(Archive(endpoint_of(settings)))
    archive.ready.set()
    archived = asyncio.Event()
    pool = await database.pool(6)
    mailer = Mailer(MailServer(settings.smtp_host, settings.smtp_port, timeout_s=5), settings.mail_from)
    yield Workers(
        archive=archive,
        archiver=Archiver(pool, archive, renderer, settings=settings, clock=SYSTEM_CLOCK, archived=archived),
        postman=Postman(pool, ReceiptBag(archive), mailer, settings=settings, clock=SYSTEM_CLOCK, filled=archived),
        notifier=Postman(pool, NoticeBag(), mailer, settings=settings, clock=SYSTEM_CLOCK, filled=archived),
        keeper=Keeper(pool, archive, settings=settings, clock=SYSTEM_CLOCK),
        pool=pool,
        mailer=mailer,
        maildir=Path(stack.env()["SMTP_MAILDIR"]),
    )
    await mailer.close()
    await pool.close()
    archive.close()


@pytest.fixture
async def world(database: Database) -> World:
    made = World(database)
    await made.make()
    return made

"""Random orders of every kind in a database of their own, and a filter over them that is as plain as can be."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from directory import store as directory
from directory.domain import Organization
from google.protobuf.timestamp_pb2 import Timestamp
from orders.domain.catalogue import ProductType, Sku
from orders.domain.numbers import order_number
from orders.domain.orders import (
    CancelCause,
    Cancellation,
    CloudPhone,
    Order,
    OrderItem,
    OrderState,
    Payer,
    Payment,
    PaymentMethod,
)
from orders.domain.pricing import NO_TAX, TaxRate, Tier, TierLine
from orders.domain.search import OrderFilter, OrderOrder
from orders.store import names, orders
from servicekit.database import Database
from servicekit.folding import fold
from servicekit.ids import new_id
from servicekit.scope import EVERYTHING, Scope
from sqlalchemy import text

START = datetime(2026, 10, 30, 22, tzinfo=UTC)
NAMES = (
    "US proxies",
    "us PROXIES, residential",
    "İSTANBUL Vekil",
    "ISPARTA ılık",
    "Straße",
    "STRASSE gold",
    "代理服务器",
    "代",
    "وكيل سكني",
    "\u202e\u05de\u05d5\u05e6\u05e8 \u200fRTL",
    "Пакет СТАРТОВЫЙ",
    "100% off_deal",
    "100 percent offXdeal",
    "back\\slash",
    "Ａｆｔｅｒ wide",
    "CAFÉ composed",
    "cafe\u0301 decomposed",
    "ΣΊΣΥΦΟΣ",
    "=SUM(A1)+cmd|' /C calc'!A0",
    "+1-2@x",
    "🚀 rocket",
    "line\nbreak",
    "a" * 10_000,
    "b" * 9_999 + "ß",
    "FA-26 no number",
)
CALLED_OFF = Cancellation(CancelCause.SELLER, "Zoe", "not wanted any more")
_SETTLED = (OrderState.COMPLETED, OrderState.PARTLY_REFUNDED, OrderState.REFUNDED)


@dataclass(frozen=True)
class Shelf:
    """platform -> partner -> reseller -> two customers; partner -> direct customer; platform -> other -> stranger."""

    database: Database
    organizations: dict[str, Organization]
    orders: list[Order] = field(default_factory=list)
    refunded_micros: dict[UUID, int] = field(default_factory=dict)

    def id(self, name: str) -> UUID:
        return self.organizations[name].id

    def scope(self, name: str) -> Scope:
        """Of a member of that organization; of a service where the name is empty."""
        if not name:
            return EVERYTHING
        organization = self.organizations[name]
        return Scope(organization.id, None if organization.is_platform else organization.root_id)

    def sees(self, name: str, order: Order) -> bool:
        if not name:
            return True
        by_id = {each.id: each for each in self.organizations.values()}
        buyer = by_id[order.organization_id]
        return self.id(name) in (buyer.id, *buyer.ancestor_ids)

    def naive(self, name: str, wanted: OrderFilter, order: OrderOrder) -> list[Order]:
        """What the list has to be, found by looking at each order."""
        found = [each for each in self.orders if self.sees(name, each) and matches(each, wanted)]
        return sorted(
            found,
            key=lambda each: (each.own_tier.gross_micros if order.by_amount else each.created_at, each.id.bytes),
            reverse=order.descending,
        )


def matches(order: Order, wanted: OrderFilter) -> bool:
    """All that is set holds."""
    return all(
        (
            wanted.organization_id in (None, order.organization_id),
            wanted.seller_id in (None, order.seller_id),
            wanted.types is None or order.type in wanted.types,
            wanted.states is None or order.state in wanted.states,
            wanted.payment_methods is None or order.payment_method in wanted.payment_methods,
            wanted.created_from is None or order.created_at >= wanted.created_from,
            wanted.created_to is None or order.created_at < wanted.created_to,
            not wanted.product_names or any(_named(order, part) for part in wanted.product_names),
            _numbered(order, wanted.order_number),
            not wanted.cloud_phone_id or (order.phone is not None and order.phone.id == wanted.cloud_phone_id),
            _named(order, wanted.search.strip())
            or (bool(wanted.search.strip("- ")) and _numbered(order, wanted.search)),
        )
    )


def _named(order: Order, part: str) -> bool:
    return any(fold(part) in fold(item.product_name) for item in order.items)


def _numbered(order: Order, written: str, *, of_dashes: bool = True) -> bool:
    if not of_dashes and not written.strip("- "):
        return False
    plain = written.upper().replace("-", "").replace(" ", "")
    tolerant = plain[:2] + plain[2:].replace("O", "0").replace("I", "1").replace("L", "1")
    return order.number.replace("-", "").startswith(tolerant)


# -- making ----------------------------------------------------------------------------------------------------------


async def fill(database: Database, count: int, seed: int) -> Shelf:
    """A shelf with `count` random orders."""
    drawn = random.Random(seed)
    shelf = Shelf(database, _organizations())
    async with database.transaction(EVERYTHING) as connection:
        for organization in shelf.organizations.values():
            await directory.save(connection, organization)
    for _ in range(count):
        await add(shelf, draw(shelf, drawn), drawn)
    return shelf


def _organizations() -> dict[str, Organization]:
    found: dict[str, Organization] = {}
    for name, seller in (
        ("platform", ""),
        ("partner", "platform"),
        ("reseller", "partner"),
        ("customer", "reseller"),
        ("sibling", "reseller"),
        ("direct", "partner"),
        ("other", "platform"),
        ("stranger", "other"),
    ):
        above = found[seller] if seller else None
        id_ = new_id()
        ancestors = () if above is None else (above.id, *above.ancestor_ids)
        found[name] = Organization(
            id=id_,
            root_id=id_ if len(ancestors) < 2 else ancestors[-2],
            parent_id=ancestors[0] if ancestors else None,
            ancestor_ids=ancestors,
            name=name.capitalize(),
            domain=f"{name}.example",
            currency="EUR",
            language="en",
            created_at=START,
        )
    return found


def draw(shelf: Shelf, drawn: random.Random) -> Order:
    """A random order that could be; not written."""
    buyer = shelf.organizations[
        drawn.choice(["partner", "reseller", "customer", "customer", "sibling", "direct", "other", "stranger"])
    ]
    type_ = drawn.choice(list(ProductType))
    phone, payment = None, None
    method = PaymentMethod.BALANCE
    # Some orders share an instant, and days change among them.
    created_at = START + timedelta(minutes=30 * drawn.randrange(200))
    if type_ is ProductType.CLOUD_PHONE:
        state = drawn.choice([OrderState.RUNNING, OrderState.COMPLETED])
        down = created_at + timedelta(hours=1) if state is OrderState.COMPLETED else None
        phone = CloudPhone(f"phone-{drawn.randrange(6)}", "Pixel", created_at, down, min(drawn.randrange(4), 1))
    else:
        state = drawn.choice([each for each in OrderState if each is not OrderState.RUNNING])
        method = drawn.choice(list(PaymentMethod))
        if method is not PaymentMethod.BALANCE:
            payment = Payment(created_at + timedelta(days=3))
    lines = 1 if phone else drawn.randint(1, 3)
    items = tuple(_item(drawn, phone is not None) for _ in range(lines))
    sellers = buyer.ancestor_ids
    currency = drawn.choice(["EUR", "EUR", "USD"])
    tiers = tuple(
        Tier(
            number,
            (buyer.id, *sellers)[number - 1],
            seller_id,
            tuple(_line(drawn, item.quantity, number) for item in items),
        )
        for number, seller_id in enumerate(sellers, start=1)
    )
    if phone is not None and not phone.fee_count:
        # Before its first fee nothing is known of the tiers above.
        tiers = (replace(tiers[0], lines=(TierLine(0, 0, NO_TAX, 0),)),)
    paid_at = created_at + timedelta(seconds=1) if state in _SETTLED else None
    return Order(
        root_id=buyer.root_id,
        id=new_id(),
        number=order_number(created_at, drawn.getrandbits(40)),
        state=state,
        type=type_,
        organization_id=buyer.id,
        seller_id=sellers[0],
        payer=Payer("subject", drawn.choice(["Ann", "=1+1", "عمر"]), "ann@example.test"),
        currency=currency,
        items=items,
        tiers=tiers,
        created_at=created_at,
        transaction_id=new_id() if state in _SETTLED and phone is None else None,
        paid_at=paid_at,
        canceled_at=created_at + timedelta(seconds=2) if state is OrderState.CANCELED else None,
        payment_method=method,
        payment=payment,
        phone=phone,
        cancellation=CALLED_OFF if state is OrderState.CANCELED else None,
    )


def _item(drawn: random.Random, phone: bool) -> OrderItem:
    sku = Sku(new_id(), new_id(), "code", "30 days", "piece")
    return OrderItem(sku, drawn.choice(NAMES), 1 if phone else drawn.randint(1, 5))


def _line(drawn: random.Random, quantity: int, tier: int) -> TierLine:
    unit = drawn.choice([1_000_000, 2_500_000, 333_333, 10]) * (4 - tier)
    return TierLine(unit, unit * quantity, TaxRate("VAT", 190_000), unit * quantity // 5)


_PHONE = text("""
    INSERT INTO orders (root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name,
                        payer_email, payment_method, currency, total_micros, charge_lease_until, created_at, paid_at,
                        cloud_phone_id, cloud_phone_name, powered_up_at, powered_down_at, fee_count)
    VALUES (:root_id, :id, :number, :state, 'CLOUD_PHONE', :organization_id, :seller_id, 's', :payer_name, 'e',
            'BALANCE', :currency, :total, :created_at, :created_at, :paid_at, :phone_id, 'Pixel',
            :created_at, :down, :fee_count)
""")
_ITEM = text("""
    INSERT INTO order_items (root_id, order_id, position, organization_id, product_id, product_name, sku_id,
                             sku_code, sku_name, unit, contents, quantity, proxies)
    VALUES (:root_id, :id, 1, :organization_id, :sku_id, :name, :sku_id, 'code', '30 days', 'piece', '{}', 1, '[]')
""")
_FEE = text("""
    INSERT INTO order_fees (root_id, id, order_id, organization_id, period_from, period_to, transaction_id, charged_at)
    VALUES (:root_id, :fee_id, :id, :organization_id, :created_at, :created_at, :fee_id, :created_at)
""")
_FEE_TIER = text("""
    INSERT INTO order_fee_tiers (root_id, fee_id, order_id, tier, buyer_id, seller_id, net_micros, tax_micros)
    VALUES (:root_id, :fee_id, :id, :tier, :buyer_id, :seller_id, :net, :tax)
""")
_STATE = text("""
    UPDATE orders SET state = :state, transaction_id = :transaction_id, paid_at = :paid_at, canceled_at = :canceled_at,
           cancel_cause = :cause, canceled_by = 'Zoe', cancel_note = :note, refunded_micros = :refunded
    WHERE root_id = :root_id AND id = :id
""")
_REFUND = text("""
    INSERT INTO refunds (root_id, id, order_id, organization_id, state, reason, created_by_name, transaction_id,
                         posted_at, lease_until, created_at)
    VALUES (:root_id, :refund_id, :id, :organization_id, 'POSTED', 'r', 'n', :refund_id, :created_at, :created_at,
            :created_at)
""")
_REFUND_LINE = text("""
    INSERT INTO refund_line_tiers (root_id, refund_id, order_id, tier, position, quantity, buyer_id, seller_id,
                                   net_micros, tax_micros)
    VALUES (:root_id, :refund_id, :id, :tier, :position, 0, :buyer_id, :seller_id, :net, :tax)
""")


async def add(shelf: Shelf, order: Order, drawn: random.Random) -> Order:
    """Writes the order, and its refunds where it has some."""
    whole = order.state is OrderState.REFUNDED
    if whole or order.state is OrderState.PARTLY_REFUNDED:
        order = replace(order, tiers=tuple(_given_back(tier, 1 if whole else 3) for tier in order.tiers))
    back = sum(line.refunded_micros for line in order.own_tier.lines)
    row: dict[str, object] = {
        "root_id": order.root_id,
        "id": order.id,
        "organization_id": order.organization_id,
        "created_at": order.created_at,
        "state": order.state.value,
        "paid_at": order.paid_at,
    }
    async with shelf.database.transaction(EVERYTHING) as connection:
        if order.phone is not None:
            phone = {
                **row,
                "number": order.number,
                "seller_id": order.seller_id,
                "payer_name": order.payer.name,
                "currency": order.currency,
                "total": order.own_tier.gross_micros,
                "phone_id": order.phone.id,
                "down": order.phone.powered_down_at,
                "fee_count": order.phone.fee_count,
                "sku_id": new_id(),
                "name": order.items[0].product_name,
                "fee_id": new_id(),
            }
            await connection.execute(_PHONE, _of(phone, _PHONE))
            await connection.execute(_ITEM, _of(phone, _ITEM))
            if order.phone.fee_count:
                await connection.execute(_FEE, _of(phone, _FEE))
            for tier in order.tiers if order.phone.fee_count else ():
                legs = {"tier": tier.number, "buyer_id": tier.buyer_id, "seller_id": tier.seller_id}
                amounts = {"net": tier.net_micros, "tax": tier.tax_micros}
                await connection.execute(_FEE_TIER, _of({**phone, **legs, **amounts}, _FEE_TIER))
            await names.add_search(connection, order)
        else:
            pending = replace(order, state=OrderState.PENDING_PAYMENT)
            assert await orders.add_order(connection, pending, timedelta(hours=1))
            finished = {
                **row,
                "transaction_id": order.transaction_id,
                "canceled_at": order.canceled_at,
                "cause": order.cancellation and order.cancellation.cause.value,
                "note": order.cancellation.note if order.cancellation else "",
                "refunded": back,
            }
            if back:
                await _write_refund(connection, order, row)
            await connection.execute(_STATE, _of(finished, _STATE))
    shelf.refunded_micros[order.id] = back
    shelf.orders.append(order)
    return order


def _given_back(tier: Tier, part: int) -> Tier:
    lines = (
        replace(
            line,
            refunded_net_micros=line.net_micros // part,
            refunded_tax_micros=line.tax_micros // part,
        )
        for line in tier.lines
    )
    return replace(tier, lines=tuple(lines))


async def _write_refund(connection: object, order: Order, row: dict[str, object]) -> None:
    refund = {**row, "refund_id": new_id()}
    await connection.execute(_REFUND, _of(refund, _REFUND))  # type: ignore[attr-defined]
    for tier in order.tiers:
        for position, line in enumerate(tier.lines, start=1):
            leg = {
                **refund,
                "tier": tier.number,
                "position": position,
                "buyer_id": tier.buyer_id,
                "seller_id": tier.seller_id,
                "net": line.refunded_net_micros,
                "tax": line.refunded_tax_micros,
            }
            await connection.execute(_REFUND_LINE, _of(leg, _REFUND_LINE))  # type: ignore[attr-defined]


def _of(row: dict[str, object], query: object) -> dict[str, object]:
    wanted: Iterable[str] = query._bindparams  # type: ignore[attr-defined]
    return {name: row[name] for name in wanted}


# -- filters ---------------------------------------------------------------------------------------------------------

DIMENSIONS = (
    "organization_id",
    "seller_id",
    "types",
    "states",
    "payment_methods",
    "created_from",
    "created_to",
    "product_names",
    "order_number",
    "cloud_phone_id",
    "search",
)


def draw_filter(shelf: Shelf, drawn: random.Random, dimensions: Sequence[str]) -> OrderFilter:
    """Values that often leave something: those of an order that is there."""
    like = drawn.choice(shelf.orders)
    values: dict[str, object] = {
        "organization_id": like.organization_id,
        "seller_id": like.seller_id,
        "types": frozenset({like.type, drawn.choice(list(ProductType))}),
        "states": frozenset({like.state, drawn.choice(list(OrderState))}),
        "payment_methods": frozenset({like.payment_method, drawn.choice(list(PaymentMethod))}),
        "created_from": like.created_at - timedelta(hours=drawn.randrange(20)),
        "created_to": like.created_at + timedelta(hours=drawn.randrange(20)),
        "product_names": tuple(_part(like, drawn) for _ in range(drawn.randint(1, 3))),
        "order_number": _beginning(like, drawn),
        "cloud_phone_id": like.phone.id if like.phone else f"phone-{drawn.randrange(8)}",
        "search": drawn.choice([_part(like, drawn), _beginning(like, drawn)]),
    }
    return replace(OrderFilter(), **{name: values[name] for name in dimensions})  # type: ignore[arg-type]


def _part(order: Order, drawn: random.Random) -> str:
    name = drawn.choice(order.items).product_name
    length = drawn.choice([1, 2, 3, 5, len(name)])
    start = drawn.randrange(max(len(name) - length, 0) + 1)
    part = name[start : start + length]
    return drawn.choice([part, part.upper(), part.lower(), part, "%", "_", "no such name"]) or "a"


def _beginning(order: Order, drawn: random.Random) -> str:
    begun = order.number[: drawn.randint(1, len(order.number))]
    return drawn.choice([begun, begun.lower(), begun.replace("-", " "), begun.replace("-", ""), begun[:2] + "O"])


def timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message

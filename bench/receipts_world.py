"""The purchases whose receipts are drawn: a package and two proxies each, from a partner with colours of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from directory.convert import organization_to_message
from directory.domain import BillingAddress, Member, Organization, Role
from farthing.orders.events.v1.events_pb2 import OrderCompleted, OrdersEvent
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, WalletEvent
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from servicekit.ids import new_id

PAID_AT = datetime(2026, 11, 23, 9, 14, 37, tzinfo=UTC)
_PLATFORM_ID, _PARTNER_ID, _CUSTOMER_ID = UUID(int=1), UUID(int=2), UUID(int=3)
_ITEMS = (
    ("Cloud Phone Business", "12 months", 83_880_000, ("5 cloud phones", "1,200 running hours", "Priority support")),
    ("Residential proxy", "Frankfurt", 12_450_000, ()),
    ("Residential proxy", "Amsterdam", 11_990_000, ()),
)
_TAX_PERCENT = 19

PLATFORM = Organization(
    id=_PLATFORM_ID,
    root_id=_PLATFORM_ID,
    parent_id=None,
    ancestor_ids=(),
    name="Platform",
    domain="platform.example",
    currency="EUR",
    language="en",
    created_at=PAID_AT,
)
PARTNER = replace(
    PLATFORM,
    id=_PARTNER_ID,
    root_id=_PARTNER_ID,
    parent_id=_PLATFORM_ID,
    ancestor_ids=(_PLATFORM_ID,),
    name="Meridian Cloud Services",
    domain="meridian.example",
    billing_address=BillingAddress(("Unter den Linden 21",), "10117", "Berlin", "DE"),
    tax_id="DE 298 114 203",
    primary_color="#0b6e5f",
    accent_color="#f2a541",
)
CUSTOMER = replace(
    PLATFORM,
    id=_CUSTOMER_ID,
    root_id=_PARTNER_ID,
    parent_id=_PARTNER_ID,
    ancestor_ids=(_PARTNER_ID, _PLATFORM_ID),
    name="Northwind Studio GmbH",
    domain="northwind.example",
    billing_address=BillingAddress(("Lange Reihe 14",), "20099", "Hamburg", "DE"),
    members=(Member(UUID(int=4), "Clara Neumann", "clara@northwind.example", Role.BOSS),),
)


def organization_events() -> list[WalletEvent]:
    """What wallet says of the three."""
    return [
        WalletEvent(organization_created=OrganizationCreated(organization=organization_to_message(each)))
        for each in (PLATFORM, PARTNER, CUSTOMER)
    ]


def purchase() -> OrdersEvent:
    """A paid order of the customer, another one each time."""
    paid_at = Timestamp()
    paid_at.FromDatetime(PAID_AT)
    items = [_item(*each) for each in _ITEMS]
    net = sum(_micros(item.net) for item in items)
    tax = sum(_micros(item.tax) for item in items)
    order_id = new_id()
    order = orders_pb2.Order(
        id=str(order_id),
        number=f"FA-{order_id.hex[-8:].upper()}",
        state=orders_pb2.Order.STATE_COMPLETED,
        organization_id=str(_CUSTOMER_ID),
        seller_id=str(_PARTNER_ID),
        paying_user_name="Clara Neumann",
        paying_user_email="clara@northwind.example",
        payment_method=orders_pb2.PAYMENT_METHOD_BALANCE,
        items=items,
        net=_eur(net),
        tax=_eur(tax),
        total=_eur(net + tax),
        transaction_id=str(new_id()),
        created_at=paid_at,
        paid_at=paid_at,
    )
    return OrdersEvent(order_completed=OrderCompleted(root_id=str(_PARTNER_ID), order=order))


def _item(product: str, sku: str, price_micros: int, contents: tuple[str, ...]) -> orders_pb2.OrderItem:
    item = orders_pb2.OrderItem(
        sku_id=str(new_id()),
        product_name=product,
        sku_name=sku,
        quantity=1,
        unit_price=_eur(price_micros),
        net=_eur(price_micros),
        tax_name="VAT",
        tax_rate_ppm=_TAX_PERCENT * 10_000,
        tax=_eur(price_micros * _TAX_PERCENT // 100),
        contents=contents,
    )
    if not contents:
        expires_at = Timestamp()
        expires_at.FromDatetime(PAID_AT.replace(year=PAID_AT.year + 1))
        item.proxies.add(address="192.0.2.7", port=8080, location=sku, expires_at=expires_at)
    return item


def _eur(micros: int) -> Money:
    return Money(currency_code="EUR", units=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)


def _micros(money: Money) -> int:
    return money.units * 1_000_000 + money.nanos // 1000

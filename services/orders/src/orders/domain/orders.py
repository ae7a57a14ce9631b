"""An order, its states, and who may see what of it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orders.domain.catalogue import ProductType, Sku
from orders.domain.pricing import Tier

LONGEST_CHAIN = 16
"""Tiers that one charge can have (farthing.wallet.v1.Charge)."""
_ITEM_LENGTH = 200


class OrderState(StrEnum):
    """Where an order stands (mission A7)."""

    PENDING_PAYMENT = "PENDING_PAYMENT"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED = "REFUNDED"
    RUNNING = "RUNNING"


class PaymentMethod(StrEnum):
    """How an order is paid: from the balance, or from outside."""

    BALANCE = "BALANCE"
    BANK_TRANSFER = "BANK_TRANSFER"
    PROVIDER = "PROVIDER"
    SANDBOX = "SANDBOX"


_NEXT = {
    OrderState.PENDING_PAYMENT: frozenset({OrderState.COMPLETED, OrderState.CANCELED}),
    OrderState.COMPLETED: frozenset({OrderState.PARTLY_REFUNDED, OrderState.REFUNDED}),
    OrderState.CANCELED: frozenset[OrderState](),
    OrderState.PARTLY_REFUNDED: frozenset({OrderState.PARTLY_REFUNDED, OrderState.REFUNDED}),
    OrderState.REFUNDED: frozenset[OrderState](),
    OrderState.RUNNING: frozenset({OrderState.COMPLETED}),
}
PAID = frozenset({OrderState.COMPLETED, OrderState.PARTLY_REFUNDED, OrderState.REFUNDED})
"""Charged, whatever was given back later."""


class OrderStateError(ValueError):
    """A step that the order's state does not allow."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that was set aside for an order. `address` is a host name or an IP address."""

    address: str
    port: int
    location: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OrderItem:
    """A line of an order; names are as they were at the purchase. What it costs stands in the order's tiers."""

    sku: Sku
    product_name: str
    quantity: int
    proxies: tuple[Proxy, ...] = ()


@dataclass(frozen=True, slots=True)
class Payer:
    """The person who placed the order; `subject` is the token's."""

    subject: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the wallet refused the charge. Names any wallet of the chain: not for every eye."""

    reason: str
    message: str = ""
    organization_id: UUID | None = None
    wallet_id: UUID | None = None
    available_micros: int = 0
    needed_micros: int = 0


class CancelCause(StrEnum):
    """What ended an order that wallet did not refuse to charge."""

    PURCHASER = "PURCHASER"
    SELLER = "SELLER"
    SERVICE = "SERVICE"
    NOT_PAID = "NOT_PAID"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    PAYMENT_NOT_OFFERED = "PAYMENT_NOT_OFFERED"


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Why an order was canceled, for every reader.

    `person_name` is who called it off, told of the purchaser's people alone. `note` is as that person, or wallet, put
    it. `payment_failure` is a number of farthing.wallet.v1.TopUpFailure, which goes on to readers as it is.
    """

    cause: CancelCause
    person_name: str = ""
    note: str = ""
    payment_failure: int = 0


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment from outside: a top-up earmarked for the order.

    `token` goes to wallet's sandbox. `hold_id` is what sets aside the `received_micros` that arrived, in wallet;
    `kept_at` is when it was told that they stay on the balance, `top_up_ended_at` when wallet was told that nobody is
    to pay the canceled order any more.
    """

    due_at: datetime
    token: str = ""
    top_up_id: UUID | None = None
    checkout_url: str = ""
    received_at: datetime | None = None
    received_micros: int = 0
    hold_id: UUID | None = None
    kept_at: datetime | None = None
    top_up_ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CloudPhone:
    """A cloud phone's time between power-up and power-down; `fee_count` fees so far."""

    id: str
    name: str
    powered_up_at: datetime
    powered_down_at: datetime | None = None
    fee_count: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What was bought, by whom, and what became of it.

    `tiers` run from the purchaser up; a reader may hold fewer than there are, since nobody sees its seller's. Those of
    a cloud phone are the sums of its fees, as one line. `cancellation` says why it was canceled where wallet's
    refusal of the charge does not.
    """

    root_id: UUID
    id: UUID
    number: str
    state: OrderState
    type: ProductType
    organization_id: UUID
    seller_id: UUID
    payer: Payer
    currency: str
    items: tuple[OrderItem, ...]
    tiers: tuple[Tier, ...]
    created_at: datetime
    transaction_id: UUID | None = None
    paid_at: datetime | None = None
    canceled_at: datetime | None = None
    refusal: Refusal | None = None
    payment_method: PaymentMethod = PaymentMethod.BALANCE
    payment: Payment | None = None
    phone: CloudPhone | None = None
    cancellation: Cancellation | None = None

    @property
    def own_tier(self) -> Tier:
        """What the purchaser pays."""
        return self.tiers[0]

    @property
    def final(self) -> bool:
        """True where it waits for no payment any more."""
        return self.state in PAID or self.state is OrderState.CANCELED


def complete(order: Order, transaction_id: UUID, paid_at: datetime) -> Order:
    """The order, paid by `transaction_id`. Raises OrderStateError unless it waits for its payment."""
    return replace(_moved(order, OrderState.COMPLETED), transaction_id=transaction_id, paid_at=paid_at)


def cancel(order: Order, refusal: Refusal, canceled_at: datetime, cancellation: Cancellation | None = None) -> Order:
    """The order, not to be paid; `cancellation` says why, where it was not the charge that was refused.

    Raises OrderStateError unless it waits for its payment.
    """
    moved = _moved(order, OrderState.CANCELED)
    return replace(moved, refusal=refusal, canceled_at=canceled_at, cancellation=cancellation)


def _moved(order: Order, state: OrderState) -> Order:
    if state not in _NEXT[order.state]:
        raise OrderStateError(f"order {order.number} is {order.state} and cannot become {state}")
    return replace(order, state=state)


def charge_item(items: Iterable[OrderItem]) -> str:
    """What the wallet's line says the order was for: its products, each once, in their order."""
    text = ", ".join(dict.fromkeys(item.product_name for item in items))
    return text if len(text) <= _ITEM_LENGTH else text[: _ITEM_LENGTH - 1] + "…"


def as_seen_by_purchaser(order: Order) -> Order:
    """The order without what is not its purchaser's to see: the tiers above its own, and any other's wallet."""
    return replace(order, tiers=order.tiers[:1], refusal=_refusal_for_purchaser(order))


def with_refusal_for_purchaser(order: Order) -> Order:
    """The order with all of its tiers, but no wallet named other than the purchaser's."""
    return replace(order, refusal=_refusal_for_purchaser(order))


def _refusal_for_purchaser(order: Order) -> Refusal | None:
    refusal = order.refusal
    if refusal is None or refusal.organization_id == order.organization_id:
        return refusal
    return Refusal(refusal.reason)


@dataclass(frozen=True, slots=True)
class Margin:
    """A seller's side of an order, net of tax and refunds."""

    revenue_micros: int
    cost_micros: int


def margin_of(order: Order, viewer_id: UUID | None) -> Margin | None:
    """What `viewer_id` makes of the order as a seller; None where it sells none of it."""
    selling = next((tier for tier in order.tiers if viewer_id is not None and tier.seller_id == viewer_id), None)
    if selling is None:
        return None
    buying = next((tier for tier in order.tiers if tier.buyer_id == viewer_id), None)
    # The platform buys from nobody.
    cost = 0 if buying is None else buying.net_micros - buying.refunded_net_micros
    return Margin(selling.net_micros - selling.refunded_net_micros, cost)

"""What a refund gives back, line by line and tier by tier: never above what was paid, and in the end exactly that.

A refund of a line is so much of its gross at the purchaser's tier. At every tier the refunded net and tax are, of the
whole, in the proportion of all that was given back of the line so far, rounded half to even; one refund is the
difference to the refunds before it. So refunds in any number and order end at the whole, to the micro.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orders.domain.catalogue import ProductType
from orders.domain.orders import PAID, Order, OrderState, OrderStateError
from orders.domain.pricing import Tier, TierLine


class RefundState(StrEnum):
    """Where a refund stands."""

    PENDING = "PENDING"
    POSTED = "POSTED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to give back of the line at `position` (from 1 on): so many units, so much, or all that is left."""

    position: int
    quantity: int = 0
    amount_micros: int = 0


@dataclass(frozen=True, slots=True)
class RefundedLine:
    """What one buyer gets back of one line. `quantity` is 0 where an amount was named."""

    tier: int
    position: int
    quantity: int
    buyer_id: UUID
    seller_id: UUID
    net_micros: int
    tax_micros: int


@dataclass(frozen=True, slots=True)
class Refund:
    """Something given back of an order. `lines` are ordered by tier, then position; a reader may hold fewer tiers.

    `refusal_reason` is wallet's, a name of farthing.errors.v1.ErrorReason without its prefix.
    """

    root_id: UUID
    id: UUID
    order_id: UUID
    organization_id: UUID
    state: RefundState
    reason: str
    created_by_name: str
    created_at: datetime
    lines: tuple[RefundedLine, ...]
    transaction_id: UUID | None = None
    posted_at: datetime | None = None
    refusal_reason: str = ""

    @property
    def own_lines(self) -> tuple[RefundedLine, ...]:
        """What the purchaser gets back."""
        return tuple(line for line in self.lines if line.tier == 1)


class NoSuchLine(ValueError):  # noqa: N818 - reads as what it is
    """The order has no line at that position."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the order has no line {position}")
        self.position = position


class NothingToRefund(ValueError):  # noqa: N818
    """Nothing is left to give back of what was named."""


class RefundTooLarge(ValueError):  # noqa: N818
    """More than is left of the line: `left_micros`, or `left_quantity` units."""

    def __init__(self, position: int, left_micros: int, left_quantity: int) -> None:
        super().__init__(f"of line {position} less is left than this refund would give back")
        self.position, self.left_micros, self.left_quantity = position, left_micros, left_quantity


def check_refundable(order: Order) -> None:
    """OrderStateError, in words for people, unless lines of the order may be given back."""
    if order.type is ProductType.CLOUD_PHONE:
        raise OrderStateError(f"Order {order.number} is a cloud phone's; its running fees are not refunded by lines.")
    if order.state not in PAID:
        raise OrderStateError(f"Order {order.number} is not paid; there is nothing to give back.")


def plan_refund(order: Order, wishes: Sequence[Wish]) -> tuple[RefundedLine, ...]:
    """What is given back at every tier; no wishes: all that is left of every line. Needs all tiers.

    Raises OrderStateError, NoSuchLine, NothingToRefund and RefundTooLarge.
    """
    check_refundable(order)
    lines = order.own_tier.lines
    if not wishes:
        wishes = [Wish(position) for position, line in enumerate(lines, start=1) if _left(line)]
    grosses: dict[int, tuple[int, int]] = {}
    for wish in wishes:
        if not 1 <= wish.position <= len(lines):
            raise NoSuchLine(wish.position)
        quantity = order.items[wish.position - 1].quantity
        grosses[wish.position] = _wanted(wish, lines[wish.position - 1], quantity)
    if not grosses:
        raise NothingToRefund("nothing is left to give back of this order")
    if all(_left(line) == grosses.get(position, (0, 0))[0] for position, line in enumerate(lines, start=1)):
        # What cost the purchaser nothing, but its sellers something, goes back with the last of the order.
        free = {position: (0, 0) for position, line in enumerate(lines, start=1) if not line.gross_micros}
        grosses = {**free, **grosses}
    return tuple(
        _given_back(tier, position, gross, quantity, lines[position - 1])
        for tier in order.tiers
        for position, (gross, quantity) in sorted(grosses.items())
    )


def with_refund(order: Order, lines: Iterable[RefundedLine]) -> Order:
    """The order after a refund that is posted. Needs the same tiers as the refund has."""
    check_refundable(order)
    back = {(line.tier, line.position): line for line in lines}
    tiers = tuple(replace(tier, lines=tuple(_lines_after(tier, back))) for tier in order.tiers)
    whole = tiers[0].refunded_micros == tiers[0].gross_micros
    return replace(order, tiers=tiers, state=OrderState.REFUNDED if whole else OrderState.PARTLY_REFUNDED)


def refusal_text(reason: str) -> str:
    """Why wallet refused a refund, in words that name nobody's wallet; empty where it did not."""
    match reason:
        case "":
            return ""
        case "INSUFFICIENT_CREDIT":
            return (
                "A seller of this order has spent what it earned by it, so it cannot be taken back now. "
                "Nothing was given back; try again when its balance allows it."
            )
        case "REFUND_EXCEEDS_CHARGE":
            return "The ledger has less left to give back of this purchase. Nothing was given back."
        case "WALLET_UNKNOWN":
            return "A wallet that this order was paid from is closed. Nothing was given back."
        case _:
            return "The ledger does not take this purchase back. Nothing was given back."


def _left(line: TierLine) -> int:
    return line.gross_micros - line.refunded_micros


def _wanted(wish: Wish, line: TierLine, quantity: int) -> tuple[int, int]:
    """The gross to give back of the purchaser's line, and the units that it stands for."""
    left, left_quantity = _left(line), quantity - line.refunded_quantity
    if not left:
        raise NothingToRefund(f"nothing is left to give back of line {wish.position}")
    if wish.amount_micros:
        wanted, units = wish.amount_micros, 0
    elif wish.quantity:
        # Of all units given back as such, so that one by one they come to the whole.
        before, after = line.refunded_quantity, line.refunded_quantity + wish.quantity
        wanted = _share(line.gross_micros, after, quantity) - _share(line.gross_micros, before, quantity)
        units = wish.quantity
        if units == left_quantity:
            # Amounts that were given back before are part of the last units.
            wanted = min(wanted, left)
    else:
        wanted, units = left, left_quantity
    if wanted > left or units > left_quantity:
        raise RefundTooLarge(wish.position, left, left_quantity)
    if not wanted:
        raise NothingToRefund(f"{units} of line {wish.position} cost less than can be counted")
    return wanted, units


def _given_back(tier: Tier, position: int, gross: int, quantity: int, own: TierLine) -> RefundedLine:
    """`own` is the purchaser's line; `gross` is given back of it."""
    line = tier.lines[position - 1]
    so_far = own.refunded_micros + gross
    # A line that is free for the purchaser goes back whole.
    part, whole = (so_far, own.gross_micros) if own.gross_micros else (1, 1)
    net = _share(line.net_micros, part, whole) - line.refunded_net_micros
    # Of the purchaser's own line the two must come to `gross`, whichever way each is rounded.
    tax = gross - net if tier.number == 1 else _share(line.tax_micros, part, whole) - line.refunded_tax_micros
    return RefundedLine(tier.number, position, quantity, tier.buyer_id, tier.seller_id, net, tax)


def _lines_after(tier: Tier, back: dict[tuple[int, int], RefundedLine]) -> Iterable[TierLine]:
    for position, line in enumerate(tier.lines, start=1):
        given = back.get((tier.number, position))
        if given is None:
            yield line
            continue
        yield replace(
            line,
            refunded_net_micros=line.refunded_net_micros + given.net_micros,
            refunded_tax_micros=line.refunded_tax_micros + given.tax_micros,
            refunded_quantity=line.refunded_quantity + given.quantity,
        )


def _share(total: int, part: int, whole: int) -> int:
    """total * part / whole, rounded half to even."""
    quotient, rest = divmod(total * part, whole)
    return quotient + (rest * 2 > whole or (rest * 2 == whole and quotient % 2 == 1))

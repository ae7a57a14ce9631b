"""Cloud phones: an order that collects fees while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from money import MoneyError, check_micros

from orders.domain.numbers import day_of_number
from orders.domain.orders import LONGEST_CHAIN, Order, OrderState
from orders.domain.pricing import Tier

# The root of each organization; None for the platform, which is in none.
Roots = Mapping[UUID, UUID | None]


@dataclass(frozen=True, slots=True)
class RunningFee:
    """What a phone cost over [period_from, period_to), charged already.

    `tiers` run from the purchaser up, one line each; a reader may hold fewer than there are.
    """

    id: UUID
    period_from: datetime
    period_to: datetime
    tiers: tuple[Tier, ...]
    transaction_id: UUID
    charged_at: datetime

    @property
    def seller_ids(self) -> list[UUID]:
        """Of its tiers, from the purchaser's up."""
        return [tier.seller_id for tier in self.tiers]


class PhoneMismatchError(ValueError):
    """An event that does not belong to the order it names, or cannot be."""


def check_session(order: Order, session: Order) -> None:
    """PhoneMismatchError unless the order here is the one that an event's session opens, with a number of its day."""
    same = (
        order.phone is not None
        and session.phone is not None
        and order.phone.id == session.phone.id
        and (order.organization_id, order.seller_id) == (session.organization_id, session.seller_id)
        and (order.number, order.currency) == (session.number, session.currency)
    )
    if not same:
        raise PhoneMismatchError(f"order {order.number} is not the session of cloud phone that the event tells of")
    if not session.number.startswith(day_of_number(session.created_at)):
        raise PhoneMismatchError(f"order_number '{session.number}' is not of the day the phone was powered up")


def check_purchaser(session: Order, roots: Roots) -> None:
    """PhoneMismatchError unless the purchaser is in the session's root, and its seller there too or the platform."""
    if roots[session.organization_id] != session.root_id:
        raise PhoneMismatchError(
            f"root_id '{session.root_id}' is not the root of organization_id '{session.organization_id}'"
        )
    if session.seller_id == session.organization_id or roots[session.seller_id] not in (session.root_id, None):
        raise PhoneMismatchError(f"seller_id '{session.seller_id}' cannot sell to '{session.organization_id}'")


def check_numbers(fee: RunningFee) -> None:
    """PhoneMismatchError unless the fee's period, number of tiers and amounts are ones that can be."""
    if fee.period_to < fee.period_from:
        raise PhoneMismatchError(
            f"period_to {fee.period_to.isoformat()} is before period_from {fee.period_from.isoformat()} of fee {fee.id}"
        )
    if len(fee.tiers) > LONGEST_CHAIN:
        raise PhoneMismatchError(f"fee {fee.id} has {len(fee.tiers)} tiers; it has at most {LONGEST_CHAIN}")
    for tier in fee.tiers:
        for field, micros in (("net_micros", tier.net_micros), ("tax_micros", tier.tax_micros)):
            if micros < 0:
                raise PhoneMismatchError(f"{field} {micros} in tier {tier.number} of fee {fee.id} is below zero")
        try:
            check_micros(tier.gross_micros)
        except MoneyError as error:
            raise PhoneMismatchError(
                f"net_micros and tax_micros in tier {tier.number} of fee {fee.id} together: {error}"
            ) from None


def check_fee(order: Order, fee: RunningFee) -> None:
    """PhoneMismatchError unless the tiers chain from the order's purchaser up: each one's seller buys in the next."""
    first = fee.tiers[0] if fee.tiers else None
    if first is None or (first.buyer_id, first.seller_id) != (order.organization_id, order.seller_id):
        raise PhoneMismatchError(f"fee {fee.id} is not paid by the purchaser of order {order.number} to its seller")
    for below, above in pairwise(fee.tiers):
        if above.buyer_id != below.seller_id:
            raise PhoneMismatchError(
                f"buyer_id '{above.buyer_id}' in tier {above.number} of fee {fee.id} is not the seller below it"
            )
    if len({order.organization_id, *fee.seller_ids}) <= len(fee.tiers):
        raise PhoneMismatchError(f"an organization is twice in the tiers of fee {fee.id}")


def check_sellers(order: Order, fee: RunningFee, roots: Roots) -> None:
    """PhoneMismatchError unless all sellers of the fee's tiers are in the order's root, and the platform is the last.

    They need not be the purchaser's ancestors of today: it may have moved within its root since.
    """
    for tier in fee.tiers[:-1]:
        if roots[tier.seller_id] != order.root_id:
            raise PhoneMismatchError(
                f"seller_id '{tier.seller_id}' in tier {tier.number} of fee {fee.id} is not of root '{order.root_id}'"
            )
    last = fee.tiers[-1].seller_id
    if roots[last] is not None:
        raise PhoneMismatchError(f"seller_id '{last}' in the last tier of fee {fee.id} is not the platform")


def power_down(order: Order, at: datetime) -> Order:
    """The order, completed; as it is where it was already. PhoneMismatchError for an end before its beginning."""
    if order.phone is not None and at < order.phone.powered_up_at:
        raise PhoneMismatchError(
            f"powered_down_at {at.isoformat()} is before powered_up_at {order.phone.powered_up_at.isoformat()}"
        )
    if order.phone is None or order.state is not OrderState.RUNNING:
        return order
    return replace(order, state=OrderState.COMPLETED, paid_at=at, phone=replace(order.phone, powered_down_at=at))

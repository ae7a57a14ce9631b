"""Given an order, then it is completed or canceled once, and says no more about a refusal than its reader may know."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders.domain.cancellations import CANNOT_SELL, told_reason, told_text
from orders.domain.catalogue import ProductType, Sku
from orders.domain.orders import (
    Order,
    OrderItem,
    OrderState,
    OrderStateError,
    Payer,
    Refusal,
    as_seen_by_purchaser,
    cancel,
    charge_item,
    complete,
    with_refusal_for_purchaser,
)
from orders.domain.pricing import NO_TAX, Tier, TierLine

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
BUYER, SELLER, PLATFORM = uuid4(), uuid4(), uuid4()
SKU = Sku(uuid4(), uuid4(), "proxy-us-30d", "30 days", "proxy")
LINE = TierLine(1_000_000, 1_000_000, NO_TAX, 0)
PENDING = Order(
    root_id=SELLER,
    id=uuid4(),
    number="FA-261123-00000000",
    state=OrderState.PENDING_PAYMENT,
    type=ProductType.PROXY,
    organization_id=BUYER,
    seller_id=SELLER,
    payer=Payer("ann", "Ann", "ann@customer.example"),
    currency="EUR",
    items=(OrderItem(SKU, "US proxies", 1),),
    tiers=(Tier(1, BUYER, SELLER, (LINE,)), Tier(2, SELLER, PLATFORM, (LINE,))),
    created_at=AT,
)
WALLET = uuid4()


def lacking(organization_id: UUID) -> Refusal:
    return Refusal("INSUFFICIENT_CREDIT", "SECRET", organization_id, WALLET, 7_770_000, 9_990_000)


@given(st.lists(st.sampled_from(["complete", "cancel"]), min_size=1, max_size=5))
def test_only_the_first_step_counts(steps: list[str]) -> None:
    """Given any series of answers, when applied, then the first moves the order and all others are refused."""
    order = PENDING
    for number, step in enumerate(steps):
        try:
            order = complete(order, uuid4(), AT) if step == "complete" else cancel(order, lacking(BUYER), AT)
        except OrderStateError as error:
            assert number > 0
            assert order.number in str(error)
        else:
            assert number == 0
    assert order.final
    assert order.state is (OrderState.COMPLETED if steps[0] == "complete" else OrderState.CANCELED)
    assert (order.transaction_id is None, order.refusal is None) == (
        order.state is OrderState.CANCELED,
        order.state is OrderState.COMPLETED,
    )


def test_the_purchasers_own_wallet_is_told_with_figures() -> None:
    """Given a purchaser without credit, when told, then it learns its own figures."""
    order = as_seen_by_purchaser(cancel(PENDING, lacking(BUYER), AT))
    assert order.refusal is not None
    assert told_reason(order.refusal) == "INSUFFICIENT_CREDIT"
    text = told_text(order, order.refusal, BUYER)
    assert "Your wallet" in text
    assert "€9.99 needed" in text
    assert "€7.77 available" in text


@pytest.mark.parametrize("reason", ["INSUFFICIENT_CREDIT", "WALLET_UNKNOWN", "AMOUNT_OUT_OF_RANGE", "whatever"])
def test_another_wallet_is_not_told_at_all(reason: str) -> None:
    """Given a reseller whose wallet stands in the way, when the purchaser is told, then no figure, name or id leaks."""
    canceled = cancel(PENDING, replace(lacking(SELLER), reason=reason), AT)
    for order in (as_seen_by_purchaser(canceled), with_refusal_for_purchaser(canceled)):
        assert order.refusal is not None
        assert told_reason(order.refusal) == "SELLER_CANNOT_SELL"
        assert told_text(order, order.refusal, BUYER) == CANNOT_SELL
        for secret in ("7770000", "9990000", str(WALLET), str(SELLER), "SECRET"):
            assert secret not in repr(order.refusal)


def test_the_reseller_itself_is_told() -> None:
    """Given a reseller who reads its customer's order that its own wallet refused, then it learns its figures."""
    canceled = cancel(PENDING, lacking(SELLER), AT)
    assert canceled.refusal is not None
    assert told_text(canceled, canceled.refusal, SELLER).startswith("Your wallet lacks credit: €9.99 needed")
    assert told_text(canceled, canceled.refusal, PLATFORM).startswith("A reseller's wallet lacks credit")
    own = cancel(PENDING, lacking(BUYER), AT)
    assert told_text(own, lacking(BUYER), SELLER).startswith("The purchaser's wallet lacks credit")


def test_the_purchaser_sees_no_tier_above_its_own() -> None:
    """Given an order of two tiers, when its purchaser sees it, then only its own tier is left."""
    assert [tier.number for tier in as_seen_by_purchaser(PENDING).tiers] == [1]
    assert [tier.number for tier in with_refusal_for_purchaser(PENDING).tiers] == [1, 2]


def test_the_wallets_line_names_each_product_once() -> None:
    """Given items of one product and of many, when named for the wallet, then each once, and not without end."""
    us, de = OrderItem(SKU, "US proxies", 1), OrderItem(SKU, "DE proxies", 1)
    assert charge_item([us, de, us]) == "US proxies, DE proxies"
    long = charge_item([OrderItem(SKU, f"Product {n:03}", 1) for n in range(100)])
    assert len(long) == 200
    assert long.endswith("…")

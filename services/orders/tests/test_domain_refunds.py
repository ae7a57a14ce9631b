"""Given refunds of a paid order in any number and order, then at every tier they come to no more than was paid."""

from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orders.domain.catalogue import ProductType
from orders.domain.orders import Order, OrderItem, OrderState, OrderStateError, complete
from orders.domain.pricing import TaxRate, Tier, TierLine
from orders.domain.refunds import (
    NoSuchLine,
    NothingToRefund,
    RefundTooLarge,
    Wish,
    plan_refund,
    refusal_text,
    with_refund,
)

from .test_domain_orders import AT, BUYER, PENDING, PLATFORM, SELLER, SKU

TAX = TaxRate("VAT", 190_000)
amounts = st.one_of(st.integers(0, 9), st.integers(0, 10**6), st.integers(0, 10**15))


def paid(quantities: list[int], *tiers: list[tuple[int, int]]) -> Order:
    """A completed order; each tier has (net, tax) of each line."""
    chain = [BUYER, *(uuid4() for _ in tiers[2:]), SELLER, PLATFORM]
    order = replace(
        PENDING,
        items=tuple(OrderItem(SKU, f"Product {number}", quantity) for number, quantity in enumerate(quantities, 1)),
        tiers=tuple(
            Tier(number, chain[number - 1], chain[number], tuple(TierLine(0, net, TAX, tax) for net, tax in lines))
            for number, lines in enumerate(tiers, 1)
        ),
    )
    return complete(order, uuid4(), AT)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    """Of one to three lines and one to three tiers; something of it costs the purchaser something."""
    quantities = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    tiers = draw(
        st.lists(
            st.lists(st.tuples(amounts, amounts), min_size=len(quantities), max_size=len(quantities)),
            min_size=1,
            max_size=3,
        ).filter(lambda tiers: any(net + tax for net, tax in tiers[0]))
    )
    return paid(quantities, *tiers)


@st.composite
def wishes(draw: st.DrawFn, order: Order) -> list[Wish]:
    positions = draw(st.lists(st.integers(1, len(order.items)), unique=True, max_size=len(order.items)))
    made = []
    for position in positions:
        left = order.own_tier.lines[position - 1].gross_micros
        way = draw(st.sampled_from(["units", "amount", "all"]))
        quantity = draw(st.integers(1, 7)) if way == "units" else 0
        amount = draw(st.integers(1, max(1, left))) if way == "amount" else 0
        made.append(Wish(position, quantity, amount))
    return made


@given(st.data())
def test_refunds_in_any_number_and_order_end_exactly_at_the_whole(data: st.DataObject) -> None:
    """Given any order, when refunded by units, amounts and lines in any order, and then all that is left, then no tier
    ever gives back more than it took, each refund is its lines' sum, and the end is exactly the whole."""
    order = data.draw(orders())
    for _ in range(data.draw(st.integers(0, 6))):
        order = refunded(order, data.draw(wishes(order)))
    for _ in range(2):
        order = refunded(order, [])
    assert order.state is OrderState.REFUNDED
    for tier in order.tiers:
        for line in tier.lines:
            assert (line.refunded_net_micros, line.refunded_tax_micros) == (line.net_micros, line.tax_micros)


def refunded(order: Order, wanted: list[Wish]) -> Order:
    """The order after the refund; as it was where that is refused. Checks what always holds."""
    before = order.own_tier.refunded_micros
    try:
        lines = plan_refund(order, wanted)
    except (NothingToRefund, RefundTooLarge):
        return order
    assert {line.tier for line in lines} == {tier.number for tier in order.tiers}, "wallet wants every tier"
    assert all(line.net_micros >= 0 and line.tax_micros >= 0 for line in lines)
    after = with_refund(order, lines)
    own = sum(line.net_micros + line.tax_micros for line in lines if line.tier == 1)
    assert own > 0
    assert after.own_tier.refunded_micros == before + own
    for wish in wanted:
        if wish.amount_micros:
            [line] = [line for line in lines if (line.tier, line.position) == (1, wish.position)]
            assert line.net_micros + line.tax_micros == wish.amount_micros
    for tier in after.tiers:
        for line in tier.lines:
            assert 0 <= line.refunded_net_micros <= line.net_micros
            assert 0 <= line.refunded_tax_micros <= line.tax_micros
    whole = after.own_tier.refunded_micros == after.own_tier.gross_micros
    assert after.state is (OrderState.REFUNDED if whole else OrderState.PARTLY_REFUNDED)
    return after


@given(st.integers(1, 50), amounts.filter(bool), amounts, st.randoms())
def test_unit_by_unit_comes_to_the_whole(quantity: int, net: int, tax: int, random: object) -> None:
    """Given a line of several units, when given back in pieces of any size, then the last of them ends at the whole."""
    order = paid([quantity], [(net, tax)], [(net // 2, tax // 3)])
    left = quantity
    while left:
        units = random.randint(1, left)  # type: ignore[attr-defined]
        left -= units
        try:
            order = with_refund(order, plan_refund(order, [Wish(1, units)]))
        except NothingToRefund:
            # So cheap that these units are not a micro; the last of the units would be, with them.
            return
    assert order.state is OrderState.REFUNDED
    assert order.tiers[1].refunded_micros == order.tiers[1].gross_micros


@given(st.data())
def test_the_order_of_two_refunds_does_not_matter(data: st.DataObject) -> None:
    """Given two amounts of one line, when given back in either order, then every tier ends the same."""
    order = data.draw(orders())
    gross = order.own_tier.lines[0].gross_micros
    if gross < 2:
        return
    first = data.draw(st.integers(1, gross - 1))
    second = data.draw(st.integers(1, gross - first))
    ends = []
    for amounts_ in ((first, second), (second, first)):
        end = order
        for amount in amounts_:
            end = with_refund(end, plan_refund(end, [Wish(1, 0, amount)]))
        ends.append(end.tiers)
    assert ends[0] == ends[1]


def test_a_third_of_an_odd_amount() -> None:
    """Given 3 units at 1.00 net, 0.19 tax, when one is given back, then a third at every tier, rounded half to even."""
    order = paid([3], [(1_000_000, 190_000)], [(500_000, 0)])
    own, above = plan_refund(order, [Wish(1, 1)])
    assert own.net_micros + own.tax_micros == 396_667
    assert (own.net_micros, own.tax_micros) == (333_334, 63_333)
    assert (above.net_micros, above.tax_micros) == (166_667, 0)
    assert (above.buyer_id, above.seller_id) == (SELLER, PLATFORM)


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish(0), NoSuchLine),
        (Wish(3), NoSuchLine),
        (Wish(1, quantity=3), RefundTooLarge),
        (Wish(1, amount_micros=1_190_001), RefundTooLarge),
        (Wish(2), NothingToRefund),
    ],
)
def test_more_than_there_is_is_refused(wish: Wish, error: type[Exception]) -> None:
    """Given a line of 2 units and a free one, when more or another is asked back, then it is refused."""
    order = paid([2, 1], [(1_000_000, 190_000), (0, 0)])
    with pytest.raises(error):
        plan_refund(order, [wish])


def test_units_and_amounts_share_what_is_left() -> None:
    """Given half of a line given back as an amount, when two of its two units are asked, then that is too much."""
    order = paid([2], [(1_000_000, 0)])
    order = with_refund(order, plan_refund(order, [Wish(1, 0, 600_000)]))
    with pytest.raises(RefundTooLarge) as raised:
        plan_refund(order, [Wish(1, quantity=1)])
    assert (raised.value.left_micros, raised.value.left_quantity) == (400_000, 2)
    order = with_refund(order, plan_refund(order, [Wish(1)]))
    with pytest.raises(NothingToRefund):
        plan_refund(order, [])


def test_the_last_units_give_back_what_is_left() -> None:
    """Given an amount given back of 3 units for 23, when units follow one by one, then the last gives the rest."""
    order = paid([3], [(23, 0)])
    order = with_refund(order, plan_refund(order, [Wish(1, 0, 1)]))
    given = []
    for _ in range(3):
        lines = plan_refund(order, [Wish(1, quantity=1)])
        given.append(lines[0].net_micros + lines[0].tax_micros)
        order = with_refund(order, lines)
    assert given == [8, 7, 7]
    assert order.state is OrderState.REFUNDED


def test_what_was_free_goes_back_with_the_last_of_the_order() -> None:
    """Given a line that cost only the seller something, when the rest is given back, then the seller gets it back."""
    order = paid([1, 1], [(0, 0), (1_000_000, 0)], [(70, 7), (500_000, 0)])
    half = plan_refund(order, [Wish(2, 0, 500_000)])
    assert {line.position for line in half} == {2}
    order = with_refund(order, half)
    order = with_refund(order, plan_refund(order, [Wish(2)]))
    assert order.tiers[1].refunded_micros == order.tiers[1].gross_micros == 500_077


@pytest.mark.parametrize("state", [OrderState.PENDING_PAYMENT, OrderState.CANCELED, OrderState.RUNNING])
def test_what_is_not_paid_is_not_given_back(state: OrderState) -> None:
    """Given an order that is not paid, when a refund is planned, then it is refused."""
    with pytest.raises(OrderStateError):
        plan_refund(replace(paid([1], [(1, 0)]), state=state), [])
    with pytest.raises(OrderStateError, match="cloud phone"):
        plan_refund(replace(paid([1], [(1, 0)]), type=ProductType.CLOUD_PHONE), [])


@pytest.mark.parametrize("reason", ["INSUFFICIENT_CREDIT", "REFUND_EXCEEDS_CHARGE", "WALLET_UNKNOWN", "whatever"])
def test_a_refusal_is_told_in_words(reason: str) -> None:
    """Given a reason of wallet's, when told, then nothing was given back, and the code itself is not shown."""
    assert "othing was given back" in refusal_text(reason)
    assert reason not in refusal_text(reason)
    assert refusal_text("") == ""

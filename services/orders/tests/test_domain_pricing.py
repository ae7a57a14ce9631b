"""Given prices and taxes of a chain of sellers, then what an order costs at each tier is exact to the micro."""

from fractions import Fraction
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from money import INT64_MAX
from orders.domain.catalogue import Sku
from orders.domain.pricing import NO_TAX, Chain, NoPrice, OutOfRange, PriceList, TaxRate, price_tiers

SKU = Sku(uuid4(), uuid4(), "proxy-us-30d", "30 days", "proxy")
OTHER = Sku(uuid4(), uuid4(), "proxy-de-30d", "30 days", "proxy")
BUYER, SELLER, PLATFORM = uuid4(), uuid4(), uuid4()
CHAIN = Chain(SELLER, (BUYER, SELLER, PLATFORM), "EUR")


def naive_tax(net: int, rate_ppm: int) -> int:
    """Half to even, over fractions: Python's own rounding of an exact number."""
    return round(Fraction(net) * rate_ppm / 1_000_000)


@given(st.data())
def test_every_tier_agrees_with_a_plain_model(data: st.DataObject) -> None:
    """Given any chain, items, prices and taxes, when priced, then every tier is what plain fractions say."""
    ids = data.draw(st.lists(st.uuids(), min_size=2, max_size=6, unique=True))
    skus = [Sku(id_, uuid4(), f"sku-{n}", "", "piece") for n, id_ in enumerate(
        data.draw(st.lists(st.uuids(), min_size=1, max_size=4, unique=True))
    )]  # fmt: skip
    items = [(sku, data.draw(st.integers(1, 1_000_000))) for sku in skus]
    prices = {
        (seller, sku.id): data.draw(st.integers(0, 10**9)) for seller in ids[1:] for sku in skus
    }  # fmt: skip
    rates = st.builds(TaxRate, st.just("VAT"), st.integers(0, 1_000_000))
    keys = [(seller, sku_id) for seller in ids[1:] for sku_id in (None, *(sku.id for sku in skus))]
    taxes = {key: data.draw(rates) for key in data.draw(st.lists(st.sampled_from(keys), unique=True))}

    tiers = price_tiers(Chain(ids[0], tuple(ids), "EUR"), items, PriceList(prices, taxes))

    assert [(tier.number, tier.buyer_id, tier.seller_id) for tier in tiers] == [
        (n + 1, ids[n], ids[n + 1]) for n in range(len(ids) - 1)
    ]
    for tier in tiers:
        nets, tax_amounts = [], []
        for (sku, quantity), line in zip(items, tier.lines, strict=True):
            rate = taxes.get((tier.seller_id, sku.id)) or taxes.get((tier.seller_id, None)) or NO_TAX
            nets.append(prices[tier.seller_id, sku.id] * quantity)
            tax_amounts.append(naive_tax(nets[-1], rate.rate_ppm))
            assert (line.net_micros, line.tax_micros, line.tax) == (nets[-1], tax_amounts[-1], rate)
        assert (tier.net_micros, tier.tax_micros) == (sum(nets), sum(tax_amounts))


def test_the_skus_own_tax_wins_over_the_default() -> None:
    """Given a default and an own tax, one of them zero, when priced, then the own one counts, zero as well."""
    prices = {(seller, sku.id): 1_000_000 for seller in (SELLER, PLATFORM) for sku in (SKU, OTHER)}
    taxes: dict[tuple[UUID, UUID | None], TaxRate] = {
        (SELLER, None): TaxRate("VAT", 200_000),
        (SELLER, SKU.id): TaxRate("Reverse charge", 0),
    }
    own, above = price_tiers(CHAIN, [(SKU, 1), (OTHER, 1)], PriceList(prices, taxes))
    assert [(line.tax.name, line.tax_micros) for line in own.lines] == [("Reverse charge", 0), ("VAT", 200_000)]
    assert [(line.tax.name, line.tax_micros) for line in above.lines] == [("", 0), ("", 0)]


@pytest.mark.parametrize(("missing", "tier"), [(SELLER, 1), (PLATFORM, 2)])
def test_a_missing_price_names_its_tier_and_sku(missing: UUID, tier: int) -> None:
    """Given a chain where one seller has no price, when priced, then that tier and SKU are named."""
    prices = {(seller, SKU.id): 1 for seller in (SELLER, PLATFORM) if seller != missing}
    with pytest.raises(NoPrice) as raised:
        price_tiers(CHAIN, [(SKU, 1)], PriceList(prices, {}))
    assert (raised.value.tier, raised.value.sku) == (tier, SKU)


def test_what_is_wrong_at_the_own_tier_comes_first() -> None:
    """Given an own seller without one price and a platform without any, when priced, then the own is named."""
    with pytest.raises(NoPrice) as raised:
        price_tiers(CHAIN, [(SKU, 1), (OTHER, 1)], PriceList({(SELLER, SKU.id): 1}, {}))
    assert (raised.value.tier, raised.value.sku) == (1, OTHER)


@pytest.mark.parametrize(
    ("own", "above", "tier"),
    [(INT64_MAX, 1, 1), (INT64_MAX // 2 + 1, 1, 1), (1, INT64_MAX, 2)],
    ids=["one line", "net and tax fit, their sum does not", "above"],
)
def test_amounts_that_do_not_fit_are_refused(own: int, above: int, tier: int) -> None:
    """Given a price that fits only once, when two are bought or tax is added, then its tier is refused."""
    prices = {(SELLER, SKU.id): own, (PLATFORM, SKU.id): above}
    quantity = 2 if own != INT64_MAX // 2 + 1 else 1
    taxes: dict[tuple[UUID, UUID | None], TaxRate] = {(SELLER, None): TaxRate("VAT", 1_000_000)}
    with pytest.raises(OutOfRange) as raised:
        price_tiers(CHAIN, [(SKU, quantity)], PriceList(prices, taxes))
    assert raised.value.tier == tier

"""What an order costs at every tier, from the purchaser up to the platform (design 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from money import MoneyError, check_micros, tax_micros, times

from orders.domain.catalogue import Sku


@dataclass(frozen=True, slots=True)
class Chain:
    """A buyer, its seller, its seller's seller, ..., the platform; all in one currency and under one root."""

    root_id: UUID
    organization_ids: tuple[UUID, ...]
    currency: str

    @property
    def seller_ids(self) -> tuple[UUID, ...]:
        """Who sells at each tier: the buyer's own seller first, the platform last."""
        return self.organization_ids[1:]

    @property
    def root_ids(self) -> tuple[UUID, UUID]:
        """Where the sellers' prices live: under the chain's root, and the platform's under its own id."""
        return (self.root_id, self.organization_ids[-1])


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax as it is applied. `rate_ppm` is in millionths."""

    name: str
    rate_ppm: int


NO_TAX = TaxRate("", 0)


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices and taxes of a chain's sellers, in one currency, valid at one instant.

    Keys are (seller, SKU); for taxes the SKU None is the seller's default.
    """

    unit_prices_micros: Mapping[tuple[UUID, UUID], int]
    taxes: Mapping[tuple[UUID, UUID | None], TaxRate]

    def tax(self, seller_id: UUID, sku_id: UUID) -> TaxRate:
        """The SKU's own tax, else the seller's default, else none."""
        own = self.taxes.get((seller_id, sku_id))
        return own or self.taxes.get((seller_id, None), NO_TAX)


@dataclass(frozen=True, slots=True)
class TierLine:
    """One order line at one tier. Amounts in micros; `net_micros` is before tax. Refunded: by posted refunds."""

    unit_price_micros: int
    net_micros: int
    tax: TaxRate
    tax_micros: int
    refunded_net_micros: int = 0
    refunded_tax_micros: int = 0
    refunded_quantity: int = 0

    @property
    def gross_micros(self) -> int:
        """Tax included."""
        return self.net_micros + self.tax_micros

    @property
    def refunded_micros(self) -> int:
        """Given back, tax included."""
        return self.refunded_net_micros + self.refunded_tax_micros


@dataclass(frozen=True, slots=True)
class Tier:
    """What one buyer pays its seller for the order, line by line. Tier 1 is the purchaser's."""

    number: int
    buyer_id: UUID
    seller_id: UUID
    lines: tuple[TierLine, ...]

    @property
    def net_micros(self) -> int:
        """Sum of the lines before tax."""
        return sum(line.net_micros for line in self.lines)

    @property
    def tax_micros(self) -> int:
        """Sum of the lines' taxes."""
        return sum(line.tax_micros for line in self.lines)

    @property
    def gross_micros(self) -> int:
        """Tax included."""
        return self.net_micros + self.tax_micros

    @property
    def refunded_net_micros(self) -> int:
        """Given back, before tax."""
        return sum(line.refunded_net_micros for line in self.lines)

    @property
    def refunded_tax_micros(self) -> int:
        """Given back of the taxes."""
        return sum(line.refunded_tax_micros for line in self.lines)

    @property
    def refunded_micros(self) -> int:
        """Given back, tax included."""
        return self.refunded_net_micros + self.refunded_tax_micros


class NoPrice(ValueError):  # noqa: N818 - reads as what it is
    """The seller of tier `tier` has no price for the SKU."""

    def __init__(self, tier: int, sku: Sku) -> None:
        super().__init__(f"the seller of tier {tier} has no price for '{sku.code}'")
        self.tier, self.sku = tier, sku


class OutOfRange(ValueError):  # noqa: N818
    """An amount at tier `tier` that the ledger cannot hold."""

    def __init__(self, tier: int, why: str) -> None:
        super().__init__(f"at tier {tier} {why}")
        self.tier, self.why = tier, why


def price_tiers(chain: Chain, items: Sequence[tuple[Sku, int]], price_list: PriceList) -> tuple[Tier, ...]:
    """Prices `items` (SKU and quantity) at every tier of `chain`.

    Exact in micros: net = unit price x quantity, tax per line, rounded half to even. Tiers are priced from the
    purchaser up, so what is wrong at its own tier is found first. Raises NoPrice and OutOfRange.
    """
    return tuple(
        _price_tier(number, buyer_id, seller_id, items, price_list)
        for number, (buyer_id, seller_id) in enumerate(pairwise(chain.organization_ids), start=1)
    )


def _price_tier(
    number: int, buyer_id: UUID, seller_id: UUID, items: Sequence[tuple[Sku, int]], price_list: PriceList
) -> Tier:
    lines: list[TierLine] = []
    for sku, quantity in items:
        unit_price = price_list.unit_prices_micros.get((seller_id, sku.id))
        if unit_price is None:
            raise NoPrice(number, sku)
        tax = price_list.tax(seller_id, sku.id)
        try:
            net = times(unit_price, quantity)
            lines.append(TierLine(unit_price, net, tax, tax_micros(net, tax.rate_ppm)))
        except MoneyError as error:
            raise OutOfRange(number, f"{quantity} x '{sku.code}' cannot be counted: {error}") from None
    tier = Tier(number, buyer_id, seller_id, tuple(lines))
    try:
        check_micros(tier.net_micros + tier.tax_micros)
    except MoneyError as error:
        raise OutOfRange(number, f"the sum cannot be counted: {error}") from None
    return tier

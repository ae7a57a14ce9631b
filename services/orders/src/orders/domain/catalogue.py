"""Products, SKUs, and prices and taxes that are valid from one instant to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

# A client's clock may be a little behind ours; "now" by its clock is taken as now by ours.
CLOCK_TOLERANCE = timedelta(seconds=60)


class ProductType(StrEnum):
    """What kind of thing a product is (mission A1). An order is of one type."""

    PROXY = "PROXY"
    PACKAGE = "PACKAGE"
    CLOUD_PHONE = "CLOUD_PHONE"


@dataclass(frozen=True, slots=True)
class Sku:
    """A variant of a product, with a price of its own. `contents` is what one package holds."""

    id: UUID
    product_id: UUID
    code: str
    name: str
    unit: str
    contents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """Something that is sold. Products and SKUs belong to the platform; `root_id` is its id."""

    root_id: UUID
    id: UUID
    type: ProductType
    name: str
    created_at: datetime
    skus: tuple[Sku, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """What a seller asks of its buyers for one unit, before tax, within [valid_from, valid_to)."""

    root_id: UUID
    id: UUID
    seller_id: UUID
    sku_id: UUID
    currency: str
    unit_price_micros: int
    valid_from: datetime
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tax:
    """What a seller adds for the tax office, within [valid_from, valid_to).

    `sku_id` None is the seller's default, for every SKU without a tax of its own. `rate_ppm` is in millionths:
    200_000 is 20 %.
    """

    root_id: UUID
    id: UUID
    seller_id: UUID
    sku_id: UUID | None
    name: str
    rate_ppm: int
    valid_from: datetime
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A SKU as its buyer's seller sells it now."""

    product: Product
    sku: Sku
    currency: str
    unit_price_micros: int
    tax_name: str
    tax_rate_ppm: int


class ValidFromPast(ValueError):  # noqa: N818 - reads as what it is
    """A price or tax that would begin in the past, which never changes."""


class ValidityOverlap(ValueError):  # noqa: N818
    """A price or tax that would be valid together with another one."""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a price or tax that exists is valid: [valid_from, valid_to), open where valid_to is None."""

    id: UUID
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a new price or tax fits: it ends at `valid_to`, and `closes` (if any) ends where it begins."""

    valid_from: datetime
    valid_to: datetime | None
    closes: UUID | None


def effective_from(requested: datetime | None, now: datetime) -> datetime:
    """When a new price or tax begins: now where nothing was asked for, never in the past.

    Raises ValidFromPast for an instant more than CLOCK_TOLERANCE ago; what lies within it becomes now.
    """
    if requested is None:
        return now
    if requested < now - CLOCK_TOLERANCE:
        raise ValidFromPast(
            f"valid_from {requested.isoformat()} lies in the past, and prices and taxes of the past never change; "
            f"leave it out to begin now ({now.isoformat()}), or name a later instant"
        )
    return max(requested, now)


def place(existing: Sequence[Validity], valid_from: datetime) -> Placement:
    """Fits a new validity from `valid_from` on among those that exist for the same thing.

    The one valid at that instant ends there. One that is planned for later stays: the new one ends where it
    begins. Raises ValidityOverlap where one begins at the very same instant: neither could be told from the other.
    """
    closes: UUID | None = None
    valid_to: datetime | None = None
    for other in existing:
        if other.valid_from == valid_from:
            raise ValidityOverlap(
                f"one is already set to begin at {valid_from.isoformat()}; choose a later instant for the new one"
            )
        if other.valid_from > valid_from:
            valid_to = other.valid_from if valid_to is None else min(valid_to, other.valid_from)
        elif other.valid_to is None or other.valid_to > valid_from:
            closes = other.id
    return Placement(valid_from, valid_to, closes)

"""What orders are looked for by: filters, orders of lists, folded names, beginnings of order numbers."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from servicekit.folding import fold

from orders.domain.catalogue import ProductType
from orders.domain.numbers import CODE_ALPHABET, MISREAD, compact_number
from orders.domain.orders import OrderItem, OrderState, PaymentMethod


class OrderOrder(StrEnum):
    """In which order orders are listed. Amounts are what the purchaser pays; currencies are not converted."""

    NEWEST = "NEWEST"
    OLDEST = "OLDEST"
    LARGEST = "LARGEST"
    SMALLEST = "SMALLEST"

    @property
    def by_amount(self) -> bool:
        return self in (OrderOrder.LARGEST, OrderOrder.SMALLEST)

    @property
    def descending(self) -> bool:
        return self in (OrderOrder.NEWEST, OrderOrder.LARGEST)


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """All that is set must hold; of a set, any one of its values. [created_from, created_to).

    None and what is an empty text say nothing; an empty set leaves nothing. `product_names` (any one of them, where
    there are some) are parts of names; `search` is a part of a name or the beginning of an order number.
    """

    organization_id: UUID | None = None
    seller_id: UUID | None = None
    types: frozenset[ProductType] | None = None
    states: frozenset[OrderState] | None = None
    payment_methods: frozenset[PaymentMethod] | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    product_names: tuple[str, ...] = ()
    order_number: str = ""
    cloud_phone_id: str = ""
    search: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an order stands in a list: its instant of creation, or its total in micros; then its id."""

    value: datetime | int
    id: UUID


# -- names -----------------------------------------------------------------------------------------------------------


EVERY_NAME = 0
"""The name that every order has; no product's."""


@dataclass(frozen=True, slots=True)
class ProductName:
    """A name that orders of one type were placed under. `id` follows from type and name, in every root the same."""

    id: int
    type: ProductType
    folded: str


def product_name(type_: ProductType, name: str) -> ProductName:
    """The entry of the dictionary for a name as it stands in an order."""
    folded = fold(name)
    digest = hashlib.sha256(f"{type_.value}\0{folded}".encode()).digest()
    return ProductName(int.from_bytes(digest[:8], signed=True) or 1, type_, folded)


def product_names(type_: ProductType, items: Iterable[OrderItem]) -> list[ProductName]:
    """The names of an order's lines, each once, by id."""
    found = {name.id: name for name in (product_name(type_, item.product_name) for item in items)}
    return [found[id_] for id_ in sorted(found)]


# -- classes ---------------------------------------------------------------------------------------------------------

_TYPES = (ProductType.PROXY, ProductType.PACKAGE, ProductType.CLOUD_PHONE)
_STATES = (
    OrderState.PENDING_PAYMENT,
    OrderState.COMPLETED,
    OrderState.CANCELED,
    OrderState.PARTLY_REFUNDED,
    OrderState.REFUNDED,
    OrderState.RUNNING,
)
_METHODS = (PaymentMethod.BALANCE, PaymentMethod.BANK_TRANSFER, PaymentMethod.PROVIDER, PaymentMethod.SANDBOX)


def order_classes(wanted: OrderFilter) -> list[int]:
    """The values of `orders.class` that the filter leaves: 100 x type + 10 x state + payment method, from 1 on."""
    return [
        100 * type_number + 10 * state_number + method_number
        for type_number, type_ in enumerate(_TYPES, start=1)
        for state_number, state in enumerate(_STATES, start=1)
        for method_number, method in enumerate(_METHODS, start=1)
        if (wanted.types is None or type_ in wanted.types)
        and (wanted.states is None or state in wanted.states)
        and (wanted.payment_methods is None or method in wanted.payment_methods)
        # What cannot be is not looked for: only cloud phones run.
        and (type_ is ProductType.CLOUD_PHONE or state is not OrderState.RUNNING)
    ]


# -- numbers ---------------------------------------------------------------------------------------------------------

_DAY, _CODE = 6, 8


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Order numbers that begin alike: those in [first, end), byte by byte; `first` alone where `whole`.

    Their orders were created in [created_from, created_to), None where the beginning says nothing of it.
    """

    first: str
    end: str
    whole: bool
    # The beginning is one of a day, or of several, and of nothing more: those created then are those that begin so,
    # since a number bears the day (UTC) that its order was created on.
    of_days: bool = False
    created_from: datetime | None = None
    created_to: datetime | None = None


EVERY_NUMBER = NumberRange("", "", whole=False)
"""What every number begins with."""


def parse_number_prefix(written: str) -> NumberRange | None:
    """The order numbers that begin as a person wrote, or None where none does.

    As tolerant as `parse_order_number`: case, spaces and dashes do not matter, and O, I and L are digits.
    """
    compact = compact_number(written)
    if "FA".startswith(compact):
        return EVERY_NUMBER
    if not compact.startswith("FA"):
        return None
    rest = compact[2:].translate(MISREAD)
    day, code = rest[:_DAY], rest[_DAY:]
    if not re.fullmatch(r"[0-9]*", day, re.ASCII) or len(code) > _CODE or any(c not in CODE_ALPHABET for c in code):
        return None
    first = f"FA-{day}" + (f"-{code}" if code else "")
    bounds = _days(day)
    if bounds is None:
        return None
    return NumberRange(first, first[:-1] + chr(ord(first[-1]) + 1), len(code) == _CODE, not code, *bounds)


def _days(day: str) -> tuple[datetime, datetime] | None:
    """Within which instants orders were created whose number has a day beginning so; None where no day does."""
    days = [
        (year, month, number)
        for year in _beginning(day[:2], range(100))
        for month in _beginning(day[2:4], range(1, 13))
        for number in range(1, 32)
        if f"{number:02}".startswith(day[4:6])
    ]
    instants = [instant for instant in (_instant(*each) for each in days) if instant is not None]
    if not instants:
        return None
    return min(instants), max(instants) + timedelta(days=1)


def _beginning(digits: str, values: range) -> list[int]:
    # Where it says nothing the first and the last stand for all: only the bounds are asked for.
    return [value for value in values if f"{value:02}".startswith(digits)] if digits else [values[0], values[-1]]


def _instant(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(2000 + year, month, day, tzinfo=UTC)
    except ValueError:
        return None

"""What a receipt shows: plain values, complete in themselves; the same view renders the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from money import format_exact

from documents.domain import Audience, NoticeKind
from documents.notice_causes import Cause


class ReceiptKind(StrEnum):
    """What was paid for."""

    PURCHASE = "PURCHASE"
    TOP_UP = "TOP_UP"


@dataclass(frozen=True, slots=True)
class IssuerView:
    """The seller in whose name the receipt stands.

    `logo` is an SVG or PNG; without one, or when it cannot be read, a monogram takes its place. Colours are
    '#rrggbb'; anything else means the default.
    """

    name: str
    address_lines: tuple[str, ...] = ()
    tax_id: str = ""
    logo: bytes | None = None
    primary_colour: str = ""
    accent_colour: str = ""
    email: str = ""
    website: str = ""


@dataclass(frozen=True, slots=True)
class RecipientView:
    """The buyer, and the person who bought."""

    name: str
    address_lines: tuple[str, ...] = ()
    tax_id: str = ""
    purchaser_name: str = ""
    purchaser_email: str = ""


@dataclass(frozen=True, slots=True)
class LineView:
    """One thing paid for: amounts in micros before tax, `tax_rate_ppm` in millionths (200_000 = 20 %)."""

    description: str
    quantity: int
    unit_price_micros: int
    net_micros: int
    tax_rate_ppm: int = 0
    tax_micros: int = 0
    tax_name: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiptView:
    """A receipt's content.

    `issued_at` and `paid_at` are aware datetimes, shown in UTC. `payment_method` is BALANCE, CARD,
    BANK_TRANSFER, VOUCHER or MANUAL; any other text is shown as it stands. `language` is a BCP 47 tag.
    Amounts are exact micros; the total is rounded to the currency's smallest unit when drawn and the
    rounding shown. Raises ValueError when lines and totals do not add up, or an instant has no time zone.
    """

    kind: ReceiptKind
    number: str
    issued_at: datetime
    language: str
    issuer: IssuerView
    recipient: RecipientView
    paid_at: datetime
    payment_method: str
    currency: str
    lines: tuple[LineView, ...]
    net_micros: int
    tax_micros: int
    total_micros: int
    ledger_transaction_id: str
    order_number: str = ""

    def __post_init__(self) -> None:
        for name, instant in (("issued_at", self.issued_at), ("paid_at", self.paid_at)):
            if instant.utcoffset() is None:
                raise ValueError(f"receipt {self.number}: {name} {instant} has no time zone; pass an aware one")
        sums = (
            ("its lines' net", sum(line.net_micros for line in self.lines), self.net_micros),
            ("its lines' tax", sum(line.tax_micros for line in self.lines), self.tax_micros),
            ("net and tax", self.net_micros + self.tax_micros, self.total_micros),
        )
        for what, computed, stated in sums:
            if computed != stated:
                raise ValueError(
                    f"receipt {self.number}: {what} add up to {format_exact(computed)} {self.currency}, "
                    f"but it states {format_exact(stated)}; a receipt must add up to the last millionth"
                )


@dataclass(frozen=True, slots=True)
class NoticeView:
    """What a notice says. `person_name` and `person_email` are who bought or asked; empty where nobody did.

    `amount_micros` is what it is about: what is available, was tried, given back, not paid, kept, or corrected (less
    than zero: taken). `threshold_micros` is of BALANCE_LOW, `next_attempt_at` of an automatic top-up that is tried
    again. `items` are the lines that were given back. `reason` is in somebody's own words; where there is a `cause`, it
    is a note to that, and of the cause `canceler_name`, `due_at`, `needed_micros` and `available_micros`.
    """

    kind: NoticeKind
    audience: Audience
    currency: str
    amount_micros: int
    threshold_micros: int = 0
    person_name: str = ""
    person_email: str = ""
    order_number: str = ""
    items: tuple[str, ...] = ()
    cause: Cause | None = None
    reason: str = ""
    canceler_name: str = ""
    due_at: datetime | None = None
    needed_micros: int = 0
    available_micros: int = 0
    automatic: bool = False
    next_attempt_at: datetime | None = None

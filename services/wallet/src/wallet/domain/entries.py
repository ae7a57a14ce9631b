"""The ledger as it is read: a wallet's state, its lines, a transaction's legs, a seller's sums. Pure.

Amounts are signed millionths of the currency unit.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from wallet.domain.ledger import LineType


@dataclass(frozen=True, slots=True)
class WalletState:
    """A wallet as it stands; `now` is the database's clock when it was read.

    `since` is the instant of its last line, or when it was opened where it has none. Later lines have later instants,
    so at `since` the wallet is as it stands, whatever is being posted; at `now` it may turn out to be another.
    """

    root_id: UUID
    id: UUID
    organization_id: UUID
    currency: str
    credit_limit_micros: int
    balance_micros: int
    reserved_micros: int
    sequence: int
    since: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class EntryRow:
    """A line of a wallet with what it was for."""

    transaction_id: UUID
    sequence: int
    type: int
    item: str
    order_number: str
    order_id: UUID | None
    amount_micros: int
    balance_after_micros: int
    posted_at: datetime
    hash: bytes
    kind: int
    cloud_phone_id: str
    original_id: UUID | None


@dataclass(frozen=True, slots=True)
class LegsRow:
    """The legs of one line of a transaction."""

    root_id: UUID
    tier: int
    type: int
    wallet_id: UUID
    organization_id: UUID
    seller_id: UUID
    amount_micros: int
    revenue_micros: int
    tax_micros: int
    cash_micros: int
    clearing_micros: int
    credits_micros: int

    @property
    def is_earnings(self) -> bool:
        return self.type == LineType.EARNINGS


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """What a transaction says, and those of its lines that the caller may see."""

    lines: tuple[LegsRow, ...]
    id: UUID
    type: int
    currency: str
    item: str
    order_id: UUID | None
    order_number: str
    posted_at: datetime
    kind: int
    cloud_phone_id: str
    original_id: UUID | None


@dataclass(frozen=True, slots=True)
class SellerSums:
    """Sums over a seller's accounts, in micros, net of refunds; `cost` is what it was charged itself, net of tax."""

    cash_received_micros: int
    revenue_micros: int
    tax_payable_micros: int
    credits_given_micros: int
    cost_micros: int

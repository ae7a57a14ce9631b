"""What the ledger is made of. Amounts are signed 64-bit integers of a millionth of the currency unit. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

TIERS_MAX: Final = 16
REQUEST_ID_MAX_CHARACTERS: Final = 100
ITEM_MAX_CHARACTERS: Final = 500
ORDER_NUMBER_MAX_CHARACTERS: Final = 100
CLOUD_PHONE_ID_MAX_CHARACTERS: Final = 100

RefusalReason = Literal[
    "INVALID_ARGUMENT",
    "REQUEST_ID_REUSED",
    "INSUFFICIENT_CREDIT",
    "CHAIN_MISMATCH",
    "CURRENCY_MISMATCH",
    "AMOUNT_OUT_OF_RANGE",
    "WALLET_UNKNOWN",
    "HOLD_NOT_ACTIVE",
    "HOLD_EXCEEDED",
    "REFUND_EXCEEDS_CHARGE",
    "NOTHING_TO_REFUND",
]


class LineType(IntEnum):
    """Why a wallet moved; the numbers of farthing.wallet.v1.EntryType."""

    RECHARGE = 1
    EXPENSE = 2
    EARNINGS = 3
    SYSTEM = 4


class Kind(IntEnum):
    """What a transaction is; the numbers of farthing.wallet.v1.TransactionKind."""

    BEFORE_KINDS = 0
    TOP_UP = 1
    CHARGE = 2
    REFUND = 3
    ADJUSTMENT = 4
    VOUCHER = 5


class Tier(NamedTuple):
    """What one buyer pays its seller for a purchase."""

    buyer_id: UUID
    seller_id: UUID
    net_micros: int
    tax_micros: int


class Charge(NamedTuple):
    """One purchase, priced from the purchaser's tier up to the one whose seller is the platform.

    `request_key` is who asks and its request id; `request_sha256` is over the whole request.
    """

    request_key: str
    request_sha256: bytes
    root_id: UUID
    currency: str
    order_id: UUID | None
    order_number: str
    item: str
    tiers: tuple[Tier, ...]
    cloud_phone_id: str = ""


class Recharge(NamedTuple):
    """A wallet filled: `kind` TOP_UP is money received by its seller, VOUCHER a credit that its seller gives."""

    request_key: str
    request_sha256: bytes
    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    currency: str
    amount_micros: int
    item: str
    kind: Literal[Kind.TOP_UP, Kind.VOUCHER] = Kind.TOP_UP


class OriginalTier(NamedTuple):
    """A tier of a posted purchase, and what was refunded of it so far.

    `cleared`: the seller's net went to its wallet, that of the next tier's buyer.
    """

    wallet_id: UUID
    buyer_id: UUID
    seller_id: UUID
    net_micros: int
    tax_micros: int
    cleared: bool
    refunded_net_micros: int = 0
    refunded_tax_micros: int = 0


class Original(NamedTuple):
    """A posted purchase, as a refund needs it: its tiers from the purchaser's up."""

    root_id: UUID
    id: UUID
    organization_id: UUID
    order_id: UUID | None
    currency: str
    order_number: str
    item: str
    cloud_phone_id: str
    tiers: tuple[OriginalTier, ...]


class Refund(NamedTuple):
    """A purchase taken back, or part of it: `tiers` are those of the original, with what is given back at each."""

    request_key: str
    request_sha256: bytes
    original: Original
    tiers: tuple[Tier, ...]


class Correction(NamedTuple):
    """A wallet credited (more than zero) or debited (less) by its seller, for the reason in `item`."""

    request_key: str
    request_sha256: bytes
    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    currency: str
    amount_micros: int
    item: str
    original_id: UUID | None


class WalletKey(NamedTuple):
    """An organization has one current wallet a currency."""

    root_id: UUID
    organization_id: UUID
    currency: str


@dataclass(slots=True)
class Wallet:
    """The state of a wallet that postings build on. `earns` says that sales of its owner are credited to it."""

    root_id: UUID
    id: UUID
    organization_id: UUID
    seller_id: UUID
    currency: str
    credit_limit_micros: int
    balance_micros: int
    reserved_micros: int
    sequence: int
    last_hash: bytes
    last_posted_at: datetime | None
    earns: bool

    @property
    def key(self) -> WalletKey:
        return WalletKey(self.root_id, self.organization_id, self.currency)

    @property
    def available_micros(self) -> int:
        """What may still be spent: balance + credit limit - reserved."""
        return self.balance_micros + self.credit_limit_micros - self.reserved_micros


class Transaction(NamedTuple):
    """One all-or-nothing change of the ledger. `organization_id` is the purchaser, or whose wallet it is about.

    `original_id` is the transaction that a refund or an adjustment points at.
    """

    root_id: UUID
    id: UUID
    organization_id: UUID
    order_id: UUID | None
    posted_at: datetime
    type: int
    currency: str
    order_number: str
    item: str
    request_key: str
    request_sha256: bytes
    kind: int
    original_id: UUID | None
    cloud_phone_id: str


class Line(NamedTuple):
    """One movement of one wallet with the legs that balance it: the six amounts sum to zero.

    `amount_micros` is the wallet's leg; revenue, tax, cash and credits (given without being paid) are the seller's.
    Where the seller's earnings go to its wallet, `clearing_micros` takes the place of revenue, and an EARNINGS line of
    that wallet takes it up.
    """

    root_id: UUID
    wallet_id: UUID
    transaction_id: UUID
    organization_id: UUID
    seller_id: UUID
    sequence: int
    amount_micros: int
    revenue_micros: int
    tax_micros: int
    cash_micros: int
    clearing_micros: int
    balance_after_micros: int
    credit_limit_micros: int
    tier: int
    type: int
    credits_micros: int
    hash: bytes

    @property
    def legs_sum_micros(self) -> int:
        """Zero, of a line that balances."""
        return sum(self[6:11]) + self.credits_micros


# A line's columns but for its hash, in the same order.
Unhashed = tuple[UUID, UUID, UUID, UUID, UUID, int, int, int, int, int, int, int, int, int, int, int]


class Posted(NamedTuple):
    """A posting that is in the books. `lines` is empty where it was there before and this is a repeat."""

    transaction_id: UUID
    posted_at: datetime
    balance_after_micros: int
    request_sha256: bytes
    lines: tuple[Line, ...] = ()


class Refusal(NamedTuple):
    """Why nothing was written. Figures stand in their fields only, never in the message."""

    reason: RefusalReason
    message: str
    organization_id: UUID | None = None
    wallet_id: UUID | None = None
    available_micros: int = 0
    needed_micros: int = 0


Outcome = Posted | Refusal

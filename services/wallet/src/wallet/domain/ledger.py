"""The double-entry ledger: purchases posted at every tier, money received, and what is refused (mission W5). Pure.

A `Book` holds the wallets of one batch, locked by whoever owns it, and applies postings to them one after the other.
A posting that is refused leaves no trace; one that is posted adds a transaction and its lines. All amounts are signed
64-bit integers of a millionth of the currency unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

from money import INT64_MAX

from wallet.domain.chain import line_hash, transaction_digest

TIERS_MAX: Final = 16
REQUEST_ID_MAX_CHARACTERS: Final = 100
ITEM_MAX_CHARACTERS: Final = 500
ORDER_NUMBER_MAX_CHARACTERS: Final = 100

RefusalReason = Literal[
    "INVALID_ARGUMENT",
    "REQUEST_ID_REUSED",
    "INSUFFICIENT_CREDIT",
    "CHAIN_MISMATCH",
    "CURRENCY_MISMATCH",
    "AMOUNT_OUT_OF_RANGE",
    "WALLET_UNKNOWN",
]


class LineType(IntEnum):
    """Why a wallet moved; the numbers of farthing.wallet.v1.EntryType."""

    RECHARGE = 1
    EXPENSE = 2
    EARNINGS = 3
    SYSTEM = 4


# Plain integers: an IntEnum member costs a look-up each time it is read.
_RECHARGE: Final = int(LineType.RECHARGE)
_EXPENSE: Final = int(LineType.EXPENSE)
_EARNINGS: Final = int(LineType.EARNINGS)


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


class Recharge(NamedTuple):
    """Money received by the seller of a wallet for its owner: a settled top-up."""

    request_key: str
    request_sha256: bytes
    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    currency: str
    amount_micros: int
    item: str


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
    """One all-or-nothing change of the ledger. `organization_id` is the purchaser, or who topped up."""

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


class Line(NamedTuple):
    """One movement of one wallet with the legs that balance it: the five amounts sum to zero.

    `amount_micros` is the wallet's leg; revenue, tax and cash are the seller's. Where the seller's earnings go to its
    wallet, `clearing_micros` takes the place of revenue, and an EARNINGS line of that wallet takes it up.
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
    hash: bytes


# A line's columns but for its hash, in the same order.
Unhashed = tuple[UUID, UUID, UUID, UUID, UUID, int, int, int, int, int, int, int, int, int, int]


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


class Book:
    """Wallets under lock and what is posted to them, in order, all at the same instant.

    `now` is the database's clock read after the locks were taken. `posted_at` is never before the last line of any of
    the wallets, so an instant of the past cuts every wallet at a sequence. `remembered` are the postings that exist
    already under request keys of this batch.
    """

    def __init__(
        self, wallets: Iterable[Wallet], now: datetime, remembered: dict[tuple[UUID, str], Posted] | None = None
    ) -> None:
        self.wallets = {wallet.key: wallet for wallet in wallets}
        self.posted_at = max(
            (wallet.last_posted_at for wallet in self.wallets.values() if wallet.last_posted_at is not None),
            default=now,
        )
        self.posted_at = max(self.posted_at, now)
        self.remembered = dict(remembered or {})
        self.transactions: list[Transaction] = []
        self.lines: list[Line] = []
        self.changed: dict[UUID, Wallet] = {}

    def charge(self, charge: Charge, transaction_id: UUID) -> Outcome:
        """Posts a purchase at every tier, or refuses it whole. A repeat gets the answer of the first time."""
        known = self._known(charge.root_id, charge.request_key, charge.request_sha256)
        if known is not None:
            return known
        wallets = self._chain(charge)
        if isinstance(wallets, Refusal):
            return wallets
        short = _lacking(charge, wallets)
        if short is not None:
            return short
        transaction = Transaction(
            charge.root_id,
            transaction_id,
            wallets[0].organization_id,
            charge.order_id,
            self.posted_at,
            _EXPENSE,
            charge.currency,
            charge.order_number,
            charge.item,
            charge.request_key,
            charge.request_sha256,
        )
        lines: list[Line] = []
        source = (transaction_id, transaction_digest(transaction))
        top = len(wallets) - 1
        for index, (wallet, tier) in enumerate(zip(wallets, charge.tiers, strict=True)):
            net = tier.net_micros
            seller = wallets[index + 1] if index < top else None
            credited = net if seller is not None and seller.earns else 0
            legs = (-net - tier.tax_micros, net - credited, tier.tax_micros, 0, credited)
            lines.append(self._move(wallet, source, index + 1, _EXPENSE, legs))
            if seller is not None and credited:
                earned = (credited, 0, 0, 0, -credited)
                lines.append(self._move(seller, source, index + 1, _EARNINGS, earned))
        return self._post(transaction, lines)

    def recharge(self, recharge: Recharge, transaction_id: UUID) -> Outcome:
        """Posts money received: the seller's cash -a, the wallet +a."""
        known = self._known(recharge.root_id, recharge.request_key, recharge.request_sha256)
        if known is not None:
            return known
        amount = recharge.amount_micros
        wallet = self.wallets.get(WalletKey(recharge.root_id, recharge.organization_id, recharge.currency))
        if wallet is None or wallet.id != recharge.wallet_id:
            return Refusal("WALLET_UNKNOWN", "There is no such wallet any more.", recharge.organization_id)
        if not 0 < amount <= INT64_MAX or wallet.balance_micros + amount > INT64_MAX:
            message = "The amount is zero, negative, or more than a wallet can hold."
            return Refusal("AMOUNT_OUT_OF_RANGE", message, wallet.organization_id, wallet.id)
        transaction = Transaction(
            recharge.root_id,
            transaction_id,
            recharge.organization_id,
            None,
            self.posted_at,
            _RECHARGE,
            recharge.currency,
            "",
            recharge.item,
            recharge.request_key,
            recharge.request_sha256,
        )
        legs = (amount, 0, 0, -amount, 0)
        line = self._move(wallet, (transaction_id, transaction_digest(transaction)), 0, _RECHARGE, legs)
        return self._post(transaction, [line])

    def _known(self, root_id: UUID, request_key: str, request_sha256: bytes) -> Outcome | None:
        known = self.remembered.get((root_id, request_key))
        if known is None or known.request_sha256 == request_sha256:
            return known
        return Refusal(
            "REQUEST_ID_REUSED", "This request id was used before with another body; take a new one for a new charge."
        )

    def _chain(self, charge: Charge) -> list[Wallet] | Refusal:
        wallets = []
        root_id, currency, known = charge.root_id, charge.currency, self.wallets
        for number, tier in enumerate(charge.tiers, 1):
            # A plain tuple equals the WalletKey and is made in a third of the time.
            wallet = known.get((root_id, tier.buyer_id, currency))  # type: ignore[call-overload]
            if wallet is None:
                message = f"The buyer of tier {number} has no wallet in {charge.currency}."
                return Refusal("WALLET_UNKNOWN", message, tier.buyer_id)
            if wallet.seller_id != tier.seller_id:
                message = f"The seller of tier {number} is not the one that its buyer's wallet is held with."
                return Refusal("CHAIN_MISMATCH", message, tier.buyer_id, wallet.id)
            wallets.append(wallet)
        return wallets

    def _move(
        self, wallet: Wallet, source: tuple[UUID, bytes], tier: int, type_: int, legs: tuple[int, int, int, int, int]
    ) -> Line:
        transaction_id, digest = source
        wallet.balance_micros += legs[0]
        wallet.sequence += 1
        unhashed = (
            wallet.root_id,
            wallet.id,
            transaction_id,
            wallet.organization_id,
            wallet.seller_id,
            wallet.sequence,
            *legs,
            wallet.balance_micros,
            wallet.credit_limit_micros,
            tier,
            type_,
        )
        wallet.last_hash = line_hash(wallet.last_hash, digest, unhashed)
        wallet.last_posted_at = self.posted_at
        self.changed[wallet.id] = wallet
        return Line._make((*unhashed, wallet.last_hash))

    def _post(self, transaction: Transaction, lines: list[Line]) -> Posted:
        self.transactions.append(transaction)
        self.lines.extend(lines)
        answer = (transaction.id, self.posted_at, lines[0].balance_after_micros, transaction.request_sha256)
        self.remembered[transaction.root_id, transaction.request_key] = Posted(*answer)
        return Posted(*answer, tuple(lines))


def _lacking(charge: Charge, wallets: list[Wallet]) -> Refusal | None:
    """The refusal of a charge that some wallet of its chain cannot carry, or None. Earnings come before expenses."""
    sold_net = 0
    for number, (wallet, tier) in enumerate(zip(wallets, charge.tiers, strict=True), 1):
        earned = sold_net if wallet.earns else 0
        needed = tier.net_micros + tier.tax_micros
        available = wallet.available_micros + earned
        if available < needed:
            message = f"The buyer of tier {number} lacks credit for this purchase."
            return Refusal("INSUFFICIENT_CREDIT", message, wallet.organization_id, wallet.id, available, needed)
        if wallet.balance_micros + earned > INT64_MAX:
            message = f"The wallet of the buyer of tier {number} cannot hold what it would earn."
            return Refusal("AMOUNT_OUT_OF_RANGE", message, wallet.organization_id, wallet.id)
        sold_net = tier.net_micros
    return None


def malformed(charge: Charge) -> Refusal | None:
    """What is wrong with a charge whatever the books say, or None."""
    texts = (
        ("request_id", charge.request_key, 1, REQUEST_ID_MAX_CHARACTERS + 50),
        ("item", charge.item, 0, ITEM_MAX_CHARACTERS),
        ("order_number", charge.order_number, 0, ORDER_NUMBER_MAX_CHARACTERS),
    )
    for name, text, least, most in texts:
        if not least <= len(text) <= most or "\0" in text:
            message = f"{name} must have {least} to {most} characters, none of them NUL; it has {len(text)}."
            return Refusal("INVALID_ARGUMENT", message)
    currency = charge.currency
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        return Refusal("INVALID_ARGUMENT", f"currency '{currency[:10]}' is not an ISO 4217 code such as EUR.")
    if not 1 <= len(charge.tiers) <= TIERS_MAX:
        return Refusal("INVALID_ARGUMENT", f"A charge has 1 to {TIERS_MAX} tiers; this one has {len(charge.tiers)}.")
    return _malformed_amounts(charge) or _malformed_chain(charge)


def _malformed_amounts(charge: Charge) -> Refusal | None:
    for number, (_, _, net, tax) in enumerate(charge.tiers, 1):
        if net < 0 or tax < 0 or net + tax > INT64_MAX:
            message = f"Tier {number}: net and tax must be zero or more, and their sum at most {INT64_MAX} micros."
            return Refusal("AMOUNT_OUT_OF_RANGE", message)
    if charge.tiers[0].net_micros + charge.tiers[0].tax_micros == 0:
        return Refusal("AMOUNT_OUT_OF_RANGE", "Tier 1: net and tax together must be more than zero.")
    return None


def _malformed_chain(charge: Charge) -> Refusal | None:
    tiers = charge.tiers
    for number in range(1, len(tiers)):
        if tiers[number - 1].seller_id != tiers[number].buyer_id:
            message = f"The seller of tier {number} is not the buyer of tier {number + 1}."
            return Refusal("CHAIN_MISMATCH", message, tiers[number].buyer_id)
    if len({tier.buyer_id for tier in tiers}) != len(tiers):
        return Refusal("CHAIN_MISMATCH", "An organization buys at two tiers of the same charge.")
    return None

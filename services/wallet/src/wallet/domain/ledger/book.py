"""Purchases posted at every tier, money received, and what is refused (mission W5). Pure.

A `Book` holds the wallets of one batch, locked by whoever owns it, and applies postings to them one after the other.
A posting that is refused leaves no trace; one that is posted adds a transaction and its lines.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from money import INT64_MAX

from wallet.domain.chain import line_hash, transaction_digest
from wallet.domain.ledger.types import (
    Charge,
    Kind,
    Line,
    LineType,
    Outcome,
    Posted,
    Recharge,
    Refusal,
    Transaction,
    Wallet,
    WalletKey,
)

# Plain integers: an IntEnum member costs a look-up each time it is read.
_RECHARGE: Final = int(LineType.RECHARGE)
_EXPENSE: Final = int(LineType.EXPENSE)
_EARNINGS: Final = int(LineType.EARNINGS)
_CHARGE: Final = int(Kind.CHARGE)


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
            _CHARGE,
            None,
            charge.cloud_phone_id,
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
        """Posts money received: the seller's cash (of a voucher: its credits) -a, the wallet +a."""
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
            int(recharge.kind),
            None,
            "",
        )
        credited = amount if recharge.kind == Kind.VOUCHER else 0
        legs = (amount, 0, 0, credited - amount, 0)
        source = (transaction_id, transaction_digest(transaction))
        return self._post(transaction, [self._move(wallet, source, 0, _RECHARGE, legs, credits_micros=-credited)])

    def known(self, charge: Charge) -> Outcome | None:
        """The answer that the charge's request id has got already, or None where it is new."""
        return self._known(charge.root_id, charge.request_key, charge.request_sha256)

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
        self,
        wallet: Wallet,
        source: tuple[UUID, bytes],
        tier: int,
        type_: int,
        legs: tuple[int, int, int, int, int],
        *,
        credits_micros: int = 0,
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
            credits_micros,
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

"""Purchases posted at every tier, money received, and what is refused (mission W5). Pure.

A `Book` holds the wallets of one batch, locked by whoever owns it, and applies postings to them one after the other.
A posting that is refused leaves no trace; one that is posted adds a transaction and its lines.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from money import INT64_MAX

from wallet.domain.chain import line_hash, transaction_digest
from wallet.domain.ledger.refunds import earned_below, given_back, unfit
from wallet.domain.ledger.types import (
    Charge,
    Correction,
    Kind,
    Line,
    LineType,
    Outcome,
    Posted,
    Recharge,
    Refund,
    Refusal,
    Transaction,
    Wallet,
    WalletKey,
)

# Plain integers: an IntEnum member costs a look-up each time it is read.
_RECHARGE: Final = int(LineType.RECHARGE)
_EXPENSE: Final = int(LineType.EXPENSE)
_EARNINGS: Final = int(LineType.EARNINGS)
_SYSTEM: Final = int(LineType.SYSTEM)
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
        return self._post(transaction, lines, lines[0])

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
        line = self._move(wallet, source, 0, _RECHARGE, legs, credits_micros=-credited)
        return self._post(transaction, [line], line)

    def refund(self, refund: Refund, transaction_id: UUID) -> Outcome:
        """Posts a purchase, or part of it, taken back at every tier, or refuses it whole.

        From the top tier down: each buyer gets its refund before it gives back what it earned by the tier below, so
        no balance passes its limit on the way.
        """
        original = refund.original
        known = self._known(original.root_id, refund.request_key, refund.request_sha256)
        if known is not None:
            return known
        refusal = unfit(refund)
        if refusal is not None:
            return refusal
        wallets = self._wallets_of(refund)
        if isinstance(wallets, Refusal):
            return wallets
        transaction = Transaction(
            original.root_id,
            transaction_id,
            original.organization_id,
            original.order_id,
            self.posted_at,
            _SYSTEM,
            original.currency,
            original.order_number,
            original.item,
            refund.request_key,
            refund.request_sha256,
            int(Kind.REFUND),
            original.id,
            original.cloud_phone_id,
        )
        source = (transaction_id, transaction_digest(transaction))
        lines: list[Line] = []
        for index in range(len(wallets) - 1, -1, -1):
            earned = earned_below(refund, index + 1)
            lines.append(self._move(wallets[index], source, index + 1, _SYSTEM, given_back(refund, index)))
            if earned:
                returned = (-earned, 0, 0, 0, earned)
                lines.append(self._move(wallets[index], source, index, _EARNINGS, returned))
        return self._post(transaction, lines, lines[-1])

    def correct(self, correction: Correction, transaction_id: UUID) -> Outcome:
        """Posts a correction: the wallet +a, the seller's credits -a. A debit takes at most what is available."""
        known = self._known(correction.root_id, correction.request_key, correction.request_sha256)
        if known is not None:
            return known
        amount = correction.amount_micros
        wallet = self.wallets.get(WalletKey(correction.root_id, correction.organization_id, correction.currency))
        if wallet is None or wallet.id != correction.wallet_id:
            return Refusal("WALLET_UNKNOWN", "There is no such wallet any more.", correction.organization_id)
        owner = wallet.organization_id
        if not amount or abs(amount) > INT64_MAX or wallet.balance_micros + amount > INT64_MAX:
            message = "The amount is zero, or more than a wallet can hold."
            return Refusal("AMOUNT_OUT_OF_RANGE", message, owner, wallet.id)
        if amount < 0 and wallet.available_micros < -amount:
            message = "The wallet has less available than is to be taken."
            return Refusal("INSUFFICIENT_CREDIT", message, owner, wallet.id, wallet.available_micros, -amount)
        transaction = Transaction(
            correction.root_id,
            transaction_id,
            correction.organization_id,
            None,
            self.posted_at,
            _SYSTEM,
            correction.currency,
            "",
            correction.item,
            correction.request_key,
            correction.request_sha256,
            int(Kind.ADJUSTMENT),
            correction.original_id,
            "",
        )
        source = (transaction_id, transaction_digest(transaction))
        line = self._move(wallet, source, 0, _SYSTEM, (amount, 0, 0, 0, 0), credits_micros=-amount)
        return self._post(transaction, [line], line)

    def take(self) -> tuple[list[Transaction], list[Line], Collection[Wallet]]:
        """The transactions and lines since the last time, and the wallets that they changed, to be written."""
        taken = self.transactions, self.lines, self.changed.values()
        self.transactions, self.lines, self.changed = [], [], {}
        return taken

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

    def _wallets_of(self, refund: Refund) -> list[Wallet] | Refusal:
        """The wallets of a refund's tiers, each able to carry it."""
        wallets = []
        original = refund.original
        for index, (then, tier) in enumerate(zip(original.tiers, refund.tiers, strict=True)):
            wallet = self.wallets.get(WalletKey(original.root_id, then.buyer_id, original.currency))
            if wallet is None or wallet.id != then.wallet_id:
                message = f"The wallet that paid at tier {index + 1} is closed."
                return Refusal("WALLET_UNKNOWN", message, then.buyer_id, then.wallet_id)
            back, earned = tier.net_micros + tier.tax_micros, earned_below(refund, index + 1)
            available = wallet.available_micros + back
            if earned and available < earned:
                message = f"The buyer of tier {index + 1} has spent what it earned by this purchase."
                return Refusal("INSUFFICIENT_CREDIT", message, then.buyer_id, wallet.id, available, earned)
            if wallet.balance_micros + back > INT64_MAX:
                message = f"The wallet of the buyer of tier {index + 1} cannot hold what it would get back."
                return Refusal("AMOUNT_OUT_OF_RANGE", message, then.buyer_id, wallet.id)
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

    def _post(self, transaction: Transaction, lines: list[Line], own: Line) -> Posted:
        """`own` is the line of the purchaser, or whoever it is about: the answer gives its balance."""
        self.transactions.append(transaction)
        self.lines.extend(lines)
        answer = (transaction.id, self.posted_at, own.balance_after_micros, transaction.request_sha256)
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

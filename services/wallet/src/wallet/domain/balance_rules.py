"""What happens when a wallet's available balance falls (mission W4): a notice, an automatic top-up. Pure.

Each happens once for each time that the balance falls below a threshold. A `Watch` remembers that it has, and up to
which line of the wallet it has looked; it is armed again once the balance was back, now or after a line since.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from money import INT64_MAX, Money, format_exact

from wallet.domain.refusals import Refused
from wallet.domain.wallets import Wallet

# After so many failures in a row it gives up.
BACKOFF = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2))


class AutoState(StrEnum):
    """Where an automatic top-up stands."""

    ACTIVE = "active"
    RETRYING = "retrying"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Watch:
    """A threshold, and since when the available balance is below it.

    `sequence`: None while it is not; else the wallet's last line that was looked at. `reserved_micros`: the most that
    was reserved meanwhile. What is reserved is not written in lines, so past balances are taken with this much: a
    rise that may not have been one is none.
    """

    threshold_micros: int
    sequence: int | None = None
    reserved_micros: int = 0


@dataclass(frozen=True, slots=True)
class AutoTopUp:
    """An automatic top-up, from a saved method, or the sandbox where there is none."""

    watch: Watch
    amount_micros: int
    payment_method_id: UUID | None
    state: AutoState = AutoState.ACTIVE
    failures: int = 0
    last_failure: str = ""
    next_attempt_at: datetime | None = None
    last_top_up_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class BalanceRules:
    """A wallet's rules."""

    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    currency: str
    low: Watch | None = None
    auto: AutoTopUp | None = field(default=None)


def available_micros(wallet: Wallet) -> int:
    """What may still be spent: balance + credit limit - reserved."""
    return wallet.balance_micros + wallet.credit_limit_micros - wallet.reserved_micros


def look(watch: Watch, wallet: Wallet, sequence: int, highest_since: int | None) -> tuple[Watch, bool]:
    """The watch after a look at the locked wallet at `sequence`, and whether the balance has fallen anew.

    `highest_since` is the highest balance + credit limit after any line since the watch's own, if there was one.
    """
    available = available_micros(wallet)
    if watch.sequence is not None:
        reserved = max(watch.reserved_micros, wallet.reserved_micros)
        was_back = highest_since is not None and highest_since - reserved >= watch.threshold_micros
        if not was_back and available < watch.threshold_micros:
            return replace(watch, sequence=sequence, reserved_micros=reserved), False
    if available >= watch.threshold_micros:
        return Watch(watch.threshold_micros), False
    return Watch(watch.threshold_micros, sequence, wallet.reserved_micros), True


def is_due(auto: AutoTopUp, fell: bool, now: datetime) -> bool:
    """True if money is to be asked for now: the balance has fallen, or the time for another try has come."""
    if auto.state is AutoState.RETRYING:
        return auto.watch.sequence is not None and auto.next_attempt_at is not None and auto.next_attempt_at <= now
    return auto.state is AutoState.ACTIVE and fell


def after_failure(auto: AutoTopUp, reason: str, now: datetime) -> AutoTopUp:
    """The automatic top-up after another try that failed."""
    failures = auto.failures + 1
    if failures > len(BACKOFF):
        return replace(auto, state=AutoState.SUSPENDED, failures=failures, last_failure=reason, next_attempt_at=None)
    return replace(
        auto,
        state=AutoState.RETRYING,
        failures=failures,
        last_failure=reason,
        next_attempt_at=now + BACKOFF[failures - 1],
    )


def calmed(auto: AutoTopUp) -> AutoTopUp:
    """The automatic top-up after money came, or the balance is back by itself: failures before do not count."""
    return replace(auto, state=AutoState.ACTIVE, failures=0, last_failure="", next_attempt_at=None)


def check_threshold(wallet: Wallet, threshold: Money, field_name: str) -> None:
    """Refuses a threshold in another currency than the wallet's."""
    if threshold.currency != wallet.currency:
        raise Refused(
            "CURRENCY_MISMATCH",
            f"the wallet is in {wallet.currency}, the threshold in {threshold.currency}; use {wallet.currency}",
            field=field_name,
        )


def check_amount(wallet: Wallet, amount: Money, threshold: Money) -> None:
    """Refuses an automatic top-up of nothing, in another currency than the wallet's, or of more than it can hold."""
    if amount.currency != wallet.currency:
        raise Refused(
            "CURRENCY_MISMATCH",
            f"the wallet is in {wallet.currency}, the automatic top-up in {amount.currency}; use {wallet.currency}",
            field="auto_top_up.amount",
        )
    if amount.micros <= 0:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"{format_exact(amount.micros)} {amount.currency} cannot be topped up; use more than zero",
            field="auto_top_up.amount",
        )
    if threshold.micros + amount.micros > INT64_MAX:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"the threshold and the amount together do not fit the wallet; a balance is {format_exact(INT64_MAX)} at"
            " most",
            field="auto_top_up.amount",
        )

"""What a buyer holds with its seller, and the rules of its credit limit. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from directory.domain import Organization
from money import INT64_MAX, Money, format_exact

from wallet.domain.refusals import Actor, Refused


@dataclass(frozen=True, slots=True)
class Wallet:
    """One organization's prepaid account with its seller, in one currency; amounts in micros.

    It closes when its owner gets another seller: nothing is posted to it any more.
    """

    id: UUID
    root_id: UUID
    organization_id: UUID
    seller_id: UUID
    currency: str
    balance_micros: int
    reserved_micros: int
    credit_limit_micros: int
    is_open: bool
    created_at: datetime

    @property
    def is_empty(self) -> bool:
        """Holds nothing, owes nothing, and may not owe anything."""
        return not (self.balance_micros or self.reserved_micros or self.credit_limit_micros)


def check_empty(organization: Organization, wallets: Iterable[Wallet]) -> None:
    """Refuses WALLET_NOT_EMPTY where one of the organization's wallets is not: its money is with its seller."""
    for wallet in wallets:
        if not wallet.is_empty:
            raise Refused(
                "WALLET_NOT_EMPTY",
                f"the {wallet.currency} wallet of '{organization.domain}' is not empty: balance"
                f" {format_exact(wallet.balance_micros)}, reserved {format_exact(wallet.reserved_micros)}, credit"
                f" limit {format_exact(wallet.credit_limit_micros)}; bring all three to zero first",
                wallet_id=str(wallet.id),
            )


def check_open(wallet: Wallet) -> None:
    """Refuses WALLET_UNKNOWN where nothing is posted to the wallet any more."""
    if not wallet.is_open:
        raise Refused(
            "WALLET_UNKNOWN",
            f"wallet '{wallet.id}' was closed when its owner changed to another seller; use the wallet of now",
        )


def check_credit_limit(wallet: Wallet, owner: Organization, limit: Money, actor: Actor) -> None:
    """Refuses a limit that is not the actor's to set, not in the wallet's currency, or already passed."""
    check_open(wallet)
    if not actor.is_above(owner):
        raise Refused(
            "ROLE_NOT_ALLOWED",
            "the credit limit of your own wallet is set by your seller; ask there",
        )
    if limit.currency != wallet.currency:
        raise Refused(
            "CURRENCY_MISMATCH",
            f"the wallet is in {wallet.currency}, the credit limit in {limit.currency}; use {wallet.currency}",
            field="credit_limit",
        )
    if limit.micros < 0:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"the credit limit {format_exact(limit.micros)} is below zero; use zero or more",
            field="credit_limit",
        )
    if wallet.balance_micros - wallet.reserved_micros < -limit.micros:
        owed = wallet.reserved_micros - wallet.balance_micros
        raise Refused(
            "INSUFFICIENT_CREDIT",
            f"the wallet already stands {format_exact(owed)} {wallet.currency} below zero, so its limit cannot be"
            f" {format_exact(limit.micros)}; set at least {format_exact(owed)}, or wait for a top-up",
            field="credit_limit",
            wallet_id=str(wallet.id),
            needed_micros=str(owed),
        )


def check_fits(wallet: Wallet, amount_micros: int) -> None:
    """Refuses an amount that would take the balance past what a ledger amount can hold."""
    if wallet.balance_micros + amount_micros > INT64_MAX:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"{format_exact(amount_micros)} {wallet.currency} does not fit the wallet; a balance is"
            f" {format_exact(INT64_MAX)} at most",
            field="amount",
        )

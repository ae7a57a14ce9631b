"""Where a seller is paid, and the methods that its buyers have saved there (mission W4). Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from wallet.domain.refusals import Refused


class Provider(StrEnum):
    """Who collects."""

    BANK = "bank"
    SANDBOX = "sandbox"
    STRIPE = "stripe"


@dataclass(frozen=True, slots=True)
class BankDetails:
    """A bank account as an invoice names it; each may be empty."""

    account_holder: str = ""
    iban: str = ""
    bic: str = ""
    bank_name: str = ""
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class StripeSettings:
    """A seller's own Stripe account. The secrets are names of files, never what is in them."""

    success_url: str = ""
    cancel_url: str = ""
    api_key_secret: str = ""
    webhook_secret: str = ""


@dataclass(frozen=True, slots=True)
class PaymentAccount:
    """Where a seller is paid. `root_id` is the seller's."""

    id: UUID
    root_id: UUID
    seller_id: UUID
    provider: Provider
    display_name: str
    enabled: bool
    bank: BankDetails
    stripe: StripeSettings
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A payment method that a buyer has saved with its seller's provider, which calls the two so."""

    id: UUID
    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    payment_account_id: UUID
    provider: Provider
    display_name: str
    provider_customer: str
    provider_method: str
    is_active: bool = True
    created_at: datetime | None = None


def check_account(account: PaymentAccount, *, development: bool) -> None:
    """Refuses INVALID_ARGUMENT what does not go with the account's provider."""
    if account.provider is not Provider.BANK and account.bank != BankDetails():
        raise Refused(
            "INVALID_ARGUMENT",
            f"bank details on an account with {account.provider}; leave `bank` empty",
            field="payment_account.bank",
        )
    if account.provider is not Provider.STRIPE and account.stripe != StripeSettings():
        raise Refused(
            "INVALID_ARGUMENT",
            f"Stripe's settings on an account with {account.provider}; leave `stripe` empty",
            field="payment_account.stripe",
        )
    if account.provider is Provider.SANDBOX and not development:
        raise Refused(
            "INVALID_ARGUMENT",
            "pretended money is for development alone; set up BANK or STRIPE",
            field="payment_account.provider",
        )
    if account.bank.iban and not _checks(account.bank.iban):
        raise Refused(
            "INVALID_ARGUMENT",
            f"'{account.bank.iban}' is no IBAN: its check digits do not fit; compare it with what the bank gave you",
            field="payment_account.bank.iban",
        )


def _checks(iban: str) -> bool:
    """Whether the check digits of an IBAN, in letters and digits, fit (ISO 13616, ISO 7064 mod 97-10)."""
    return int("".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4])) % 97 == 1


def check_usable(account: PaymentAccount | None, seller_id: UUID) -> PaymentAccount:
    """The account, if its seller is `seller_id` and buyers may pay there. Refuses PAYMENT_ACCOUNT_UNUSABLE."""
    if account is None or account.seller_id != seller_id or account.provider is not Provider.STRIPE:
        raise unusable("the seller has set up no such payment account")
    if not account.enabled:
        raise unusable("the seller's payment account is switched off")
    if not account.stripe.api_key_secret or not account.stripe.success_url:
        raise unusable("the seller's payment account is not complete")
    return account


def unusable(why: str) -> Refused:
    """A payment account with which nobody can pay just now."""
    return Refused("PAYMENT_ACCOUNT_UNUSABLE", f"{why}; pay another way, or ask the seller to see to it")

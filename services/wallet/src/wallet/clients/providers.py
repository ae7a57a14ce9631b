"""What a payment provider does for a top-up, and what its webhooks say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from money import Money

from wallet.domain.payments import PaymentAccount
from wallet.domain.top_ups import Failure


@dataclass(frozen=True, slots=True)
class Collected:
    """The money is with the seller; `reference` is the provider's."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The money will not come; `reason` is for people, in English or as the provider says it."""

    reason: str
    failure: Failure = Failure.DECLINED


@dataclass(frozen=True, slots=True)
class Pending:
    """Not known yet; ask again later, by `reference` where the provider gave one.

    With a `checkout_url` it waits for the buyer, who pays there until `checkout_expires_at`.
    """

    reference: str = ""
    checkout_url: str = ""
    checkout_expires_at: datetime | None = None


Outcome = Collected | Declined | Pending


@dataclass(frozen=True, slots=True)
class Payment:
    """What is to be collected. `reference` is what the provider called it before, or empty.

    With an account of the seller's: from the saved `method` of `customer`, or on a checkout page.
    """

    top_up_id: UUID
    amount: Money
    token: str = ""
    reference: str = ""
    account: PaymentAccount | None = None
    customer: str = ""
    method: str = ""
    description: str = "Top-up"


class PaymentProvider(Protocol):
    """Collects money, once for each top-up however often it is asked."""

    def accepts(self, token: str) -> bool:
        """True if `token` names something the provider can collect from."""
        ...

    async def begin(self, payment: Payment) -> Outcome:
        """Collects, or opens a checkout; a repeat for the same top-up collects nothing more."""
        ...

    async def status(self, payment: Payment) -> Outcome:
        """What became of a payment that was pending."""
        ...

    async def cancel(self, payment: Payment) -> Outcome:
        """Calls a payment off that may be under way: Declined once its money cannot come, Collected where it has."""
        ...


@dataclass(frozen=True, slots=True)
class PaymentSucceeded:
    """A webhook says: the provider has collected `amount` for a top-up."""

    top_up_id: UUID
    amount: Money
    reference: str


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """A webhook says: not paid. On a checkout page a declined card is not the end: the buyer may try another."""

    top_up_id: UUID
    reason: str
    failure: Failure
    is_end_of_checkout: bool


@dataclass(frozen=True, slots=True)
class MethodSaved:
    """A webhook says: the buyer has saved a method in a setup session of ours."""

    setup_session_id: UUID
    provider_session: str


WebhookFact = PaymentSucceeded | PaymentFailed | MethodSaved


@dataclass(frozen=True, slots=True)
class Webhook:
    """A genuine event of the provider's; `fact` is None where it says nothing that we ask for."""

    event_id: str
    fact: WebhookFact | None


@dataclass(frozen=True, slots=True)
class Setup:
    """A page of the provider's on which the buyer saves a method."""

    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class MethodFound:
    """The method that a buyer has saved, as the provider calls it, and for people."""

    customer: str
    method: str
    display_name: str


class ForgedError(Exception):
    """A webhook whose signature is not the provider's, too old, or not yet made."""


class MalformedError(Exception):
    """A webhook that is the provider's, but says nothing that can be read."""


class UnusableError(Exception):
    """The seller's account with the provider cannot be used; says no more, since it may be about secrets."""


class HostedProvider(PaymentProvider, Protocol):
    """A provider with which each seller has an account, a page for buyers, and webhooks."""

    def accepts_amount(self, amount: Money) -> bool:
        """False for an amount that is finer than it can collect."""
        ...

    def check(self, account: PaymentAccount) -> None:
        """UnusableError where a secret that payments need is not there."""
        ...

    async def begin_setup(self, account: PaymentAccount, session_id: UUID, currency: str) -> Setup:
        """A page to save a method on; a repeat gives the same. UnusableError, OSError where it cannot."""
        ...

    async def saved_method(self, account: PaymentAccount, fact: MethodSaved) -> MethodFound | None:
        """What the buyer has saved, or None where it is nothing that can be used."""
        ...

    def read_webhook(self, account: PaymentAccount, payload: bytes, signature: str) -> Webhook:
        """A webhook's meaning. ForgedError where it is not the provider's, MalformedError where it has none."""
        ...

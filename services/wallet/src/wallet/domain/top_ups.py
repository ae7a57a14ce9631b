"""Money on its way to a wallet (mission W4): asked for, then settled or failed, once. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from directory.domain import Organization
from money import Money, format_exact

from wallet.domain.refusals import Actor, Refused
from wallet.domain.wallets import Wallet, check_fits, check_open


class Method(StrEnum):
    """How a top-up is paid."""

    MANUAL = "manual"
    SANDBOX = "sandbox"
    PROVIDER = "provider"
    VOUCHER = "voucher"


class State(StrEnum):
    """Where a top-up stands. SETTLED is final; FAILED is, unless the money comes all the same."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"


class Failure(StrEnum):
    """Why a top-up failed."""

    DECLINED = "declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CARD_EXPIRED = "card_expired"
    AUTHENTICATION_REQUIRED = "authentication_required"
    CHECKOUT_ABANDONED = "checkout_abandoned"
    METHOD_UNUSABLE = "method_unusable"
    SELLER_CHANGED = "seller_changed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class TopUp:
    """Money asked for by a buyer, to be paid to the seller that holds the wallet.

    `reference` is the bank's or the provider's. `deferred`: the provider could not say at once what became of it.
    With an `order_id` it is earmarked: what arrives is held for that order. `automatic`: the wallet's rules asked for
    it. `provider_reference` is what the provider calls it while it is under way. `cancel_reason`: why its money is not
    wanted any more.
    """

    id: UUID
    root_id: UUID
    wallet_id: UUID
    organization_id: UUID
    seller_id: UUID
    amount: Money
    method: Method
    payment_token: str
    created_by_name: str
    created_by_email: str
    created_at: datetime
    state: State = State.PENDING
    deferred: bool = False
    reference: str = ""
    failure: Failure | None = None
    failure_reason: str = ""
    transaction_id: UUID | None = None
    settled_at: datetime | None = None
    order_id: UUID | None = None
    order_number: str = ""
    hold_id: UUID | None = None
    payment_account_id: UUID | None = None
    payment_method_id: UUID | None = None
    checkout_url: str = ""
    checkout_expires_at: datetime | None = None
    provider_reference: str = ""
    automatic: bool = False
    cancel_reason: str = ""


def check_earmark(actor: Actor, order_id: str, order_number: str, created_by: str) -> None:
    """Refuses members what only our own services may say of a top-up: the order it is for, and in whose name."""
    if actor.is_service:
        if order_number and not order_id:
            raise Refused("INVALID_ARGUMENT", "an order number without order_id; name both", field="order_id")
        return
    said = {"order_id": order_id, "order_number": order_number, "created_by_name": created_by}
    for field, value in said.items():
        if value:
            raise Refused("INVALID_ARGUMENT", f"{field} is said by our own services alone; leave it empty", field=field)


def check_amount(wallet: Wallet, amount: Money) -> None:
    """Refuses an amount that is not more than zero, not in the wallet's currency, or does not fit."""
    check_open(wallet)
    if amount.currency != wallet.currency:
        raise Refused(
            "CURRENCY_MISMATCH",
            f"the wallet is in {wallet.currency}, the top-up in {amount.currency}; use {wallet.currency}",
            field="amount",
        )
    if amount.micros <= 0:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"{format_exact(amount.micros)} {amount.currency} cannot be topped up; use more than zero",
            field="amount",
        )
    check_fits(wallet, amount.micros)


def check_confirmation(top_up: TopUp, owner: Organization, actor: Actor) -> None:
    """Refuses a confirmation by hand from the wallet's own organization, or of a payment that a provider handles."""
    if not actor.is_above(owner):
        raise Refused(
            "ROLE_NOT_ALLOWED",
            "the arrival of your own payment is confirmed by your seller, who sees the bank account; ask there",
        )
    if top_up.method is not Method.MANUAL:
        raise Refused(
            "INVALID_ARGUMENT",
            f"top-up '{top_up.id}' is paid through a payment provider, which settles it; only manual ones are"
            " confirmed by hand",
            field="id",
        )


def settle(top_up: TopUp, reference: str, transaction_id: UUID, at: datetime, *, hold_id: UUID | None = None) -> TopUp:
    """The money is here, as ledger transaction `transaction_id`, held by `hold_id`, also where it had failed.

    Refuses TOP_UP_NOT_PENDING where it is settled already.
    """
    if top_up.state is State.SETTLED:
        raise not_pending(top_up)
    return replace(
        top_up,
        state=State.SETTLED,
        reference=reference,
        failure=None,
        failure_reason="",
        transaction_id=transaction_id,
        settled_at=at,
        hold_id=hold_id,
    )


def fail(top_up: TopUp, failure: Failure, reason: str) -> TopUp:
    """The money will not come; `reason` is for people, unless it was called off for another. Refuses
    TOP_UP_NOT_PENDING."""
    if top_up.state is not State.PENDING:
        raise not_pending(top_up)
    if top_up.cancel_reason:
        failure, reason = Failure.CANCELED, top_up.cancel_reason
    return replace(top_up, state=State.FAILED, failure=failure, failure_reason=reason)


def not_pending(top_up: TopUp) -> Refused:
    """It is settled or failed already."""
    return Refused(
        "TOP_UP_NOT_PENDING",
        f"top-up '{top_up.id}' is {top_up.state} already; ask for a new one if more money is to come",
        state=top_up.state.upper(),
    )


def reference_used(reference: str) -> Refused:
    """A seller confirms each line of its bank statement once."""
    return Refused(
        "ALREADY_EXISTS",
        f"the bank reference '{reference}' has already confirmed another top-up; use the reference of this payment",
        field="bank_reference",
    )

"""Corrections of a wallet by hand (mission W7): a reason, an author, and above a limit a second pair of eyes. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from directory.domain import Organization
from money import INT64_MAX, Money, format_exact

from wallet.domain.ledger import Correction
from wallet.domain.refusals import Actor, Refused
from wallet.domain.wallets import Wallet, check_open

MICROS_PER_UNIT = 1_000_000


class State(IntEnum):
    """Where an adjustment stands; the numbers of farthing.wallet.v1.Adjustment.State."""

    PENDING_APPROVAL = 1
    POSTED = 2
    REJECTED = 3


class Person(NamedTuple):
    """Who asks for an adjustment, or looks at it: the token's subject and name."""

    subject: str
    name: str


NOBODY = Person("", "")


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A credit (amount more than zero) or debit (less) of one wallet, in the name of its seller."""

    root_id: UUID
    id: UUID
    wallet_id: UUID
    organization_id: UUID
    seller_id: UUID
    amount: Money
    reason: str
    original_id: UUID | None
    author: Person
    created_at: datetime
    state: State = State.PENDING_APPROVAL
    reviewer: Person = NOBODY
    review_note: str = ""
    transaction_id: UUID | None = None
    ended_at: datetime | None = None

    @property
    def correction(self) -> Correction:
        """What the ledger posts for it."""
        return Correction(
            request_key=f"adjustment:{self.id}",
            request_sha256=sha256(self.id.bytes + self.amount.micros.to_bytes(8, signed=True)).digest(),
            root_id=self.root_id,
            wallet_id=self.wallet_id,
            organization_id=self.organization_id,
            currency=self.amount.currency,
            amount_micros=self.amount.micros,
            item=self.reason,
            original_id=self.original_id,
        )


def check_actor(wallet: Wallet, owner: Organization, actor: Actor, *, closed_too: bool = False) -> None:
    """Refuses whoever is not above the owner of the wallet, and a wallet that is closed unless it is `closed_too`."""
    if not closed_too:
        check_open(wallet)
    if not actor.is_above(owner):
        raise Refused("ROLE_NOT_ALLOWED", "your own wallet is corrected by your seller; ask there")


def check_amount(wallet: Wallet, amount: Money) -> None:
    """Refuses an amount of zero or of another currency."""
    if amount.currency != wallet.currency:
        raise Refused(
            "CURRENCY_MISMATCH",
            f"the wallet is in {wallet.currency}, the adjustment in {amount.currency}; use {wallet.currency}",
            field="amount",
        )
    if not amount.micros or abs(amount.micros) > INT64_MAX:
        raise Refused("AMOUNT_OUT_OF_RANGE", "an adjustment is more or less than zero", field="amount")


def check_texts(**texts: str) -> None:
    """Refuses texts that the books cannot keep."""
    for field, text in texts.items():
        if "\0" in text:
            raise Refused("INVALID_ARGUMENT", f"{field} holds a NUL character; leave it out", field=field)


def needs_second_person(amount: Money, limit_units: int) -> bool:
    """True above the limit, in whole units of the currency, whichever way the money goes."""
    return abs(amount.micros) > limit_units * MICROS_PER_UNIT


def check_pending(adjustment: Adjustment) -> None:
    """Refuses ADJUSTMENT_NOT_PENDING where it is posted or rejected already."""
    if adjustment.state is not State.PENDING_APPROVAL:
        raise Refused(
            "ADJUSTMENT_NOT_PENDING",
            f"adjustment '{adjustment.id}' is {adjustment.state.name.lower()} already; make a new one if one is needed",
            state=adjustment.state.name,
        )


def check_second_person(adjustment: Adjustment, reviewer: Person) -> None:
    """Refuses SECOND_PERSON_NEEDED to the author."""
    if reviewer.subject == adjustment.author.subject:
        amount = f"{format_exact(adjustment.amount.micros)} {adjustment.amount.currency}"
        raise Refused("SECOND_PERSON_NEEDED", f"you asked for these {amount} yourself; somebody else approves them")


def post(adjustment: Adjustment, transaction_id: UUID, at: datetime) -> Adjustment:
    """It is in the ledger."""
    return replace(adjustment, state=State.POSTED, transaction_id=transaction_id, ended_at=at)


def review(adjustment: Adjustment, reviewer: Person, note: str) -> Adjustment:
    """Somebody has looked at it; what became of it is said by `post` or `reject`."""
    return replace(adjustment, reviewer=reviewer, review_note=note)


def reject(adjustment: Adjustment, at: datetime) -> Adjustment:
    """It will not be posted."""
    return replace(adjustment, state=State.REJECTED, ended_at=at)

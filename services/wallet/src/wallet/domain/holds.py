"""Credit set aside for something under way (mission W6): held, captured in parts, given back. Pure.

`reserved_micros` of a wallet is the sum of what is held and not captured over its active holds. All amounts are
millionths of the currency's unit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from money import INT64_MAX

from wallet.domain.ledger import Book, Charge, Outcome, Posted, Refusal, Wallet, WalletKey


class HoldState(IntEnum):
    """Where a hold stands; the numbers of farthing.wallet.v1.Hold.State. All but ACTIVE are final."""

    ACTIVE = 1
    CAPTURED = 2
    RELEASED = 3
    EXPIRED = 4


@dataclass(frozen=True, slots=True)
class HeldAmount:
    """What a hold has set aside in one wallet."""

    tier: int
    wallet_id: UUID
    organization_id: UUID
    seller_id: UUID
    held_micros: int
    captured_micros: int = 0

    @property
    def rest_micros(self) -> int:
        """Held and not captured."""
        return self.held_micros - self.captured_micros


@dataclass(frozen=True, slots=True)
class Hold:
    """Credit set aside in one wallet or more, the purchaser's first."""

    root_id: UUID
    id: UUID
    organization_id: UUID
    currency: str
    amounts: tuple[HeldAmount, ...]
    item: str
    order_id: UUID | None
    order_number: str
    cloud_phone_id: str
    created_at: datetime
    expires_at: datetime
    state: HoldState = HoldState.ACTIVE
    ended_at: datetime | None = None


class Portion(NamedTuple):
    """What to set aside in one organization's wallet; more than zero."""

    organization_id: UUID
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A hold that somebody asks for. `portions` begin with the purchaser's, each organization once."""

    root_id: UUID
    currency: str
    portions: tuple[Portion, ...]
    ttl: timedelta
    item: str
    order_id: UUID | None = None
    order_number: str = ""
    cloud_phone_id: str = ""

    @property
    def keys(self) -> list[WalletKey]:
        """The wallets it is about."""
        return [WalletKey(self.root_id, portion.organization_id, self.currency) for portion in self.portions]


def place(book: Book, wanted: Wanted, hold_id: UUID) -> Hold | Refusal:
    """Sets credit aside in every wallet of `wanted`, or in none. The wallets of `book` are locked."""
    if len({portion.organization_id for portion in wanted.portions}) != len(wanted.portions):
        return Refusal("INVALID_ARGUMENT", "An organization is named twice among the tiers of the hold.")
    if "\0" in wanted.item + wanted.order_number + wanted.cloud_phone_id:
        return Refusal("INVALID_ARGUMENT", "item, order_number and cloud_phone_id hold no NUL character.")
    found: list[tuple[Wallet, int]] = []
    for number, (key, portion) in enumerate(zip(wanted.keys, wanted.portions, strict=True), 1):
        amount = portion.amount_micros
        wallet = book.wallets.get(key)
        if wallet is None:
            message = f"The organization of tier {number} has no wallet in {wanted.currency}."
            return Refusal("WALLET_UNKNOWN", message, portion.organization_id)
        if not 0 < amount <= INT64_MAX or wallet.reserved_micros + amount > INT64_MAX:
            return Refusal("AMOUNT_OUT_OF_RANGE", "The amount cannot be held.", portion.organization_id, wallet.id)
        if wallet.available_micros < amount:
            message = f"The wallet of tier {number} lacks credit for this hold."
            return Refusal(
                "INSUFFICIENT_CREDIT", message, wallet.organization_id, wallet.id, wallet.available_micros, amount
            )
        found.append((wallet, amount))
    amounts = []
    for tier, (wallet, amount) in enumerate(found, 1):
        wallet.reserved_micros += amount
        amounts.append(HeldAmount(tier, wallet.id, wallet.organization_id, wallet.seller_id, amount))
    return Hold(
        root_id=wanted.root_id,
        id=hold_id,
        organization_id=wanted.portions[0].organization_id,
        currency=wanted.currency,
        amounts=tuple(amounts),
        item=wanted.item,
        order_id=wanted.order_id,
        order_number=wanted.order_number,
        cloud_phone_id=wanted.cloud_phone_id,
        created_at=book.posted_at,
        expires_at=book.posted_at + wanted.ttl,
    )


def capture(book: Book, hold: Hold, charge: Charge, transaction_id: UUID, *, final: bool) -> tuple[Outcome, Hold]:
    """Posts a charge from what the hold has set aside, at most its rest in each of its wallets.

    A refusal leaves hold and wallets as they were. A repeat of a posted charge gets its first answer, however the hold
    stands. The hold ends when it is `final` or nothing is left of it.
    """
    known = book.known(charge)
    if known is not None:
        return known, hold
    refusal = _mismatch(hold, charge)
    if refusal is not None:
        return refusal, hold
    needed = {tier.buyer_id: tier.net_micros + tier.tax_micros for tier in charge.tiers}
    for amount in hold.amounts:
        asked = needed.get(amount.organization_id, 0)
        if asked > amount.rest_micros:
            message = f"The hold has less left at tier {amount.tier} than this charge takes."
            rest = amount.rest_micros
            return Refusal("HOLD_EXCEEDED", message, amount.organization_id, amount.wallet_id, rest, asked), hold
    wallets = {wallet.id: wallet for wallet in book.wallets.values()}
    taken = [(amount, needed.get(amount.organization_id, 0)) for amount in hold.amounts]
    for amount, asked in taken:
        if asked:
            wallets[amount.wallet_id].reserved_micros -= asked
    outcome = book.charge(charge, transaction_id)
    if not isinstance(outcome, Posted):
        for amount, asked in taken:
            if asked:
                wallets[amount.wallet_id].reserved_micros += asked
        return outcome, hold
    amounts = tuple(replace(amount, captured_micros=amount.captured_micros + asked) for amount, asked in taken)
    captured = replace(hold, amounts=amounts)
    if final or not any(amount.rest_micros for amount in amounts):
        captured = end(captured, wallets.values(), HoldState.CAPTURED, book.posted_at)
    return outcome, captured


def end(hold: Hold, wallets: Iterable[Wallet], state: HoldState, at: datetime) -> Hold:
    """Gives back what is left of an active hold. `wallets` are at least those with a rest, locked."""
    known = {wallet.id: wallet for wallet in wallets}
    for amount in hold.amounts:
        if amount.rest_micros:
            known[amount.wallet_id].reserved_micros -= amount.rest_micros
    return replace(hold, state=state, ended_at=at)


def keys_of(hold: Hold, charge: Charge | None = None) -> Sequence[WalletKey]:
    """The wallets of a hold, and of a charge that is captured from it."""
    keys = {WalletKey(hold.root_id, amount.organization_id, hold.currency) for amount in hold.amounts}
    if charge is not None:
        keys |= {WalletKey(charge.root_id, tier.buyer_id, charge.currency) for tier in charge.tiers}
    return list(keys)


def _mismatch(hold: Hold, charge: Charge) -> Refusal | None:
    if hold.state is not HoldState.ACTIVE:
        return Refusal("HOLD_NOT_ACTIVE", f"The hold is {hold.state.name.lower()} already.")
    if charge.currency != hold.currency:
        return Refusal("CURRENCY_MISMATCH", f"The hold is in {hold.currency}, the charge in {charge.currency}.")
    if charge.root_id != hold.root_id or charge.tiers[0].buyer_id != hold.organization_id:
        return Refusal("CHAIN_MISMATCH", "The charge is for another purchaser than the hold.")
    return None

"""Payment providers: who collects the money of a top-up from outside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from money import Money

from wallet.domain.top_ups import Method


@dataclass(frozen=True, slots=True)
class Collected:
    """The money is with the seller; `reference` is the provider's."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The money will not come; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Not known yet; ask again later."""


Outcome = Collected | Declined | Pending


class PaymentProvider(Protocol):
    """Collects money, once for each top-up however often it is asked."""

    def accepts(self, token: str) -> bool:
        """True if `token` names something the provider can collect from."""
        ...

    async def collect(self, top_up_id: UUID, amount: Money, token: str) -> Outcome:
        """Collects `amount`; a repeat for the same top-up collects nothing more and gives the same answer."""
        ...

    async def status(self, top_up_id: UUID, token: str) -> Outcome:
        """What became of a collection that was pending."""
        ...


class Sandbox:
    """A pretended card, for development: the token alone says what happens."""

    async def collect(self, top_up_id: UUID, amount: Money, token: str) -> Outcome:
        if token == "sandbox_late":
            return Pending()
        return await self.status(top_up_id, token)

    async def status(self, top_up_id: UUID, token: str) -> Outcome:
        if token == "sandbox_declined":
            return Declined("The card was declined.")
        return Collected(f"sandbox-{top_up_id}")

    def accepts(self, token: str) -> bool:
        return token in ("", "sandbox_ok", "sandbox_declined", "sandbox_late")


def payment_providers(*, development: bool) -> Mapping[Method, PaymentProvider]:
    """Who collects for each method. Pretended money is for development alone."""
    return {Method.SANDBOX: Sandbox()} if development else {}

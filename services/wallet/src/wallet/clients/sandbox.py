"""A pretended provider, for development: the token alone says what happens."""

from wallet.clients.providers import Collected, Declined, Outcome, Payment, Pending
from wallet.domain.top_ups import Failure


class Sandbox:
    """A pretended card."""

    async def begin(self, payment: Payment) -> Outcome:
        if payment.token == "sandbox_late":
            return Pending()
        return await self.status(payment)

    async def status(self, payment: Payment) -> Outcome:
        if payment.token == "sandbox_declined":
            return Declined("The card was declined.")
        return Collected(f"sandbox-{payment.top_up_id}")

    async def cancel(self, payment: Payment) -> Outcome:
        if payment.token == "sandbox_late":
            return Declined("The payment was called off.", Failure.CANCELED)
        return await self.status(payment)

    def accepts(self, token: str) -> bool:
        return token in ("", "sandbox_ok", "sandbox_declined", "sandbox_late")

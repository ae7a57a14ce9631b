"""Stripe, through its official SDK, with an account of each seller's own."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import stripe
import structlog
from money import Money, MoneyError, minor_exponent
from money.amounts import MICROS_PER_UNIT
from servicekit.clock import SYSTEM_CLOCK
from servicekit.ids import parse_id

from wallet.clients.providers import (
    Collected,
    Declined,
    ForgedError,
    MalformedError,
    MethodFound,
    MethodSaved,
    Outcome,
    Payment,
    PaymentFailed,
    PaymentSucceeded,
    Pending,
    Setup,
    UnusableError,
    Webhook,
    WebhookFact,
)
from wallet.clients.secret_files import SecretFiles
from wallet.domain.payments import PaymentAccount
from wallet.domain.top_ups import Failure

log = structlog.get_logger()
T = TypeVar("T")

REQUEST_TIMEOUT_S = 8.0
# Older webhooks are refused: somebody may be replaying what he has seen. So are those of a later time, which could be
# replayed until then.
TOLERANCE_S = 300
# Of an id of Stripe's (https://docs.stripe.com/upgrades).
_ID_MAX = 255
_FAILURES = {
    "insufficient_funds": Failure.INSUFFICIENT_FUNDS,
    "expired_card": Failure.CARD_EXPIRED,
    "authentication_required": Failure.AUTHENTICATION_REQUIRED,
    "payment_intent_authentication_failure": Failure.AUTHENTICATION_REQUIRED,
}
_LEFT = "The checkout page was left without a payment."
# Where Stripe's smallest unit is not that of ISO 4217 (https://docs.stripe.com/currencies).
_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0, "MRU": 2}


def to_minor(amount: Money) -> int | None:
    """The amount in Stripe's smallest unit of its currency, or None where it is finer than that."""
    step = MICROS_PER_UNIT // 10 ** _exponent(amount.currency)
    return None if amount.micros % step else amount.micros // step


def from_minor(currency: str, minor: int) -> Money | None:
    """An amount that Stripe names, or None where it is no money of ours."""
    try:
        return Money(currency.upper(), minor * MICROS_PER_UNIT // 10 ** _exponent(currency.upper()))
    except MoneyError:
        return None


def _exponent(currency: str) -> int:
    return _EXPONENTS.get(currency, minor_exponent(currency))


class Stripe:
    """Collects on a checkout page or from a saved card; every request carries the top-up's id as idempotency key."""

    def __init__(self, secrets: SecretFiles, api_url: str | None = None) -> None:
        self._secrets = secrets
        self._api_url = api_url
        # The SDK logs what Stripe says, also where that quotes a key.
        logging.getLogger("stripe").setLevel(logging.CRITICAL)

    def accepts(self, token: str) -> bool:
        return token == ""

    def accepts_amount(self, amount: Money) -> bool:
        return to_minor(amount) is not None

    def check(self, account: PaymentAccount) -> None:
        self._secrets.read(account.seller_id, account.stripe.api_key_secret)
        self._secrets.read(account.seller_id, account.stripe.webhook_secret)

    async def begin(self, payment: Payment) -> Outcome:
        minor = to_minor(payment.amount)
        if payment.account is None or minor is None:
            return Declined("The amount is finer than a card can pay.", Failure.METHOD_UNUSABLE)
        currency = payment.amount.currency.lower()
        if payment.method:
            return await self._collect(payment, payment.account, minor, currency)
        stripe_settings = payment.account.stripe
        metadata = {"top_up_id": str(payment.top_up_id)}
        params: Any = {
            "mode": "payment",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": currency,
                        "unit_amount": minor,
                        "product_data": {"name": payment.description},
                    },
                }
            ],
            "client_reference_id": str(payment.top_up_id),
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata},
            "success_url": stripe_settings.success_url,
            "cancel_url": stripe_settings.cancel_url or stripe_settings.success_url,
        }
        options: Any = {"idempotency_key": str(payment.top_up_id)}
        return await self._outcome(
            payment.account,
            lambda client: _of_session(client.v1.checkout.sessions.create(params, options)),
        )

    async def _collect(self, payment: Payment, account: PaymentAccount, minor: int, currency: str) -> Outcome:
        params: Any = {
            "amount": minor,
            "currency": currency,
            "customer": payment.customer,
            "payment_method": payment.method,
            "off_session": True,
            "confirm": True,
            "description": payment.description,
            "metadata": {"top_up_id": str(payment.top_up_id)},
        }
        options: Any = {"idempotency_key": str(payment.top_up_id)}
        return await self._outcome(
            account, lambda client: _of_intent(client.v1.payment_intents.create(params, options))
        )

    async def status(self, payment: Payment) -> Outcome:
        reference, account = payment.reference, payment.account
        if account is None or not reference:
            # It never said what it calls the payment: the idempotency key makes asking for it again harmless.
            return await self.begin(payment)
        if reference.startswith("cs_"):
            return await self._outcome(
                account, lambda client: _of_session(client.v1.checkout.sessions.retrieve(reference))
            )
        return await self._outcome(account, lambda client: _of_intent(client.v1.payment_intents.retrieve(reference)))

    async def cancel(self, payment: Payment) -> Outcome:
        reference, account = payment.reference, payment.account
        if account is None or not reference:
            # Where its answer was lost, only asking for it again tells what is to be called off.
            begun = await self.begin(payment)
            if account is None or not isinstance(begun, Pending):
                return begun
            reference = begun.reference
        if not reference.startswith("cs_"):
            # What is collected from a saved card is on its way, and cannot be stopped.
            return await self.status(replace(payment, reference=reference))
        return await self._outcome(account, lambda client: _expired(client, reference))

    async def begin_setup(self, account: PaymentAccount, session_id: UUID, currency: str) -> Setup:
        settings = account.stripe
        params: Any = {
            "mode": "setup",
            "currency": currency.lower(),
            "customer_creation": "always",
            "client_reference_id": str(session_id),
            "metadata": {"setup_session_id": str(session_id)},
            "success_url": settings.success_url,
            "cancel_url": settings.cancel_url or settings.success_url,
        }
        options: Any = {"idempotency_key": str(session_id)}
        try:
            session = await self._call(account, lambda client: client.v1.checkout.sessions.create(params, options))
        except stripe.APIConnectionError as error:
            raise ConnectionError("Stripe does not answer") from error
        except stripe.StripeError as error:
            raise _refused(error) from None
        return Setup(session.url or "", datetime.fromtimestamp(session.expires_at, UTC))

    async def saved_method(self, account: PaymentAccount, fact: MethodSaved) -> MethodFound | None:
        params: Any = {"expand": ["setup_intent.payment_method"]}
        try:
            session: Any = await self._call(
                account, lambda client: client.v1.checkout.sessions.retrieve(fact.provider_session, params)
            )
        except stripe.APIConnectionError as error:
            raise ConnectionError("Stripe does not answer") from error
        except stripe.StripeError as error:
            raise _refused(error) from None
        intent = session.setup_intent
        method = getattr(intent, "payment_method", None)
        if intent is None or isinstance(method, str | None) or not session.customer:
            return None
        return MethodFound(str(session.customer), str(method.id), _for_people(method))

    def read_webhook(self, account: PaymentAccount, payload: bytes, signature: str) -> Webhook:
        secret = self._secrets.read(account.seller_id, account.stripe.webhook_secret)
        try:
            stripe.WebhookSignature.verify_header(payload, signature, secret, TOLERANCE_S)
            made_at = int(next(part for part in signature.split(",") if part.startswith("t="))[2:])
        except (stripe.SignatureVerificationError, ValueError) as error:
            raise ForgedError from error
        # The SDK looks at the machine's clock, and for what is old alone.
        if made_at > SYSTEM_CLOCK.now().timestamp() + TOLERANCE_S:
            raise ForgedError
        try:
            event = _mapping(json.loads(payload))
            thing = _mapping(_mapping(event["data"])["object"])
            return Webhook(_id_in(event["id"]), _fact(_text(event["type"]), thing))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise MalformedError from error

    async def _outcome(self, account: PaymentAccount, ask: Callable[[stripe.StripeClient], Outcome]) -> Outcome:
        try:
            return await self._call(account, ask)
        except stripe.CardError as error:
            return Declined(
                error.user_message or "The card was declined.",
                _why(error.code, getattr(error.error, "decline_code", None)),
            )
        except (stripe.APIConnectionError, stripe.RateLimitError, stripe.IdempotencyError) as error:
            log.warning("Stripe did not answer", payment_account_id=str(account.id), error=type(error).__name__)
            return Pending()
        except stripe.StripeError as error:
            if (error.http_status or 500) >= 500 or error.http_status == 409:
                log.warning("Stripe is in trouble", payment_account_id=str(account.id), status=error.http_status)
                return Pending()
            raise _refused(error) from None

    async def _call(self, account: PaymentAccount, ask: Callable[[stripe.StripeClient], T]) -> T:
        """`ask` on a thread of its own: the SDK waits with a blocking socket."""
        key = self._secrets.read(account.seller_id, account.stripe.api_key_secret)

        def work() -> T:
            http = stripe.RequestsClient(timeout=REQUEST_TIMEOUT_S)
            addresses: Any = {"api": self._api_url} if self._api_url else {}
            client = stripe.StripeClient(key, http_client=http, base_addresses=addresses, max_network_retries=0)
            try:
                return ask(client)
            finally:
                http.close()  # type: ignore[no-untyped-call]

        return await asyncio.to_thread(work)


def _refused(error: stripe.StripeError) -> UnusableError:
    # Not its message: it may quote a key.
    log.error("Stripe refuses the seller's account", kind=type(error).__name__, code=error.code)
    return UnusableError("the seller's payment provider refuses it")


def _expired(client: stripe.StripeClient, session_id: str) -> Outcome:
    try:
        return _of_session(client.v1.checkout.sessions.expire(session_id))
    except stripe.InvalidRequestError:
        # It is not open any more: paid, or expired before.
        return _of_session(client.v1.checkout.sessions.retrieve(session_id))


def _of_session(session: Any) -> Outcome:
    if session.payment_status == "paid":
        return Collected(_id(session.payment_intent) or session.id)
    if session.status == "expired":
        return Declined(_LEFT, Failure.CHECKOUT_ABANDONED)
    return Pending(session.id, session.url or "", datetime.fromtimestamp(session.expires_at, UTC))


def _of_intent(intent: Any) -> Outcome:
    if intent.status == "succeeded":
        return Collected(intent.id)
    if intent.status in ("canceled", "requires_payment_method", "requires_action", "requires_confirmation"):
        if intent.status in ("requires_action", "requires_confirmation"):
            why = Failure.AUTHENTICATION_REQUIRED
        else:
            error = getattr(intent, "last_payment_error", None)
            why = _why(getattr(error, "code", None), getattr(error, "decline_code", None))
        return Declined("The payment method asks for its owner, or was declined.", why)
    return Pending(intent.id)


def _why(code: Any, decline_code: Any) -> Failure:
    """What Stripe's codes say: https://docs.stripe.com/error-codes, https://docs.stripe.com/declines/codes."""
    said = (each for each in (decline_code, code) if isinstance(each, str))
    return next((_FAILURES[each] for each in said if each in _FAILURES), Failure.DECLINED)


def _fact(kind: str, thing: dict[str, Any]) -> WebhookFact | None:
    """What an event says, read from its plain JSON: https://docs.stripe.com/api/events/types.

    KeyError, TypeError, ValueError where it is not of that form.
    """
    metadata = _mapping(thing.get("metadata") or {})
    if kind == "checkout.session.completed" and thing.get("mode") == "setup":
        session_id = parse_id(str(metadata.get("setup_session_id", "")))
        return None if session_id is None else MethodSaved(session_id, _id_in(thing["id"]))
    top_up_id = parse_id(str(metadata.get("top_up_id", "")))
    if top_up_id is None:
        return None
    if kind in ("checkout.session.completed", "checkout.session.async_payment_succeeded"):
        paid = thing.get("payment_status") == "paid"
        return _succeeded(top_up_id, thing, "amount_total", thing.get("payment_intent")) if paid else None
    if kind == "payment_intent.succeeded":
        return _succeeded(top_up_id, thing, "amount_received", thing["id"])
    if kind == "checkout.session.expired":
        return PaymentFailed(top_up_id, _LEFT, Failure.CHECKOUT_ABANDONED, is_end_of_checkout=True)
    if kind == "checkout.session.async_payment_failed":
        return PaymentFailed(top_up_id, "The payment was declined.", Failure.DECLINED, is_end_of_checkout=True)
    if kind in ("payment_intent.payment_failed", "payment_intent.canceled"):
        error = _mapping(thing.get("last_payment_error") or {})
        reason = _text(error.get("message") or "The payment was declined.")
        why = _why(error.get("code"), error.get("decline_code"))
        return PaymentFailed(top_up_id, reason, why, is_end_of_checkout=False)
    return None


def _succeeded(top_up_id: UUID, thing: dict[str, Any], field: str, intent: Any) -> PaymentSucceeded | None:
    minor = thing[field]
    if type(minor) is not int:
        raise TypeError(f"{field} is not a whole number")
    amount = from_minor(_text(thing["currency"]), minor)
    # Expanded, it comes whole.
    reference = _id_in((intent["id"] if isinstance(intent, dict) else intent) or thing["id"])
    return None if amount is None else PaymentSucceeded(top_up_id, amount, reference)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not a mapping")
    return value


def _text(value: Any) -> str:
    # PostgreSQL holds no NUL, and (a ValueError, too) nothing that is not UTF-8, which JSON can write.
    if not isinstance(value, str) or b"\0" in value.encode():
        raise TypeError("not a text")
    return value


def _id_in(value: Any) -> str:
    if not 0 < len(_text(value)) <= _ID_MAX:
        raise ValueError("not an id")
    return str(value)


def _id(expandable: Any) -> str:
    return str(getattr(expandable, "id", expandable) or "")


def _for_people(method: Any) -> str:
    card = getattr(method, "card", None)
    if card is None:
        return str(method.type).replace("_", " ").capitalize()
    return f"{str(card.brand).capitalize()} ending in {card.last4}, {card.exp_month:02d}/{card.exp_year}"

"""What payment providers say by themselves (mission W4): genuine or refused, acted on once, in any order."""

import asyncio
from uuid import UUID

import grpc
import structlog
from farthing.wallet.v1 import payments_pb2
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.problems import Problem, invalid, not_found, unavailable
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients.providers import (
    ForgedError,
    HostedProvider,
    MalformedError,
    MethodFound,
    MethodSaved,
    PaymentFailed,
    PaymentSucceeded,
    UnusableError,
    Webhook,
)
from wallet.clients.registry import Providers
from wallet.commands.methods import PROVIDER_TIMEOUT_S
from wallet.commands.settlement import fail, locked, may_settle, settle
from wallet.convert.refusals import refusals_told
from wallet.domain import payments as rules
from wallet.domain.payments import PaymentAccount, Provider, SavedMethod
from wallet.domain.top_ups import Method, State, TopUp
from wallet.store import payments as store
from wallet.store import top_ups, wallets

log = structlog.get_logger()


async def receive(
    database: Database, providers: Providers, request: payments_pb2.ReceiveWebhookRequest
) -> payments_pb2.ReceiveWebhookResponse:
    """Checks a webhook and does what it says, once.

    Problem WEBHOOK_FORGED where it is not the provider's, INVALID_ARGUMENT where it cannot be read.

    Where something is in the way (the provider does not answer, the ledger refuses) nothing is remembered, and the
    provider sends it again.
    """
    async with database.transaction(EVERYTHING) as connection:
        account = await store.find(connection, UUID(request.payment_account_id))
    if account is None or account.provider is not Provider.STRIPE or providers.hosted is None:
        raise not_found(f"payment account '{request.payment_account_id}' with a provider")
    hosted = providers.hosted
    with refusals_told():
        webhook = _genuine(hosted, account, request)
        fact = webhook.fact
        if fact is None:
            return payments_pb2.ReceiveWebhookResponse()
        found = None
        if isinstance(fact, MethodSaved):
            async with database.transaction(EVERYTHING) as connection:
                if await store.is_remembered(connection, account, webhook.event_id):
                    return payments_pb2.ReceiveWebhookResponse()
            found = await _saved_method(hosted, account, fact)
        async with database.transaction(EVERYTHING) as connection:
            if not await store.remember(connection, account, webhook.event_id):
                return payments_pb2.ReceiveWebhookResponse()
            match fact:
                case PaymentSucceeded():
                    acted = await _succeeded(connection, account, fact)
                case PaymentFailed():
                    acted = await _failed(connection, account, fact)
                case MethodSaved():
                    acted = found is not None and await _saved(connection, account, fact, found)
    return payments_pb2.ReceiveWebhookResponse(acted=acted)


def _genuine(hosted: HostedProvider, account: PaymentAccount, request: payments_pb2.ReceiveWebhookRequest) -> Webhook:
    try:
        return hosted.read_webhook(account, request.payload, request.signature)
    except ForgedError:
        log.warning("a webhook is not genuine", payment_account_id=str(account.id))
        message = "The signature is not the payment provider's, or not of the last minutes; nothing was done."
        raise Problem(grpc.StatusCode.PERMISSION_DENIED, "WEBHOOK_FORGED", message) from None
    except MalformedError:
        log.warning("a webhook cannot be read", payment_account_id=str(account.id))
        message = "The payload is not an event of the payment provider; nothing was done."
        raise invalid(message, {"payload": message}) from None
    except UnusableError as error:
        raise rules.unusable(str(error)) from None


async def _saved_method(hosted: HostedProvider, account: PaymentAccount, fact: MethodSaved) -> MethodFound | None:
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_S):
            return await hosted.saved_method(account, fact)
    except UnusableError as error:
        raise rules.unusable(str(error)) from None
    except OSError as error:
        raise unavailable("The payment provider does not answer; send the webhook again.") from error


async def _succeeded(connection: AsyncConnection, account: PaymentAccount, fact: PaymentSucceeded) -> bool:
    top_up = await _top_up(connection, account, fact.top_up_id)
    if top_up is None:
        return False
    if top_up.amount != fact.amount:
        log.error("a payment of another amount than its top-up's", top_up_id=str(top_up.id), paid=str(fact.amount))
        return False
    if not await may_settle(connection, top_up):
        if top_up.state is State.FAILED:
            log.error("a top-up of a closed wallet was paid", top_up_id=str(top_up.id), reference=fact.reference)
        return False
    await settle(connection, top_up, fact.reference)
    return True


async def _failed(connection: AsyncConnection, account: PaymentAccount, fact: PaymentFailed) -> bool:
    top_up = await _top_up(connection, account, fact.top_up_id)
    if top_up is None or top_up.state is not State.PENDING:
        return False
    if top_up.payment_method_id is None and not fact.is_end_of_checkout:
        # A card was declined on the checkout page; the buyer may try another.
        return False
    await fail(connection, top_up, fact.failure, fact.reason)
    return True


async def _top_up(connection: AsyncConnection, account: PaymentAccount, top_up_id: UUID) -> TopUp | None:
    """The top-up, locked, if it is one that is paid at this account; a seller's events touch nobody else's."""
    found = await top_ups.find(connection, top_up_id)
    if (
        found is None
        or found.method is not Method.PROVIDER
        or found.payment_account_id != account.id
        or found.seller_id != account.seller_id
    ):
        log.warning("a webhook about no top-up of this account", payment_account_id=str(account.id))
        return None
    return await locked(connection, found)


async def _saved(connection: AsyncConnection, account: PaymentAccount, fact: MethodSaved, found: MethodFound) -> bool:
    key = await store.setup_wallet(connection, fact.setup_session_id, account)
    if key is None:
        log.warning("a webhook about no setup session of this account", payment_account_id=str(account.id))
        return False
    wallet = await wallets.keep(connection, *key)
    if not wallet.is_open:
        return False
    method = SavedMethod(
        id=new_id(),
        root_id=wallet.root_id,
        wallet_id=wallet.id,
        organization_id=wallet.organization_id,
        payment_account_id=account.id,
        provider=account.provider,
        display_name=found.display_name,
        provider_customer=found.customer,
        provider_method=found.method,
    )
    return await store.add_method(connection, method)

"""Money asked for, collected, and put on a wallet, once (mission W4).

A top-up through a provider takes two transactions with the provider between them: the first writes that it is
wanted, the second what became of it. A crash between the two leaves it pending, and `resolve_top_ups` finishes it.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from directory import store as directory
from farthing.wallet.v1 import wallets_pb2
from money import Money, format_exact
from servicekit import audit
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.ids import new_id, parse_id
from servicekit.problems import Problem, invalid, not_found
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients.providers import Collected, Declined, Outcome, Payment, Pending, UnusableError
from wallet.clients.registry import Providers
from wallet.commands.callers import actor, in_whose_name, seen_wallet
from wallet.commands.payments import account_for, usable_method
from wallet.commands.settlement import fail, locked, may_settle, settle
from wallet.convert.money import amount_in
from wallet.convert.refusals import refusals_told
from wallet.convert.top_ups import method_from_number, top_up_to_message
from wallet.domain import top_ups as rules
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Failure, Method, State, TopUp
from wallet.domain.wallets import Wallet
from wallet.store import payments, top_ups, wallets

log = structlog.get_logger()

# What a top-up is not yet while it is pending.
_AS_PENDING: dict[str, Any] = {
    "state": State.PENDING,
    "reference": "",
    "failure": None,
    "failure_reason": "",
    "transaction_id": None,
    "settled_at": None,
    "hold_id": None,
}

PROVIDER_TIMEOUT_S = 10.0
# A request under way is left alone for so long before the job takes it for lost.
LOOK_AFTER = timedelta(seconds=30)
ASK_AGAIN = timedelta(seconds=2)
# Only where the webhook is lost does this find out first.
ASK_CHECKOUT_AGAIN = timedelta(minutes=5)
CLAIMED_AT_ONCE = 20


async def create_top_up(
    database: Database, providers: Providers, request: wallets_pb2.CreateTopUpRequest
) -> wallets_pb2.TopUp:
    """Asks for a top-up; one through a provider is settled or failed when this returns, or pending if it says so."""
    found = await seen_wallet(database, request.wallet_id)
    method = method_from_number(request.method)

    async def change(connection: AsyncConnection) -> wallets_pb2.TopUp:
        wallet = await wallets.keep(connection, found.root_id, found.id)
        top_up = await _wanted(connection, providers, request, wallet)
        await top_ups.add(connection, top_up, look_after=None if method is Method.MANUAL else LOOK_AFTER)
        if _is_asked_by_another(top_up):
            after = {"created_by": top_up.created_by_email}
            await _record(connection, "TOP_UP_REQUESTED", top_up, request.request_id, after=after)
        return top_up_to_message(top_up)

    with refusals_told():
        first = await once(database, found.root_id, request, wallets_pb2.TopUp, change)
        await fault_point("wallet.after_top_up_commit")
        if method is Method.MANUAL:
            return first
        top_up = await resolve(database, providers, UUID(first.id))
    if not top_up.deferred:
        return top_up_to_message(top_up)
    # What was answered as pending stays answered so, also when it is settled by now.
    return top_up_to_message(replace(top_up, **_AS_PENDING))


async def settle_top_up(database: Database, request: wallets_pb2.SettleTopUpRequest) -> wallets_pb2.TopUp:
    """Puts a manual top-up on the wallet: the seller has seen the money on its bank statement."""
    reference = " ".join(request.bank_reference.split())
    if not reference:
        text = "The bank reference is empty; give it as on the bank's statement."
        raise invalid(text, {"bank_reference": text})
    async with database.transaction(current_call().scope) as connection:
        found = await top_ups.find(connection, UUID(request.id))
    if found is None:
        raise not_found(f"top-up '{request.id}'")

    async def change(connection: AsyncConnection) -> wallets_pb2.TopUp:
        top_up = await locked(connection, found)
        owner = await directory.find(connection, top_up.organization_id)
        if owner is None or not actor().sees(owner):
            raise not_found(f"top-up '{request.id}'")
        rules.check_confirmation(top_up, owner, actor())
        if not await may_settle(connection, top_up):
            raise rules.not_pending(top_up)
        if not await top_ups.claim_reference(connection, top_up.seller_id, reference):
            raise rules.reference_used(reference)
        settled = await settle(connection, top_up, reference)
        await _record(
            connection,
            "TOP_UP_SETTLED",
            settled,
            request.request_id,
            before={"state": top_up.state.upper()},
            after={"reference": settled.reference, "transaction_id": str(settled.transaction_id)},
        )
        await fault_point("wallet.before_settle_commit")
        return top_up_to_message(settled)

    with refusals_told():
        settled = await once(database, found.root_id, request, wallets_pb2.TopUp, change)
    await fault_point("wallet.after_settle_commit")
    return settled


async def cancel_top_up(
    database: Database, providers: Providers, request: wallets_pb2.CancelTopUpRequest
) -> wallets_pb2.TopUp:
    """Ends a top-up whose money is not wanted any more; gives it as it is now.

    One through a provider is called off there, by the job where the provider does not answer.
    """
    async with database.transaction(current_call().scope) as connection:
        found = await top_ups.find(connection, UUID(request.id))
    if found is None:
        raise not_found(f"top-up '{request.id}'")

    async def change(connection: AsyncConnection) -> wallets_pb2.TopUp:
        top_up = await locked(connection, found)
        if top_up.state is State.PENDING:
            top_up = replace(top_up, cancel_reason=request.reason)
            await top_ups.call_off(connection, top_up, LOOK_AFTER)
            if top_up.method is Method.MANUAL:
                top_up = await fail(connection, top_up, Failure.CANCELED, request.reason)
        return top_up_to_message(top_up)

    await once(database, found.root_id, request, wallets_pb2.TopUp, change)
    await fault_point("wallet.after_cancel_commit")
    with refusals_told():
        return top_up_to_message(await resolve(database, providers, found.id, again=True))


def _is_asked_by_another(top_up: TopUp) -> bool:
    """True where one of a seller's people asks for it, which the top-up itself, in the buyer's name, does not say."""
    principal = current_call().principal
    return principal.kind == "member" and principal.organization_id != top_up.organization_id


async def _record(
    connection: AsyncConnection,
    action: str,
    top_up: TopUp,
    request_id: str,
    *,
    before: dict[str, str] | None = None,
    after: dict[str, str],
) -> None:
    """Writes to the audit trail what became of the top-up; its state and amount are told with `after`."""
    stands = {
        "state": top_up.state.upper(),
        "amount": f"{format_exact(top_up.amount.micros)} {top_up.amount.currency}",
    }
    await audit.record(
        connection,
        audit.Change(
            root_id=top_up.root_id,
            organization_id=top_up.organization_id,
            action=action,
            target_type="top_up",
            target_id=str(top_up.id),
            before=before,
            after=stands | after,
            request_id=request_id,
        ),
    )


async def resolve_top_ups(database: Database, providers: Providers) -> int:
    """Finishes pending top-ups of providers that were deferred, or left by a crash; returns how many were due."""
    async with database.transaction(EVERYTHING) as connection:
        due = await top_ups.claim_due(connection, limit=CLAIMED_AT_ONCE, again=LOOK_AFTER)
    # Side by side: a provider that is slow holds up nobody else's.
    await asyncio.gather(*(_finish(database, providers, top_up) for top_up in due))
    return len(due)


async def _finish(database: Database, providers: Providers, top_up: TopUp) -> None:
    if providers.get(top_up.method) is None:
        log.error("a pending top-up has no payment provider here", top_up_id=str(top_up.id), method=top_up.method)
        return
    try:
        await resolve(database, providers, top_up.id, again=True)
    except Refused as refused:
        # Collected, but the ledger will not have it: a person must look. It stays pending and is tried again.
        log.error("a collected top-up cannot be posted", top_up_id=str(top_up.id), reason=refused.reason)


async def resolve(database: Database, providers: Providers, top_up_id: UUID, *, again: bool = False) -> TopUp:
    """Asks the provider about a pending top-up, and writes what it says; one that is final is left as it is.

    One that the provider has deferred is asked about only `again`.
    """
    async with database.transaction(EVERYTHING) as connection:
        top_up = await top_ups.find(connection, top_up_id)
        if top_up is None:
            raise not_found(f"top-up '{top_up_id}'")
        payment = await _payment(connection, top_up)
    if top_up.state is not State.PENDING or (top_up.deferred and not again):
        return top_up
    outcome = await _ask(providers, top_up, payment, again=again)
    async with database.transaction(EVERYTHING) as connection:
        now = await locked(connection, top_up)
        come = isinstance(outcome, Collected) and await may_settle(connection, now)
        if now.state is not State.PENDING and not come:
            return now
        resolved = await _apply(connection, now, outcome)
        await fault_point("wallet.before_settle_commit")
    await fault_point("wallet.after_settle_commit")
    return resolved


async def _payment(connection: AsyncConnection, top_up: TopUp) -> Payment:
    account = method = None
    if top_up.payment_account_id is not None:
        account = await payments.find(connection, top_up.payment_account_id)
    if top_up.payment_method_id is not None:
        method = await payments.find_method(connection, top_up.payment_method_id)
    return Payment(
        top_up.id,
        top_up.amount,
        token=top_up.payment_token,
        reference=top_up.provider_reference,
        account=account,
        customer=method.provider_customer if method else "",
        method=method.provider_method if method else "",
        description=f"Order {top_up.order_number}" if top_up.order_number else "Top-up",
    )


async def _ask(providers: Providers, top_up: TopUp, payment: Payment, *, again: bool) -> Outcome:
    provider = providers.get(top_up.method)
    if provider is None:
        return Pending()
    if top_up.cancel_reason:
        ask = provider.cancel(payment)
    else:
        ask = provider.status(payment) if top_up.deferred else provider.begin(payment)
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_S):
            return await ask
    except (TimeoutError, OSError) as error:
        # Whether it collected is unknown: it will say when it is asked again.
        log.warning("payment provider did not answer", top_up_id=str(top_up.id), error=repr(error))
        return Pending()
    except UnusableError as error:
        if again:
            # It may have collected before: only the provider can say.
            log.error("a payment under way cannot be asked about", top_up_id=str(top_up.id), error=str(error))
            return Pending()
        return Declined(f"The payment cannot be made: {error}.", Failure.METHOD_UNUSABLE)


async def _apply(connection: AsyncConnection, top_up: TopUp, outcome: Outcome) -> TopUp:
    match outcome:
        case Collected(reference):
            return await settle(connection, top_up, reference)
        case Declined(reason, failure):
            return await fail(connection, top_up, failure, reason)
        case Pending(reference, checkout_url, checkout_expires_at):
            deferred = replace(
                top_up,
                deferred=True,
                provider_reference=reference or top_up.provider_reference,
                checkout_url=checkout_url or top_up.checkout_url,
                checkout_expires_at=checkout_expires_at or top_up.checkout_expires_at,
            )
            await top_ups.defer(connection, deferred, _again_after(deferred))
            return deferred


def _again_after(deferred: TopUp) -> timedelta:
    if deferred.cancel_reason:
        return LOOK_AFTER
    # A buyer takes its time on a checkout page, and the webhook tells what became of it.
    return ASK_CHECKOUT_AGAIN if deferred.checkout_url else ASK_AGAIN


async def _wanted(
    connection: AsyncConnection, providers: Providers, request: wallets_pb2.CreateTopUpRequest, wallet: Wallet
) -> TopUp:
    """The top-up as it is asked for, in the caller's name; where a service names nobody, in the boss's."""
    rules.check_earmark(
        actor(), request.order_id, request.order_number, request.created_by_name or request.created_by_email
    )
    amount = amount_in(request.amount, "amount")
    rules.check_amount(wallet, amount)
    method, account_id, saved_id = await _way(connection, providers, request, wallet, amount)
    name, email = request.created_by_name, request.created_by_email
    if not (name or email):
        name, email = await in_whose_name(connection, wallet)
    return TopUp(
        id=new_id(),
        root_id=wallet.root_id,
        wallet_id=wallet.id,
        organization_id=wallet.organization_id,
        seller_id=wallet.seller_id,
        amount=amount,
        method=method,
        payment_token=request.payment_token if method is Method.SANDBOX else "",
        created_by_name=name,
        created_by_email=email,
        created_at=await top_ups.now(connection),
        order_id=parse_id(request.order_id),
        order_number=request.order_number,
        payment_account_id=account_id,
        payment_method_id=saved_id,
    )


async def _way(
    connection: AsyncConnection,
    providers: Providers,
    request: wallets_pb2.CreateTopUpRequest,
    wallet: Wallet,
    amount: Money,
) -> tuple[Method, UUID | None, UUID | None]:
    """How it is paid, with the seller's account and the buyer's saved method, where there are."""
    method = method_from_number(request.method)
    if method is Method.VOUCHER:
        raise _bad("method", "A voucher is redeemed by RedeemVoucher, which makes the top-up itself; use it.")
    provider = providers.get(method)
    if method is not Method.MANUAL and provider is None:
        raise _bad("method", f"Top-ups by {method} are not offered here; use another method.")
    if provider is not None and not provider.accepts(request.payment_token):
        raise _bad("payment_token", f"The payment token '{request.payment_token}' is none that {method} knows.")
    if method is not Method.PROVIDER:
        for field in ("payment_method_id", "payment_account_id"):
            if getattr(request, field):
                raise _bad(field, f"{field} goes with method PROVIDER alone; leave it empty.")
        return method, None, None
    saved = None
    account_id = request.payment_account_id
    if request.payment_method_id:
        saved = await usable_method(connection, wallet, request.payment_method_id)
        if account_id and UUID(account_id) != saved.payment_account_id:
            raise _bad("payment_account_id", "The payment method was saved at another account; leave it empty.")
        account_id = str(saved.payment_account_id)
    hosted, account = await account_for(connection, providers.hosted, wallet, account_id)
    if not hosted.accepts_amount(amount):
        text = "The amount is finer than the payment provider can collect; use the currency's smallest unit."
        raise invalid(text, {"amount": text}, reason="AMOUNT_OUT_OF_RANGE")
    return method, account.id, saved.id if saved else None


def _bad(field: str, message: str) -> Problem:
    return invalid(message, {field: message})

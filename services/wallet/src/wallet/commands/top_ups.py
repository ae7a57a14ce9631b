"""Money asked for, collected, and put on a wallet, once (mission W4).

A top-up through a provider takes two transactions with the provider between them: the first writes that it is
wanted, the second what became of it. A crash between the two leaves it pending, and `resolve_top_ups` finishes it.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import structlog
from directory import store as directory
from farthing.wallet.v1 import wallets_pb2
from money import Money
from servicekit import outbox
from servicekit.call import current_call
from servicekit.database import Database, driver
from servicekit.faults import fault_point
from servicekit.ids import new_id
from servicekit.problems import invalid, not_found
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients import Collected, Declined, Outcome, PaymentProvider, Pending
from wallet.commands.callers import actor, seen_wallet
from wallet.convert.money import money_from_message
from wallet.convert.refusals import refusals_told
from wallet.convert.top_ups import method_from_number, top_up_to_message
from wallet.domain import ledger
from wallet.domain import top_ups as rules
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Method, State, TopUp
from wallet.domain.wallets import Wallet
from wallet.events.top_ups import top_up_settled
from wallet.store import top_ups, wallets
from wallet.store.ledger import post_line

log = structlog.get_logger()

Providers = Mapping[Method, PaymentProvider]

PROVIDER_TIMEOUT_S = 10.0
# A request under way is left alone for so long before the job takes it for lost.
LOOK_AFTER = timedelta(seconds=30)
ASK_AGAIN = timedelta(seconds=2)
CLAIMED_AT_ONCE = 20


async def create_top_up(
    database: Database, providers: Providers, request: wallets_pb2.CreateTopUpRequest
) -> wallets_pb2.TopUp:
    """Asks for a top-up; one through a provider is settled or failed when this returns, or pending if it says so."""
    found = await seen_wallet(database, request.wallet_id)
    amount = money_from_message(request.amount, "amount")
    method = _offered_method(providers, request)

    async def change(connection: AsyncConnection) -> wallets_pb2.TopUp:
        wallet = await wallets.keep(connection, found.root_id, found.id)
        rules.check_amount(wallet, amount)
        top_up = await _asked_for(connection, wallet, amount, method, request.payment_token)
        await top_ups.add(connection, top_up, look_after=None if method is Method.MANUAL else LOOK_AFTER)
        return top_up_to_message(top_up)

    with refusals_told():
        first = await once(database, found.root_id, request, wallets_pb2.TopUp, change)
        await fault_point("wallet.after_top_up_commit")
        if method is Method.MANUAL:
            return first
        top_up = await resolve(database, providers[method], UUID(first.id))
    # What was answered as pending stays answered so, also when it is settled by now.
    return first if top_up.deferred else top_up_to_message(top_up)


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
        top_up = await _locked(connection, found)
        owner = await directory.find(connection, top_up.organization_id)
        if owner is None or not actor().sees(owner):
            raise not_found(f"top-up '{request.id}'")
        rules.check_confirmation(top_up, owner, actor())
        rules.check_pending(top_up)
        if not await top_ups.claim_reference(connection, top_up.seller_id, reference):
            raise rules.reference_used(reference)
        settled = await _settle(connection, top_up, reference)
        await fault_point("wallet.before_settle_commit")
        return top_up_to_message(settled)

    with refusals_told():
        settled = await once(database, found.root_id, request, wallets_pb2.TopUp, change)
    await fault_point("wallet.after_settle_commit")
    return settled


async def resolve_top_ups(database: Database, providers: Providers) -> int:
    """Finishes pending top-ups of providers that were deferred, or left by a crash; returns how many were due."""
    async with database.transaction(EVERYTHING) as connection:
        due = await top_ups.claim_due(connection, limit=CLAIMED_AT_ONCE, again=LOOK_AFTER)
    for top_up in due:
        provider = providers.get(top_up.method)
        if provider is None:
            log.error("a pending top-up has no payment provider here", top_up_id=str(top_up.id), method=top_up.method)
            continue
        try:
            await resolve(database, provider, top_up.id, again=True)
        except Refused as refused:
            # Collected, but the ledger will not have it: a person must look. It stays pending and is tried again.
            log.error("a collected top-up cannot be posted", top_up_id=str(top_up.id), reason=refused.reason)
    return len(due)


async def resolve(database: Database, provider: PaymentProvider, top_up_id: UUID, *, again: bool = False) -> TopUp:
    """Asks the provider about a pending top-up, and writes what it says; one that is final is left as it is.

    One that the provider has deferred is asked about only `again`.
    """
    async with database.transaction(EVERYTHING) as connection:
        top_up = await top_ups.find(connection, top_up_id)
    if top_up is None:
        raise not_found(f"top-up '{top_up_id}'")
    if top_up.state is not State.PENDING or (top_up.deferred and not again):
        return top_up
    outcome = await _ask(provider, top_up)
    async with database.transaction(EVERYTHING) as connection:
        now = await _locked(connection, top_up)
        if now.state is not State.PENDING:
            return now
        resolved = await _apply(connection, now, outcome)
        await fault_point("wallet.before_settle_commit")
    await fault_point("wallet.after_settle_commit")
    return resolved


async def _ask(provider: PaymentProvider, top_up: TopUp) -> Outcome:
    ask = (
        provider.status(top_up.id, top_up.payment_token)
        if top_up.deferred
        else provider.collect(top_up.id, top_up.amount, top_up.payment_token)
    )
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_S):
            return await ask
    except (TimeoutError, OSError) as error:
        # Whether it collected is unknown: it will say when it is asked again.
        log.warning("payment provider did not answer", top_up_id=str(top_up.id), error=repr(error))
        return Pending()


async def _apply(connection: AsyncConnection, top_up: TopUp, outcome: Outcome) -> TopUp:
    match outcome:
        case Collected(reference):
            return await _settle(connection, top_up, reference)
        case Declined(reason):
            failed = rules.fail(top_up, reason)
            await top_ups.save(connection, failed)
            return failed
        case Pending():
            await top_ups.defer(connection, top_up, ASK_AGAIN)
            return replace(top_up, deferred=True)


async def _settle(connection: AsyncConnection, top_up: TopUp, reference: str) -> TopUp:
    """The ledger's line, the state and the event, in the caller's transaction; wallet and top-up are locked."""
    recharge = ledger.Recharge(
        request_key=f"top_up:{top_up.id}",
        request_sha256=hashlib.sha256(top_up.id.bytes + top_up.amount.micros.to_bytes(8)).digest(),
        root_id=top_up.root_id,
        wallet_id=top_up.wallet_id,
        organization_id=top_up.organization_id,
        currency=top_up.amount.currency,
        amount_micros=top_up.amount.micros,
        item="Top-up",
    )
    posted = await post_line(await driver(connection), recharge)
    if isinstance(posted, ledger.Refusal):
        raise Refused(posted.reason, posted.message.rstrip("."))
    settled = rules.settle(top_up, reference, posted.transaction_id, posted.posted_at)
    await top_ups.save(connection, settled)
    await outbox.add(connection, [top_up_settled(settled, posted)])
    return settled


async def _locked(connection: AsyncConnection, top_up: TopUp) -> TopUp:
    """The top-up as it is now; its wallet is locked before it, as everybody does who needs both."""
    await wallets.lock(connection, top_up.root_id, top_up.wallet_id)
    return await top_ups.lock(connection, top_up)


def _offered_method(providers: Providers, request: wallets_pb2.CreateTopUpRequest) -> Method:
    method = method_from_number(request.method)
    if method is Method.MANUAL:
        return method
    provider = providers.get(method)
    if provider is None:
        text = f"Top-ups by {method} are not offered here; use another method."
        raise invalid(text, {"method": text})
    if not provider.accepts(request.payment_token):
        text = f"The payment token '{request.payment_token}' is none that {method} knows."
        raise invalid(text, {"payment_token": text})
    return method


async def _asked_for(
    connection: AsyncConnection, wallet: Wallet, amount: Money, method: Method, payment_token: str
) -> TopUp:
    """A new top-up in the name of the caller; where a service asks, of the organization's boss."""
    principal = current_call().principal
    name, email = principal.name, principal.email
    if principal.kind == "service":
        owner = await directory.find(connection, wallet.organization_id)
        boss = owner.boss if owner else None
        name, email = (boss.name, boss.email) if boss else ("", "")
    return TopUp(
        id=new_id(),
        root_id=wallet.root_id,
        wallet_id=wallet.id,
        organization_id=wallet.organization_id,
        seller_id=wallet.seller_id,
        amount=amount,
        method=method,
        payment_token=payment_token if method is not Method.MANUAL else "",
        created_by_name=name,
        created_by_email=email,
        created_at=await top_ups.now(connection),
    )

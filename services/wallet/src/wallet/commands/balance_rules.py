"""Wallets watched: notices when they run low, and automatic top-ups (mission W4)."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from directory import store as directory
from farthing.wallet.v1 import payments_pb2
from money import Money, format_exact
from servicekit import audit, outbox
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.problems import invalid
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients.registry import Providers
from wallet.commands.callers import seen_wallet
from wallet.commands.payments import account_for, usable_method
from wallet.commands.top_ups import LOOK_AFTER, resolve
from wallet.convert.balance_rules import rules_to_message
from wallet.convert.money import amount_in
from wallet.convert.refusals import refusals_told
from wallet.domain import balance_rules as rules
from wallet.domain.balance_rules import AutoTopUp, BalanceRules, Watch
from wallet.domain.payments import SavedMethod
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Method, TopUp
from wallet.domain.wallets import Wallet, check_open
from wallet.events.balance_rules import balance_low
from wallet.store import balance_rules as store
from wallet.store import payments, top_ups, wallets

log = structlog.get_logger()

LOOKED_AT_ONCE = 100


async def set_rules(
    database: Database, providers: Providers, request: payments_pb2.SetBalanceRulesRequest
) -> payments_pb2.BalanceRules:
    """Replaces a wallet's rules; both begin anew."""
    found = await seen_wallet(database, request.wallet_id)

    async def change(connection: AsyncConnection) -> payments_pb2.BalanceRules:
        wallet = await wallets.lock(connection, found.root_id, found.id)
        check_open(wallet)
        low = _low(wallet, request)
        auto = await _auto(connection, providers, wallet, request)
        before = await store.find(connection, wallet.root_id, wallet.id)
        after = BalanceRules(wallet.root_id, wallet.id, wallet.organization_id, wallet.currency, low, auto)
        await store.save(connection, after)
        await record(connection, before, after, request.request_id)
        return rules_to_message(after)

    with refusals_told():
        return await once(database, found.root_id, request, payments_pb2.BalanceRules, change)


async def switch_off(connection: AsyncConnection, method: SavedMethod, request_id: str) -> None:
    """Ends automatic top-ups from a method that is not used any more; its wallet is locked."""
    before = await store.find(connection, method.root_id, method.wallet_id)
    if before is not None and before.auto is not None and before.auto.payment_method_id == method.id:
        after = replace(before, auto=None)
        await store.save(connection, after)
        await record(connection, before, after, request_id)


async def watch_balances(database: Database, providers: Providers) -> int:
    """Looks at the wallets that want it; gives how many notices and top-ups came of it.

    Several may do so at once: the wallet's lock lets one look at a time, and what one has done the next one sees.
    """
    async with database.transaction(EVERYTHING) as connection:
        keys = await store.wanted(connection, limit=LOOKED_AT_ONCE)
    done = 0
    for key in keys:
        async with database.transaction(EVERYTHING) as connection:
            wallet = await wallets.lock(connection, key.root_id, key.wallet_id)
            noticed, top_up = await _look(connection, wallet)
        done += noticed
        if top_up is not None:
            done += 1
            try:
                await resolve(database, providers, top_up.id)
            except Refused as refused:
                # The job that looks after top-ups tries again.
                log.error("a collected top-up cannot be posted", top_up_id=str(top_up.id), reason=refused.reason)
    return done


async def _look(connection: AsyncConnection, wallet: Wallet) -> tuple[bool, TopUp | None]:
    """Whether a notice went out, and the top-up that is to be collected now, if any; the wallet is locked."""
    found = await store.find(connection, wallet.root_id, wallet.id)
    if found is None or not wallet.is_open:
        return False, None
    now = await top_ups.now(connection)
    noticed, top_up, after = False, None, found
    if found.low is not None:
        low, noticed = await _looked(connection, found.low, wallet)
        after = replace(after, low=low)
        if noticed:
            await outbox.add(connection, [balance_low(wallet, low.threshold_micros, now)])
    if found.auto is not None:
        watch, fell = await _looked(connection, found.auto.watch, wallet)
        auto = replace(found.auto, watch=watch)
        if watch.sequence is None and auto.failures and auto.state is rules.AutoState.RETRYING:
            # The balance is back without it.
            auto = rules.calmed(auto)
        if rules.is_due(auto, fell, now):
            if await store.is_pending(connection, wallet):
                # One at a time: this fall is looked at again when that one is over.
                auto = found.auto
            else:
                top_up = await _asked_for(connection, wallet, auto, now)
                auto = replace(auto, last_top_up_id=top_up.id, next_attempt_at=_later(auto, now))
        after = replace(after, auto=auto)
    if after != found:
        await store.save(connection, after)
    return noticed, top_up


def _later(auto: AutoTopUp, now: datetime) -> datetime | None:
    """While a repeated try is under way there is no other one; its failure says when the next one is."""
    return None if auto.next_attempt_at is None else now + LOOK_AFTER


async def _looked(connection: AsyncConnection, watch: Watch, wallet: Wallet) -> tuple[Watch, bool]:
    sequence = await store.sequence_of(connection, wallet)
    highest = None
    if watch.sequence is not None:
        highest = await store.highest_since(connection, wallet, watch.sequence)
    return rules.look(watch, wallet, sequence, highest)


async def _asked_for(connection: AsyncConnection, wallet: Wallet, auto: AutoTopUp, now: datetime) -> TopUp:
    """A new top-up in the name of the boss of the wallet's owner."""
    owner = await directory.find(connection, wallet.organization_id)
    boss = owner.boss if owner else None
    method = None
    if auto.payment_method_id is not None:
        method = await payments.find_method(connection, auto.payment_method_id)
    top_up = TopUp(
        id=new_id(),
        root_id=wallet.root_id,
        wallet_id=wallet.id,
        organization_id=wallet.organization_id,
        seller_id=wallet.seller_id,
        amount=Money(wallet.currency, auto.amount_micros),
        method=Method.SANDBOX if method is None else Method.PROVIDER,
        payment_token="",
        created_by_name=boss.name if boss else "",
        created_by_email=boss.email if boss else "",
        created_at=now,
        payment_account_id=method.payment_account_id if method else None,
        payment_method_id=method.id if method else None,
        automatic=True,
    )
    await top_ups.add(connection, top_up, look_after=LOOK_AFTER)
    return top_up


def _low(wallet: Wallet, request: payments_pb2.SetBalanceRulesRequest) -> Watch | None:
    if not request.HasField("low_balance_threshold"):
        return None
    threshold = amount_in(request.low_balance_threshold, "low_balance_threshold")
    rules.check_threshold(wallet, threshold, "low_balance_threshold")
    return Watch(threshold.micros)


async def _auto(
    connection: AsyncConnection, providers: Providers, wallet: Wallet, request: payments_pb2.SetBalanceRulesRequest
) -> AutoTopUp | None:
    if not request.HasField("auto_top_up"):
        return None
    asked = request.auto_top_up
    threshold = amount_in(asked.threshold, "auto_top_up.threshold")
    amount = amount_in(asked.amount, "auto_top_up.amount")
    rules.check_threshold(wallet, threshold, "auto_top_up.threshold")
    rules.check_amount(wallet, amount, threshold)
    if asked.payment_method_id:
        method = await usable_method(connection, wallet, asked.payment_method_id)
        hosted, _ = await account_for(connection, providers.hosted, wallet, str(method.payment_account_id))
        if not hosted.accepts_amount(amount):
            text = "The amount is finer than the payment provider can collect; use the currency's smallest unit."
            raise invalid(text, {"auto_top_up.amount": text}, reason="AMOUNT_OUT_OF_RANGE")
        return AutoTopUp(Watch(threshold.micros), amount.micros, method.id)
    if providers.get(Method.SANDBOX) is None:
        text = "An automatic top-up needs a saved method; save one with CreateSetupSession, and name it."
        raise invalid(text, {"auto_top_up.payment_method_id": text})
    return AutoTopUp(Watch(threshold.micros), amount.micros, None)


async def record(
    connection: AsyncConnection, before: BalanceRules | None, after: BalanceRules, request_id: str
) -> None:
    """Writes a change of rules into the audit trail."""
    change = audit.Change(
        root_id=after.root_id,
        organization_id=after.organization_id,
        action="BALANCE_RULES_CHANGED",
        target_type="wallet",
        target_id=str(after.wallet_id),
        before=None if before is None else _audited(before),
        after=_audited(after),
        request_id=request_id,
    )
    await audit.record(connection, change)


def _audited(them: BalanceRules) -> dict[str, Any]:
    auto = them.auto
    return {
        "low_balance_threshold": format_exact(them.low.threshold_micros) if them.low else None,
        "auto_threshold": format_exact(auto.watch.threshold_micros) if auto else None,
        "auto_amount": format_exact(auto.amount_micros) if auto else None,
        "payment_method_id": _text(auto.payment_method_id) if auto else None,
        "currency": them.currency,
    }


def _text(id_: UUID | None) -> str | None:
    return None if id_ is None else str(id_)

"""What becomes of a top-up, in the caller's transaction: ledger, state and event together, once (mission W4).

Whoever comes here has locked the wallet, then the top-up.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from servicekit import outbox
from servicekit.database import driver
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain import ledger
from wallet.domain import top_ups as rules
from wallet.domain.balance_rules import after_failure, calmed
from wallet.domain.holds import Portion, Wanted
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Failure, Method, State, TopUp
from wallet.events.top_ups import top_up_failed, top_up_settled
from wallet.store import balance_rules, top_ups, wallets
from wallet.store.holds import hold_in
from wallet.store.ledger import post_line

log = structlog.get_logger()

# Orders captures within moments; what it never takes is free again then.
HELD_FOR_ORDER = timedelta(days=1)


async def may_settle(connection: AsyncConnection, top_up: TopUp) -> bool:
    """True where money that arrives for it is to be booked: it waits for it, or has failed, and its wallet is there."""
    if top_up.state is State.FAILED:
        wallet = await wallets.lock(connection, top_up.root_id, top_up.wallet_id)
        return wallet.is_open
    return top_up.state is State.PENDING


async def settle(connection: AsyncConnection, top_up: TopUp, reference: str) -> TopUp:
    """The money is here: the ledger's line, the hold of an earmarked one, the state and the event.

    Refused where the ledger will not have it.
    """
    if top_up.state is State.FAILED:
        log.warning("a failed top-up was paid after all", top_up_id=str(top_up.id), reference=reference)
    is_voucher = top_up.method is Method.VOUCHER
    recharge = ledger.Recharge(
        request_key=f"top_up:{top_up.id}",
        request_sha256=hashlib.sha256(top_up.id.bytes + top_up.amount.micros.to_bytes(8)).digest(),
        root_id=top_up.root_id,
        wallet_id=top_up.wallet_id,
        organization_id=top_up.organization_id,
        currency=top_up.amount.currency,
        amount_micros=top_up.amount.micros,
        item="Voucher" if is_voucher else "Top-up",
        kind=ledger.Kind.VOUCHER if is_voucher else ledger.Kind.TOP_UP,
    )
    posted = await post_line(await driver(connection), recharge)
    if isinstance(posted, ledger.Refusal):
        raise Refused(posted.reason, posted.message.rstrip("."))
    hold_id = None if top_up.order_id is None else await _hold(connection, top_up, top_up.order_id)
    settled = rules.settle(top_up, reference, posted.transaction_id, posted.posted_at, hold_id=hold_id)
    await top_ups.save(connection, settled)
    if settled.automatic:
        await _money_came(connection, settled)
    await outbox.add(connection, [top_up_settled(settled, posted)])
    return settled


async def _hold(connection: AsyncConnection, top_up: TopUp, order_id: UUID) -> UUID:
    """Keeps what has just arrived for the order it is for, so that nothing else takes it; gives the hold's id."""
    wanted = Wanted(
        root_id=top_up.root_id,
        currency=top_up.amount.currency,
        portions=(Portion(top_up.organization_id, top_up.amount.micros),),
        ttl=HELD_FOR_ORDER,
        item="Order paid from outside",
        order_id=order_id,
        order_number=top_up.order_number,
    )
    held = await hold_in(connection, wanted)
    if isinstance(held, ledger.Refusal):
        raise Refused(held.reason, held.message.rstrip("."))
    return held.id


async def fail(connection: AsyncConnection, top_up: TopUp, failure: Failure, reason: str) -> TopUp:
    """The money will not come; `reason` is for people. Whoever called it off need not be told."""
    failed = rules.fail(top_up, failure, reason)
    await top_ups.save(connection, failed)
    now = await top_ups.now(connection)
    next_attempt_at = await _try_again(connection, failed, now) if failed.automatic else None
    if not failed.cancel_reason:
        await outbox.add(connection, [top_up_failed(failed, now, next_attempt_at)])
    return failed


async def _money_came(connection: AsyncConnection, top_up: TopUp) -> None:
    found = await balance_rules.find(connection, top_up.root_id, top_up.wallet_id)
    if found is not None and found.auto is not None and found.auto.last_top_up_id == top_up.id:
        await balance_rules.save(connection, replace(found, auto=calmed(found.auto)))


async def _try_again(connection: AsyncConnection, top_up: TopUp, now: datetime) -> datetime | None:
    """When an automatic top-up that failed is tried again; None where it gave up, or the rules are others by now."""
    found = await balance_rules.find(connection, top_up.root_id, top_up.wallet_id)
    if found is None or found.auto is None or found.auto.last_top_up_id != top_up.id:
        return None
    auto = after_failure(found.auto, top_up.failure_reason, now)
    await balance_rules.save(connection, replace(found, auto=auto))
    return auto.next_attempt_at


async def locked(connection: AsyncConnection, top_up: TopUp) -> TopUp:
    """The top-up as it is now; its wallet is locked before it, as everybody does who needs both."""
    await wallets.lock(connection, top_up.root_id, top_up.wallet_id)
    return await top_ups.lock(connection, top_up)

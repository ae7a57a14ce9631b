"""Corrections by hand (mission W7): posted at once up to a limit, above it once a second person has approved."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from directory import store as directory
from farthing.wallet.v1 import adjustments_pb2
from money import format_exact
from servicekit import audit, outbox
from servicekit.call import current_call
from servicekit.database import Database, driver
from servicekit.ids import new_id
from servicekit.problems import not_found
from servicekit.requests import once
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.commands.callers import actor, seen_wallet
from wallet.convert.adjustments import adjustment_to_message
from wallet.convert.money import amount_in
from wallet.convert.refusals import refusals_told
from wallet.domain import adjustments as rules
from wallet.domain.adjustments import Adjustment, Person, State
from wallet.domain.ledger import Posted, Refusal, WalletKey
from wallet.domain.refusals import Refused
from wallet.domain.wallets import Wallet
from wallet.events.adjustments import adjustment_posted
from wallet.store import adjustments, wallets
from wallet.store.ledger import open_book, write

Review = adjustments_pb2.ApproveAdjustmentRequest | adjustments_pb2.RejectAdjustmentRequest


async def create_adjustment(
    database: Database, limit_units: int, request: adjustments_pb2.CreateAdjustmentRequest
) -> adjustments_pb2.Adjustment:
    """Corrects a wallet, for its seller or one above; above `limit_units` it waits for a second person."""
    found = await seen_wallet(database, request.wallet_id)
    amount = amount_in(request.amount, "amount")
    original_id = UUID(request.original_transaction_id) if request.original_transaction_id else None

    async def change(connection: AsyncConnection) -> adjustments_pb2.Adjustment:
        wallet = await _held(connection, found)
        rules.check_amount(wallet, amount)
        rules.check_texts(reason=request.reason)
        if original_id is not None and not await adjustments.moved(connection, wallet, original_id):
            text = "the original transaction did not move this wallet; name one that did, or none"
            raise Refused("INVALID_ARGUMENT", text, field="original_transaction_id")
        asked = Adjustment(
            root_id=wallet.root_id,
            id=new_id(),
            wallet_id=wallet.id,
            organization_id=wallet.organization_id,
            seller_id=wallet.seller_id,
            amount=amount,
            reason=request.reason,
            original_id=original_id,
            author=_caller(),
            created_at=await adjustments.now(connection),
        )
        made = asked if rules.needs_second_person(amount, limit_units) else await _post(connection, asked)
        await adjustments.add(connection, made)
        await _record(connection, "ADJUSTMENT_CREATED", None, made, request.request_id)
        return adjustment_to_message(made)

    with refusals_told():
        return await once(database, found.root_id, request, adjustments_pb2.Adjustment, change)


async def approve_adjustment(
    database: Database, request: adjustments_pb2.ApproveAdjustmentRequest
) -> adjustments_pb2.Adjustment:
    """Posts an adjustment that waits, for anybody above the wallet's owner but its author."""

    async def approve(connection: AsyncConnection, waiting: Adjustment) -> Adjustment:
        rules.check_second_person(waiting, _caller())
        return await _post(connection, rules.review(waiting, _caller(), request.note))

    return await _reviewed(database, request, "ADJUSTMENT_APPROVED", approve)


async def reject_adjustment(
    database: Database, request: adjustments_pb2.RejectAdjustmentRequest
) -> adjustments_pb2.Adjustment:
    """Ends an adjustment that waits, unposted."""

    async def reject(connection: AsyncConnection, waiting: Adjustment) -> Adjustment:
        reviewed = rules.review(waiting, _caller(), request.note)
        return rules.reject(reviewed, await adjustments.now(connection))

    return await _reviewed(database, request, "ADJUSTMENT_REJECTED", reject)


async def _reviewed(
    database: Database,
    request: Review,
    action: str,
    decide: Callable[[AsyncConnection, Adjustment], Awaitable[Adjustment]],
) -> adjustments_pb2.Adjustment:
    async with database.transaction(current_call().scope) as connection:
        found = await adjustments.find(connection, UUID(request.id))
        wallet = None if found is None else await wallets.find(connection, found.wallet_id)
    if found is None or wallet is None:
        raise not_found(f"adjustment '{request.id}'")

    async def change(connection: AsyncConnection) -> adjustments_pb2.Adjustment:
        # Of a wallet that is closed it can still be rejected.
        await _held(connection, wallet, closed_too=action == "ADJUSTMENT_REJECTED")
        waiting = await adjustments.lock(connection, found)
        rules.check_pending(waiting)
        rules.check_texts(note=request.note)
        decided = await decide(connection, waiting)
        await adjustments.save(connection, decided)
        await _record(connection, action, waiting, decided, request.request_id)
        return adjustment_to_message(decided)

    with refusals_told():
        return await once(database, found.root_id, request, adjustments_pb2.Adjustment, change)


async def _held(connection: AsyncConnection, found: Wallet, *, closed_too: bool = False) -> Wallet:
    """The wallet, locked, once it is sure that the caller may correct it: it stands above its owner."""
    wallet = await wallets.lock(connection, found.root_id, found.id)
    if closed_too and not wallet.is_open:
        # Its owner may be another seller's by now: whoever it was held with still sees it, and may say no.
        seller = await directory.find(connection, wallet.seller_id)
        if seller is not None and actor().sees(seller):
            return wallet
    owner = await directory.find(connection, wallet.organization_id)
    if owner is None or not actor().sees(owner):
        raise not_found(f"wallet '{wallet.id}'")
    rules.check_actor(wallet, owner, actor(), closed_too=closed_too)
    return wallet


async def _post(connection: AsyncConnection, adjustment: Adjustment) -> Adjustment:
    ledger = await driver(connection)
    correction = adjustment.correction
    key = WalletKey(correction.root_id, correction.organization_id, correction.currency)
    book = await open_book(ledger, [key], [(correction.root_id, correction.request_key)])
    outcome = book.correct(correction, new_id())
    if isinstance(outcome, Refusal):
        raise _refused(adjustment, outcome)
    await write(ledger, book)
    posted = rules.post(adjustment, outcome.transaction_id, outcome.posted_at)
    await _tell(connection, posted, outcome)
    return posted


async def _tell(connection: AsyncConnection, adjustment: Adjustment, posted: Posted) -> None:
    await outbox.add(connection, [adjustment_posted(adjustment, posted)])


def _refused(adjustment: Adjustment, refusal: Refusal) -> Refused:
    """Who corrects a wallet stands above its owner, so it may be told the figures."""
    message = refusal.message.rstrip(".")
    if refusal.reason != "INSUFFICIENT_CREDIT":
        return Refused(refusal.reason, message, field="amount" if "AMOUNT" in refusal.reason else "")
    available = format_exact(refusal.available_micros)
    return Refused(
        "INSUFFICIENT_CREDIT",
        f"the wallet has {available} {adjustment.amount.currency} available; take at most that",
        wallet_id=str(adjustment.wallet_id),
        available_micros=str(refusal.available_micros),
        needed_micros=str(refusal.needed_micros),
    )


async def _record(
    connection: AsyncConnection, action: str, before: Adjustment | None, after: Adjustment, request_id: str
) -> None:
    await audit.record(
        connection,
        audit.Change(
            root_id=after.root_id,
            organization_id=after.organization_id,
            action=action,
            target_type="adjustment",
            target_id=str(after.id),
            before=None if before is None else {"state": before.state.name},
            after=_said(after),
            request_id=request_id,
        ),
    )


def _said(adjustment: Adjustment) -> dict[str, Any]:
    said = {
        "state": adjustment.state.name,
        "wallet_id": str(adjustment.wallet_id),
        "amount": f"{format_exact(adjustment.amount.micros)} {adjustment.amount.currency}",
        "reason": adjustment.reason,
    }
    if adjustment.state is not State.PENDING_APPROVAL:
        said["transaction_id"] = str(adjustment.transaction_id or "")
    if adjustment.review_note:
        said["review_note"] = adjustment.review_note
    return said


def _caller() -> Person:
    principal = current_call().principal
    return Person(principal.subject, principal.name)

"""Credit set aside, captured, given back (mission W6). Wallets are locked first, by id, then the hold.

A hold that is made along with something else in one transaction is made by `wallet.store.holds.hold_in`.
"""

from uuid import UUID

from directory import store as directory
from farthing.wallet.v1 import holds_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.call import current_call
from servicekit.database import Database, driver
from servicekit.faults import fault_point
from servicekit.ids import new_id
from servicekit.problems import not_found
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from servicekit.telemetry import current_traceparent
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.convert.holds import created_to_message, hold_to_message, wanted_from_message
from wallet.convert.ledger import charge_from_message, result_to_message
from wallet.domain.holds import Hold, HoldState, capture, end, keys_of
from wallet.domain.ledger import Outcome, Posted, Refusal
from wallet.events.ledger import TOPIC, charge_posted
from wallet.store import holds
from wallet.store.ledger import explain_unknown, open_book, write

EXPIRED_AT_ONCE = 100


class _Declined(Exception):  # noqa: N818 - no error: it takes back what the request has written
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def create_hold(database: Database, request: holds_pb2.CreateHoldRequest) -> holds_pb2.CreateHoldResponse:
    """Sets credit aside in every wallet named, or in none. A refusal is an answer, and is not remembered."""
    purchaser_id = UUID(request.tiers[0].organization_id)
    async with database.transaction(EVERYTHING) as connection:
        purchaser = await directory.find(connection, purchaser_id)
    if purchaser is None:
        return created_to_message(Refusal("WALLET_UNKNOWN", "There is no such organization.", purchaser_id))
    wanted = wanted_from_message(request, purchaser.root_id)

    async def change(connection: AsyncConnection) -> holds_pb2.CreateHoldResponse:
        outcome = await holds.hold_in(connection, wanted)
        if isinstance(outcome, Refusal):
            raise _Declined(outcome)
        return created_to_message(outcome)

    try:
        return await once(database, purchaser.root_id, request, holds_pb2.CreateHoldResponse, change)
    except _Declined as declined:
        return created_to_message(declined.refusal)


async def capture_hold(database: Database, request: holds_pb2.CaptureHoldRequest) -> holds_pb2.CaptureHoldResponse:
    """Posts a charge from a hold, once for each request id of the charge, which is one with that of PostCharge.

    A refusal is an answer and changes nothing. Problem NOT_FOUND where there is no such hold.
    """
    found = await _seen(database, request.hold_id)
    charge = charge_from_message(request.charge, current_call().principal.service or "")
    if isinstance(charge, Refusal):
        return _captured(request.charge.request_id, charge, found)
    async with database.transaction(EVERYTHING) as connection:
        ledger = await driver(connection)
        book = await open_book(ledger, keys_of(found, charge), [(charge.root_id, charge.request_key)])
        hold = await holds.lock(connection, found)
        outcome, captured = capture(book, hold, charge, new_id(), final=request.final)
        if isinstance(outcome, Posted) and outcome.lines:
            await holds.set_reserved(connection, book.wallets.values())
            await write(ledger, book, TOPIC, [charge_posted(charge, outcome, _stamp(outcome), current_traceparent())])
            await holds.save(connection, captured)
        outcome = (await explain_unknown(ledger, [charge], [outcome]))[0]
        await fault_point("wallet.before_capture_commit")
    await fault_point("wallet.after_capture_commit")
    return _captured(request.charge.request_id, outcome, captured)


async def release_hold(database: Database, request: holds_pb2.ReleaseHoldRequest) -> holds_pb2.Hold:
    """Gives back what is left of a hold; one that has ended is answered as it is. Problem NOT_FOUND."""
    found = await _seen(database, request.id)

    async def change(connection: AsyncConnection) -> holds_pb2.Hold:
        return hold_to_message(await _end(connection, found, HoldState.RELEASED))

    return await once(database, found.root_id, request, holds_pb2.Hold, change)


async def expire_holds(database: Database) -> int:
    """Ends the holds whose time is over, each in a transaction of its own; returns how many were due."""
    async with database.transaction(EVERYTHING) as connection:
        due = await holds.due(connection, limit=EXPIRED_AT_ONCE)
    for hold in due:
        async with database.transaction(EVERYTHING) as connection:
            await _end(connection, hold, HoldState.EXPIRED)
    return len(due)


async def _end(connection: AsyncConnection, found: Hold, state: HoldState) -> Hold:
    """The hold, ended if it was active."""
    book = await open_book(await driver(connection), keys_of(found), [])
    hold = await holds.lock(connection, found)
    if hold.state is not HoldState.ACTIVE:
        return hold
    ended = end(hold, book.wallets.values(), state, book.posted_at)
    await holds.set_reserved(connection, book.wallets.values())
    await holds.save(connection, ended)
    return ended


async def _seen(database: Database, hold_id: str) -> Hold:
    async with database.transaction(current_call().scope) as connection:
        found = await holds.find(connection, UUID(hold_id))
    if found is None:
        raise not_found(f"hold '{hold_id}'")
    return found


def _captured(request_id: str, outcome: Outcome, hold: Hold) -> holds_pb2.CaptureHoldResponse:
    result: wallets_pb2.ChargeResult = result_to_message(request_id, outcome)
    return holds_pb2.CaptureHoldResponse(result=result, hold=hold_to_message(hold))


def _stamp(posted: Posted) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(posted.posted_at)
    return stamp

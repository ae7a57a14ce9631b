"""Top-ups in SQL. Whoever settles one locks its wallet first, then the top-up."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from money import Money
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.top_ups import Failure, Method, State, TopUp
from wallet.domain.wallets import Wallet

# The numbers of farthing.wallet.v1.TopUpMethod, TopUp.State and TopUpFailure.
_METHODS = {Method.MANUAL: 1, Method.SANDBOX: 2, Method.PROVIDER: 3, Method.VOUCHER: 4}
_STATES = {State.PENDING: 1, State.SETTLED: 2, State.FAILED: 3}
_FAILURES = {
    Failure.DECLINED: 1,
    Failure.INSUFFICIENT_FUNDS: 2,
    Failure.CARD_EXPIRED: 3,
    Failure.AUTHENTICATION_REQUIRED: 4,
    Failure.CHECKOUT_ABANDONED: 5,
    Failure.METHOD_UNUSABLE: 6,
    Failure.SELLER_CHANGED: 7,
    Failure.CANCELED: 8,
}
_METHOD_OF = {number: method for method, number in _METHODS.items()}
_STATE_OF = {number: state for state, number in _STATES.items()}
_FAILURE_OF = {number: failure for failure, number in _FAILURES.items()}

_ADD = text(
    "INSERT INTO top_ups (root_id, id, wallet_id, organization_id, seller_id, amount_micros, currency, method, state,"
    " created_by_name, created_by_email, payment_token, created_at, due_at, order_id, order_number,"
    " payment_account_id, payment_method_id, automatic)"
    " VALUES (:root_id, :id, :wallet_id, :organization_id, :seller_id, :amount_micros, :currency, :method, 1,"
    " :created_by_name, :created_by_email, :payment_token, :created_at, :due_at, :order_id, :order_number,"
    " :payment_account_id, :payment_method_id, :automatic)"
)
_NOW = text("SELECT farthing_now()")
_FIND = text("SELECT * FROM top_ups WHERE id = :id")
_LOCK = text("SELECT * FROM top_ups WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_SAVE = text(
    "UPDATE top_ups SET state = :state, reference = :reference, failure = :failure, failure_reason = :failure_reason,"
    " transaction_id = :transaction_id, settled_at = :settled_at, hold_id = :hold_id, due_at = NULL"
    " WHERE root_id = :root_id AND id = :id"
)
_DEFER = text(
    "UPDATE top_ups SET deferred = true, due_at = farthing_now() + :after,"
    " provider_reference = :provider_reference, checkout_url = :checkout_url,"
    " checkout_expires_at = :checkout_expires_at WHERE root_id = :root_id AND id = :id"
)
_CALL_OFF = text(
    "UPDATE top_ups SET cancel_reason = :cancel_reason, due_at = farthing_now() + :after"
    " WHERE root_id = :root_id AND id = :id"
)
_CLAIM = text(
    "UPDATE top_ups SET due_at = farthing_now() + :again FROM ("
    "  SELECT root_id, id FROM top_ups WHERE state = 1 AND due_at <= (SELECT farthing_now())"
    "  ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED"
    ") AS due WHERE top_ups.root_id = due.root_id AND top_ups.id = due.id RETURNING top_ups.*"
)
_LOCK_NAME = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_REFERENCE_USED = text(
    "SELECT EXISTS (SELECT FROM top_ups WHERE seller_id = :seller_id AND reference = :reference"
    " AND method = 1 AND state = 2)"
)
_UNDER_WAY = text(
    "SELECT EXISTS (SELECT FROM top_ups WHERE root_id = :root_id AND wallet_id = :wallet_id"
    " AND state = 1 AND method <> 1)"
)
_ABANDON = text(
    "UPDATE top_ups SET state = 3, failure = :failure, failure_reason = :reason, due_at = NULL"
    " WHERE root_id = :root_id AND wallet_id = :wallet_id AND state = 1 RETURNING *"
)
_PAGE = text(
    "SELECT * FROM top_ups WHERE root_id = :root_id AND wallet_id = :wallet_id"
    " AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
)


async def now(connection: AsyncConnection) -> datetime:
    """The database's clock, which the ledger goes by."""
    instant: datetime = (await connection.execute(_NOW)).scalar_one()
    return instant


async def add(connection: AsyncConnection, top_up: TopUp, *, look_after: timedelta | None) -> None:
    """Writes a new, pending top-up; a job looks after it once `look_after` has passed, if it is given."""
    await connection.execute(
        _ADD,
        {
            "root_id": top_up.root_id,
            "id": top_up.id,
            "wallet_id": top_up.wallet_id,
            "organization_id": top_up.organization_id,
            "seller_id": top_up.seller_id,
            "amount_micros": top_up.amount.micros,
            "currency": top_up.amount.currency,
            "method": _METHODS[top_up.method],
            "created_by_name": top_up.created_by_name,
            "created_by_email": top_up.created_by_email,
            "payment_token": top_up.payment_token,
            "created_at": top_up.created_at,
            "due_at": None if look_after is None else top_up.created_at + look_after,
            "order_id": top_up.order_id,
            "order_number": top_up.order_number,
            "payment_account_id": top_up.payment_account_id,
            "payment_method_id": top_up.payment_method_id,
            "automatic": top_up.automatic,
        },
    )


async def find(connection: AsyncConnection, top_up_id: UUID) -> TopUp | None:
    """The top-up of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND, {"id": top_up_id})).one_or_none()
    return None if row is None else _read(row)


async def lock(connection: AsyncConnection, top_up: TopUp) -> TopUp:
    """The top-up as it is now, kept so until the transaction ends. Lock its wallet first."""
    return _read((await connection.execute(_LOCK, {"root_id": top_up.root_id, "id": top_up.id})).one())


async def save(connection: AsyncConnection, top_up: TopUp) -> None:
    """Writes what became of a locked top-up; no job looks after it any more."""
    await connection.execute(
        _SAVE,
        {
            "root_id": top_up.root_id,
            "id": top_up.id,
            "state": _STATES[top_up.state],
            "reference": top_up.reference,
            "failure": None if top_up.failure is None else _FAILURES[top_up.failure],
            "failure_reason": top_up.failure_reason,
            "transaction_id": top_up.transaction_id,
            "settled_at": top_up.settled_at,
            "hold_id": top_up.hold_id,
        },
    )


async def defer(connection: AsyncConnection, top_up: TopUp, after: timedelta) -> None:
    """The provider could not say; a job asks again `after` now. Keeps what the provider said of the way there."""
    await connection.execute(
        _DEFER,
        {
            "root_id": top_up.root_id,
            "id": top_up.id,
            "after": after,
            "provider_reference": top_up.provider_reference,
            "checkout_url": top_up.checkout_url,
            "checkout_expires_at": top_up.checkout_expires_at,
        },
    )


async def call_off(connection: AsyncConnection, top_up: TopUp, after: timedelta) -> None:
    """Writes why a locked, pending top-up is not wanted any more; a job sees to it `after` now."""
    values = {"root_id": top_up.root_id, "id": top_up.id, "cancel_reason": top_up.cancel_reason, "after": after}
    await connection.execute(_CALL_OFF, values)


async def claim_due(connection: AsyncConnection, *, limit: int, again: timedelta) -> list[TopUp]:
    """Pending top-ups to look after, for this worker alone until `again` from now has passed."""
    rows = await connection.execute(_CLAIM, {"limit": limit, "again": again})
    return [_read(row) for row in rows]


async def claim_reference(connection: AsyncConnection, seller_id: UUID, reference: str) -> bool:
    """True if the seller has confirmed nothing by that bank reference; it is the transaction's then.

    The platform sells in every root, where no unique constraint reaches: a lock on the name does.
    """
    await connection.execute(_LOCK_NAME, {"name": f"bank reference {seller_id} {reference}"})
    used = await connection.execute(_REFERENCE_USED, {"seller_id": seller_id, "reference": reference})
    return not used.scalar_one()


async def payment_under_way(connection: AsyncConnection, wallet: Wallet) -> bool:
    """True if a payment provider may still collect money for this wallet."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    return bool((await connection.execute(_UNDER_WAY, values)).scalar_one())


async def abandon(connection: AsyncConnection, wallet: Wallet, failure: Failure, reason: str) -> list[TopUp]:
    """Fails what is pending on a locked wallet, and gives it."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id, "failure": _FAILURES[failure], "reason": reason}
    return [_read(row) for row in await connection.execute(_ABANDON, values)]


async def page(connection: AsyncConnection, wallet: Wallet, *, before: UUID | None, limit: int) -> list[TopUp]:
    """Up to `limit` top-ups of a wallet, the newest first, older than the top-up `before`."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id, "before": before, "limit": limit}
    return [_read(row) for row in await connection.execute(_PAGE, values)]


def _read(row: Row[Any]) -> TopUp:
    return TopUp(
        id=row.id,
        root_id=row.root_id,
        wallet_id=row.wallet_id,
        organization_id=row.organization_id,
        seller_id=row.seller_id,
        amount=Money(row.currency, row.amount_micros),
        method=_METHOD_OF[row.method],
        payment_token=row.payment_token,
        created_by_name=row.created_by_name,
        created_by_email=row.created_by_email,
        created_at=row.created_at,
        state=_STATE_OF[row.state],
        deferred=row.deferred,
        reference=row.reference,
        failure=None if row.failure is None else _FAILURE_OF[row.failure],
        failure_reason=row.failure_reason,
        transaction_id=row.transaction_id,
        settled_at=row.settled_at,
        order_id=row.order_id,
        order_number=row.order_number,
        hold_id=row.hold_id,
        payment_account_id=row.payment_account_id,
        payment_method_id=row.payment_method_id,
        checkout_url=row.checkout_url,
        checkout_expires_at=row.checkout_expires_at,
        provider_reference=row.provider_reference,
        automatic=row.automatic,
        cancel_reason=row.cancel_reason,
    )

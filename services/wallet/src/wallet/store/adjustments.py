"""Adjustments in SQL. Whoever posts one locks its wallet first, then the adjustment."""

from datetime import datetime
from typing import Any
from uuid import UUID

from money import Money
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.adjustments import Adjustment, Person, State
from wallet.domain.wallets import Wallet

_ADD = text(
    "INSERT INTO adjustments (root_id, id, wallet_id, organization_id, seller_id, currency, amount_micros, reason,"
    " original_id, state, author_subject, author_name, transaction_id, created_at, ended_at)"
    " VALUES (:root_id, :id, :wallet_id, :organization_id, :seller_id, :currency, :amount_micros, :reason,"
    " :original_id, :state, :author_subject, :author_name, :transaction_id, :created_at, :ended_at)"
)
_SAVE = text(
    "UPDATE adjustments SET state = :state, reviewer_subject = :reviewer_subject, reviewer_name = :reviewer_name,"
    " review_note = :review_note, transaction_id = :transaction_id, ended_at = :ended_at"
    " WHERE root_id = :root_id AND id = :id"
)
_NOW = text("SELECT farthing_now()")
_FIND = text("SELECT * FROM adjustments WHERE id = :id")
_LOCK = text("SELECT * FROM adjustments WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_MOVED = text(
    "SELECT EXISTS (SELECT FROM lines WHERE transaction_id = :id AND root_id = :root_id AND wallet_id = :wallet_id)"
)
_PAGE = text(
    "SELECT * FROM adjustments WHERE (:everything OR sees(organization_id) OR sees(seller_id))"
    " AND (CAST(:wallet_id AS uuid) IS NULL OR wallet_id = :wallet_id) AND (:state = 0 OR state = :state)"
    " AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
)


async def now(connection: AsyncConnection) -> datetime:
    """The database's clock, which the ledger goes by."""
    instant: datetime = (await connection.execute(_NOW)).scalar_one()
    return instant


async def moved(connection: AsyncConnection, wallet: Wallet, transaction_id: UUID) -> bool:
    """True if that transaction moved the wallet."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id, "id": transaction_id}
    return bool((await connection.execute(_MOVED, values)).scalar_one())


async def add(connection: AsyncConnection, adjustment: Adjustment) -> None:
    """Writes a new adjustment, waiting or posted already."""
    await connection.execute(
        _ADD,
        {
            "root_id": adjustment.root_id,
            "id": adjustment.id,
            "wallet_id": adjustment.wallet_id,
            "organization_id": adjustment.organization_id,
            "seller_id": adjustment.seller_id,
            "currency": adjustment.amount.currency,
            "amount_micros": adjustment.amount.micros,
            "reason": adjustment.reason,
            "original_id": adjustment.original_id,
            "state": int(adjustment.state),
            "author_subject": adjustment.author.subject,
            "author_name": adjustment.author.name,
            "transaction_id": adjustment.transaction_id,
            "created_at": adjustment.created_at,
            "ended_at": adjustment.ended_at,
        },
    )


async def save(connection: AsyncConnection, adjustment: Adjustment) -> None:
    """Writes what became of a locked adjustment."""
    await connection.execute(
        _SAVE,
        {
            "root_id": adjustment.root_id,
            "id": adjustment.id,
            "state": int(adjustment.state),
            "reviewer_subject": adjustment.reviewer.subject,
            "reviewer_name": adjustment.reviewer.name,
            "review_note": adjustment.review_note,
            "transaction_id": adjustment.transaction_id,
            "ended_at": adjustment.ended_at,
        },
    )


async def find(connection: AsyncConnection, adjustment_id: UUID) -> Adjustment | None:
    """The adjustment of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND, {"id": adjustment_id})).one_or_none()
    return None if row is None else _read(row)


async def lock(connection: AsyncConnection, adjustment: Adjustment) -> Adjustment:
    """The adjustment as it is now, kept so until the transaction ends. Lock its wallet first."""
    row = await connection.execute(_LOCK, {"root_id": adjustment.root_id, "id": adjustment.id})
    return _read(row.one())


async def page(
    connection: AsyncConnection,
    *,
    everything: bool,
    wallet_id: UUID | None,
    state: int,
    before: UUID | None,
    limit: int,
) -> list[Adjustment]:
    """Up to `limit` adjustments of the connection's scope, the newest first, older than `before`; state 0: any."""
    values = {"everything": everything, "wallet_id": wallet_id, "state": state, "before": before, "limit": limit}
    return [_read(row) for row in await connection.execute(_PAGE, values)]


def _read(row: Row[Any]) -> Adjustment:
    return Adjustment(
        root_id=row.root_id,
        id=row.id,
        wallet_id=row.wallet_id,
        organization_id=row.organization_id,
        seller_id=row.seller_id,
        amount=Money(row.currency, row.amount_micros),
        reason=row.reason,
        original_id=row.original_id,
        author=Person(row.author_subject, row.author_name),
        created_at=row.created_at,
        state=State(row.state),
        reviewer=Person(row.reviewer_subject, row.reviewer_name),
        review_note=row.review_note,
        transaction_id=row.transaction_id,
        ended_at=row.ended_at,
    )

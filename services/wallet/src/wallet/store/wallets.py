"""Wallets: opened, closed, limited. Their balance is the ledger's to change."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from directory.domain import Earnings, Organization
from servicekit.ids import new_id
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.wallets import Wallet

_OPEN = text(
    "INSERT INTO wallets (root_id, id, organization_id, seller_id, currency, earnings)"
    " VALUES (:root_id, :id, :organization_id, :seller_id, :currency, :earnings)"
    " ON CONFLICT (root_id, organization_id, currency) WHERE state = 1 DO NOTHING"
)
_FIND = text("SELECT * FROM wallets WHERE id = :id")
# One a currency: the open one, or the last that was.
_LATEST = text(
    "SELECT DISTINCT ON (currency) * FROM wallets WHERE organization_id = :organization_id"
    " ORDER BY currency, state, created_at DESC, id DESC"
)
_LOCK = text("SELECT * FROM wallets WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_KEEP = text("SELECT * FROM wallets WHERE root_id = :root_id AND id = :id FOR SHARE")
_LOCK_OPEN = text(
    "SELECT * FROM wallets WHERE root_id = :root_id AND organization_id = :organization_id AND state = 1"
    " ORDER BY id FOR NO KEY UPDATE"
)
_CLOSE = text("UPDATE wallets SET state = 2 WHERE root_id = :root_id AND id = ANY (:ids)")
_SET_EARNINGS = text("UPDATE wallets SET earnings = :earnings WHERE root_id = :root_id AND id = ANY (:ids)")
_SET_LIMIT = text("UPDATE wallets SET credit_limit_micros = :limit WHERE root_id = :root_id AND id = :id")
_OPEN_STATE = 1
_EARNINGS_NUMBERS = {Earnings.REVENUE: 1, Earnings.WALLET: 2}


async def open_for(connection: AsyncConnection, organization: Organization) -> None:
    """Opens the organization's wallet with its seller, in its currency, unless it is open."""
    await connection.execute(
        _OPEN,
        {
            "root_id": organization.root_id,
            "id": new_id(),
            "organization_id": organization.id,
            "seller_id": organization.parent_id,
            "currency": organization.currency,
            "earnings": _EARNINGS_NUMBERS[organization.earnings],
        },
    )


async def find(connection: AsyncConnection, wallet_id: UUID) -> Wallet | None:
    """The wallet of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND, {"id": wallet_id})).one_or_none()
    return None if row is None else _read(row)


async def latest_of(connection: AsyncConnection, organization_id: UUID) -> list[Wallet]:
    """The organization's wallets, one a currency, by currency; none outside of the connection's scope."""
    rows = await connection.execute(_LATEST, {"organization_id": organization_id})
    return [_read(row) for row in rows]


async def lock(connection: AsyncConnection, root_id: UUID, wallet_id: UUID) -> Wallet:
    """The wallet as it is now; nothing is posted to it until the transaction ends."""
    return _read((await connection.execute(_LOCK, {"root_id": root_id, "id": wallet_id})).one())


async def keep(connection: AsyncConnection, root_id: UUID, wallet_id: UUID) -> Wallet:
    """The wallet as it is now; nobody closes it until the transaction ends."""
    return _read((await connection.execute(_KEEP, {"root_id": root_id, "id": wallet_id})).one())


async def lock_open(connection: AsyncConnection, organization: Organization) -> list[Wallet]:
    """The organization's open wallets as they are now; nothing is posted to them until the transaction ends."""
    rows = await connection.execute(_LOCK_OPEN, {"root_id": organization.root_id, "organization_id": organization.id})
    return [_read(row) for row in rows]


async def close(connection: AsyncConnection, wallets: Sequence[Wallet]) -> None:
    """Closes wallets of one root that are locked and empty: nothing is posted to them any more."""
    if wallets:
        await connection.execute(_CLOSE, {"root_id": wallets[0].root_id, "ids": [wallet.id for wallet in wallets]})


async def set_earnings(connection: AsyncConnection, wallets: Sequence[Wallet], earnings: Earnings) -> None:
    """Says where sales of the owner of these locked wallets are booked from now on."""
    if wallets:
        await connection.execute(
            _SET_EARNINGS,
            {
                "root_id": wallets[0].root_id,
                "ids": [wallet.id for wallet in wallets],
                "earnings": _EARNINGS_NUMBERS[earnings],
            },
        )


async def set_credit_limit(connection: AsyncConnection, wallet: Wallet, limit_micros: int) -> None:
    """Says how far below zero this locked wallet may go."""
    await connection.execute(_SET_LIMIT, {"root_id": wallet.root_id, "id": wallet.id, "limit": limit_micros})


def _read(row: Row[Any]) -> Wallet:
    return Wallet(
        id=row.id,
        root_id=row.root_id,
        organization_id=row.organization_id,
        seller_id=row.seller_id,
        currency=row.currency,
        balance_micros=row.balance_micros,
        reserved_micros=row.reserved_micros,
        credit_limit_micros=row.credit_limit_micros,
        is_open=row.state == _OPEN_STATE,
        created_at=row.created_at,
    )

"""Lots of vouchers in SQL. Whoever uses a voucher locks its wallet first, then the lot, then the voucher."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from money import Money
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.vouchers import Voucher, VoucherLot

_ADD_LOT = text(
    "INSERT INTO voucher_lots (root_id, id, seller_id, name, amount_micros, currency, count, created_by_name,"
    " created_at, expires_at) VALUES (:root_id, :id, :seller_id, :name, :amount_micros, :currency, :count,"
    " :created_by_name, :created_at, :expires_at)"
)
_ADD_VOUCHERS = text(
    "INSERT INTO vouchers (root_id, lot_id, number, seller_id, code_sha256)"
    " SELECT :root_id, :lot_id, made.number, :seller_id, made.code_sha256"
    " FROM unnest(CAST(:codes AS bytea[])) WITH ORDINALITY AS made (code_sha256, number)"
)
_LOT = """
SELECT l.*, l.count AS size, (SELECT count(*) FROM vouchers v WHERE v.root_id = l.root_id AND v.lot_id = l.id
             AND v.redeemed_at IS NOT NULL) AS redeemed_count
FROM voucher_lots l
"""
_FIND = text(f"{_LOT} WHERE l.id = :id")
_LOCK = text(f"{_LOT} WHERE l.root_id = :root_id AND l.id = :id FOR NO KEY UPDATE OF l")
_KEEP = text(f"{_LOT} WHERE l.root_id = :root_id AND l.id = :id FOR SHARE OF l")
_PAGE = text(
    f"{_LOT} WHERE l.seller_id = :seller_id AND (CAST(:before AS uuid) IS NULL OR l.id < :before)"
    " ORDER BY l.id DESC LIMIT :limit"
)
_VOID = text(
    "UPDATE voucher_lots SET voided_at = coalesce(voided_at, farthing_now()) WHERE root_id = :root_id AND id = :id"
)
_BY_CODE = text("SELECT root_id, lot_id FROM vouchers WHERE seller_id = :seller_id AND code_sha256 = :code_sha256")
_LOCK_VOUCHER = text(
    "SELECT number, code_sha256, redeemed_at FROM vouchers"
    " WHERE root_id = :root_id AND lot_id = :lot_id AND code_sha256 = :code_sha256 FOR NO KEY UPDATE"
)
_REDEEM = text(
    "UPDATE vouchers SET redeemed_at = :at, top_up_id = :top_up_id"
    " WHERE root_id = :root_id AND lot_id = :lot_id AND number = :number"
)
_VOUCHERS = text(
    "SELECT number, code_sha256, redeemed_at FROM vouchers"
    " WHERE root_id = :root_id AND lot_id = :lot_id AND number > :after ORDER BY number LIMIT :limit"
)


async def add(connection: AsyncConnection, lot: VoucherLot, codes_sha256: Sequence[bytes]) -> None:
    """Writes a lot with its vouchers, numbered from 1 in the order of their codes' hashes."""
    await connection.execute(
        _ADD_LOT,
        {
            "root_id": lot.root_id,
            "id": lot.id,
            "seller_id": lot.seller_id,
            "name": lot.name,
            "amount_micros": lot.amount.micros,
            "currency": lot.amount.currency,
            "count": lot.count,
            "created_by_name": lot.created_by_name,
            "created_at": lot.created_at,
            "expires_at": lot.expires_at,
        },
    )
    values = {"root_id": lot.root_id, "lot_id": lot.id, "seller_id": lot.seller_id, "codes": list(codes_sha256)}
    await connection.execute(_ADD_VOUCHERS, values)


async def find(connection: AsyncConnection, lot_id: UUID) -> VoucherLot | None:
    """The lot of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND, {"id": lot_id})).one_or_none()
    return None if row is None else _read(row)


async def lock(connection: AsyncConnection, lot: VoucherLot) -> VoucherLot:
    """The lot as it is now; none of its vouchers is used until the transaction ends."""
    return _read((await connection.execute(_LOCK, {"root_id": lot.root_id, "id": lot.id})).one())


async def page(connection: AsyncConnection, seller_id: UUID, *, before: UUID | None, limit: int) -> list[VoucherLot]:
    """Up to `limit` lots of a seller, the newest first, older than the lot `before`."""
    values = {"seller_id": seller_id, "before": before, "limit": limit}
    return [_read(row) for row in await connection.execute(_PAGE, values)]


async def void(connection: AsyncConnection, lot: VoucherLot) -> None:
    """Ends a locked lot; one that has ended keeps its time."""
    await connection.execute(_VOID, {"root_id": lot.root_id, "id": lot.id})


async def lock_voucher(
    connection: AsyncConnection, seller_id: UUID, code_sha256: bytes
) -> tuple[VoucherLot | None, Voucher | None]:
    """The seller's voucher of that code with its lot, kept as they are until the transaction ends; None, None if none.

    Needs scope EVERYTHING: who has a code does not see the seller.
    """
    found = (await connection.execute(_BY_CODE, {"seller_id": seller_id, "code_sha256": code_sha256})).one_or_none()
    if found is None:
        return None, None
    lot = (await connection.execute(_KEEP, {"root_id": found.root_id, "id": found.lot_id})).one()
    values = {"root_id": found.root_id, "lot_id": found.lot_id, "code_sha256": code_sha256}
    return _read(lot), _voucher((await connection.execute(_LOCK_VOUCHER, values)).one())


async def redeem(connection: AsyncConnection, lot: VoucherLot, voucher: Voucher, top_up_id: UUID, at: datetime) -> None:
    """Writes that a locked voucher became a top-up."""
    values = {"root_id": lot.root_id, "lot_id": lot.id, "number": voucher.number, "top_up_id": top_up_id, "at": at}
    await connection.execute(_REDEEM, values)


async def vouchers_of(connection: AsyncConnection, lot: VoucherLot, *, after: int, limit: int) -> list[Voucher]:
    """Up to `limit` vouchers of a lot by number, after the number `after`."""
    values = {"root_id": lot.root_id, "lot_id": lot.id, "after": after, "limit": limit}
    return [_voucher(row) for row in await connection.execute(_VOUCHERS, values)]


def _voucher(row: Row[Any]) -> Voucher:
    return Voucher(row.number, bytes(row.code_sha256), row.redeemed_at)


def _read(row: Row[Any]) -> VoucherLot:
    return VoucherLot(
        id=row.id,
        root_id=row.root_id,
        seller_id=row.seller_id,
        name=row.name,
        amount=Money(row.currency, row.amount_micros),
        count=row.size,
        created_by_name=row.created_by_name,
        created_at=row.created_at,
        expires_at=row.expires_at,
        voided_at=row.voided_at,
        redeemed_count=row.redeemed_count,
    )

"""Holds in SQL. Whoever changes one locks its wallets first, in the order of their ids, then the hold."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

from servicekit.database import driver
from servicekit.ids import new_id
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.holds import HeldAmount, Hold, HoldState, Wanted, place
from wallet.domain.ledger import Refusal, Wallet
from wallet.store.ledger import open_book

_ADD = text(
    "INSERT INTO holds (root_id, id, organization_id, currency, state, item, order_id, order_number, cloud_phone_id,"
    " created_at, expires_at) VALUES (:root_id, :id, :organization_id, :currency, 1, :item, :order_id, :order_number,"
    " :cloud_phone_id, :created_at, :expires_at)"
)
_ADD_AMOUNT = text(
    "INSERT INTO hold_amounts (root_id, hold_id, tier, wallet_id, organization_id, seller_id, held_micros)"
    " VALUES (:root_id, :hold_id, :tier, :wallet_id, :organization_id, :seller_id, :held_micros)"
)
_SET_RESERVED = text(
    "UPDATE wallets SET reserved_micros = :reserved WHERE root_id = :root_id AND id = :id"
    " AND reserved_micros <> :reserved"
)
_FIND = text("SELECT * FROM holds WHERE id = :id")
_LOCK = text("SELECT * FROM holds WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_AMOUNTS = text(
    "SELECT * FROM hold_amounts WHERE (root_id, hold_id) IN"
    " (SELECT * FROM unnest(CAST(:root_ids AS uuid[]), CAST(:ids AS uuid[]))) ORDER BY hold_id, tier"
)
_SAVE = text("UPDATE holds SET state = :state, ended_at = :ended_at WHERE root_id = :root_id AND id = :id")
_SAVE_AMOUNT = text(
    "UPDATE hold_amounts SET captured_micros = :captured_micros"
    " WHERE root_id = :root_id AND hold_id = :hold_id AND tier = :tier AND captured_micros <> :captured_micros"
)
_DUE = text(
    "SELECT * FROM holds WHERE state = 1 AND expires_at <= (SELECT farthing_now()) ORDER BY expires_at LIMIT :limit"
)
_PAGE = text(
    "SELECT h.* FROM hold_amounts a JOIN holds h ON h.root_id = a.root_id AND h.id = a.hold_id"
    " WHERE a.root_id = :root_id AND a.wallet_id = :wallet_id AND (:state = 0 OR h.state = :state)"
    " AND (CAST(:before AS uuid) IS NULL OR a.hold_id < :before) ORDER BY a.hold_id DESC LIMIT :limit"
)


async def hold_in(connection: AsyncConnection, wanted: Wanted) -> Hold | Refusal:
    """Sets credit aside as `wanted` says, within the caller's transaction, or refuses and writes nothing.

    Locks the wallets, in the order of their ids; the caller may hold their locks already (as after `post_line`, whose
    money counts). Refusals: WALLET_UNKNOWN, INSUFFICIENT_CREDIT, AMOUNT_OUT_OF_RANGE, INVALID_ARGUMENT. Such as:

        hold = await hold_in(connection, Wanted(root_id, "EUR", (Portion(organization_id, amount_micros),),
                                                timedelta(days=7), item, order_id, order_number))

    Needs a transaction that sees everything.
    """
    book = await open_book(await driver(connection), wanted.keys, [])
    hold = place(book, wanted, new_id())
    if isinstance(hold, Refusal):
        return hold
    await connection.execute(
        _ADD,
        {
            "root_id": hold.root_id,
            "id": hold.id,
            "organization_id": hold.organization_id,
            "currency": hold.currency,
            "item": hold.item,
            "order_id": hold.order_id,
            "order_number": hold.order_number,
            "cloud_phone_id": hold.cloud_phone_id,
            "created_at": hold.created_at,
            "expires_at": hold.expires_at,
        },
    )
    await connection.execute(
        _ADD_AMOUNT,
        [
            {
                "root_id": hold.root_id,
                "hold_id": hold.id,
                "tier": amount.tier,
                "wallet_id": amount.wallet_id,
                "organization_id": amount.organization_id,
                "seller_id": amount.seller_id,
                "held_micros": amount.held_micros,
            }
            for amount in hold.amounts
        ],
    )
    await set_reserved(connection, book.wallets.values())
    return hold


async def set_reserved(connection: AsyncConnection, wallets: Iterable[Wallet]) -> None:
    """Writes what is reserved on these locked wallets; before the lines of a capture, which need that room."""
    values = [
        {"root_id": wallet.root_id, "id": wallet.id, "reserved": wallet.reserved_micros}
        for wallet in sorted(wallets, key=lambda wallet: wallet.id)
    ]
    if values:
        await connection.execute(_SET_RESERVED, values)


async def find(connection: AsyncConnection, hold_id: UUID) -> Hold | None:
    """The hold with those of its amounts that the connection's scope sees, or None where it sees none."""
    row = (await connection.execute(_FIND, {"id": hold_id})).one_or_none()
    return None if row is None else (await _read(connection, [row]))[0]


async def lock(connection: AsyncConnection, hold: Hold) -> Hold:
    """The hold as it is now, kept so until the transaction ends. Lock its wallets first."""
    row = (await connection.execute(_LOCK, {"root_id": hold.root_id, "id": hold.id})).one()
    return (await _read(connection, [row]))[0]


async def save(connection: AsyncConnection, hold: Hold) -> None:
    """Writes what became of a locked hold."""
    key = {"root_id": hold.root_id, "id": hold.id}
    await connection.execute(_SAVE, {**key, "state": int(hold.state), "ended_at": hold.ended_at})
    await connection.execute(
        _SAVE_AMOUNT,
        [
            {
                "root_id": hold.root_id,
                "hold_id": hold.id,
                "tier": amount.tier,
                "captured_micros": amount.captured_micros,
            }
            for amount in hold.amounts
        ],
    )


async def due(connection: AsyncConnection, *, limit: int) -> list[Hold]:
    """Active holds whose time is over. Nobody has locked them yet: lock their wallets, then each, and look again."""
    return await _read(connection, (await connection.execute(_DUE, {"limit": limit})).all())


async def page(
    connection: AsyncConnection, root_id: UUID, wallet_id: UUID, *, state: int, before: UUID | None, limit: int
) -> list[Hold]:
    """Up to `limit` holds on a wallet, the newest first, older than the hold `before`; state 0: in any state."""
    values = {"root_id": root_id, "wallet_id": wallet_id, "state": state, "before": before, "limit": limit}
    return await _read(connection, (await connection.execute(_PAGE, values)).all())


async def _read(connection: AsyncConnection, rows: Iterable[Row[Any]]) -> list[Hold]:
    holds = {
        row.id: Hold(
            root_id=row.root_id,
            id=row.id,
            organization_id=row.organization_id,
            currency=row.currency,
            amounts=(),
            item=row.item,
            order_id=row.order_id,
            order_number=row.order_number,
            cloud_phone_id=row.cloud_phone_id,
            created_at=row.created_at,
            expires_at=row.expires_at,
            state=HoldState(row.state),
            ended_at=row.ended_at,
        )
        for row in rows
    }
    if not holds:
        return []
    keys = {"root_ids": [hold.root_id for hold in holds.values()], "ids": list(holds)}
    for row in await connection.execute(_AMOUNTS, keys):
        amount = HeldAmount(
            row.tier, row.wallet_id, row.organization_id, row.seller_id, row.held_micros, row.captured_micros
        )
        holds[row.hold_id] = replace(holds[row.hold_id], amounts=(*holds[row.hold_id].amounts, amount))
    return list(holds.values())

"""Refunds in SQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order
from orders.domain.refunds import Refund, RefundedLine, RefundState
from orders.store.orders import OrderKey

_ADD = text("""
    INSERT INTO refunds (root_id, id, order_id, organization_id, state, reason, created_by_name, lease_until,
                         created_at)
    VALUES (:root_id, :id, :order_id, :organization_id, 'PENDING', :reason, :created_by_name,
            farthing_now() + :lease, :created_at)
""")
_ADD_LINE = text("""
    INSERT INTO refund_line_tiers (root_id, refund_id, order_id, tier, position, quantity, buyer_id, seller_id,
                                   net_micros, tax_micros)
    VALUES (:root_id, :refund_id, :order_id, :tier, :position, :quantity, :buyer_id, :seller_id,
            :net_micros, :tax_micros)
""")
_SELECT = """
    SELECT root_id, id, order_id, organization_id, state, reason, created_by_name, created_at, transaction_id,
           posted_at, refusal_reason
    FROM refunds WHERE root_id = :root_id
"""
_ONE = text(_SELECT + " AND id = :id")
_LOCKED = text(_SELECT + " AND id = :id FOR UPDATE")
_PAGE = text(_SELECT + " AND order_id = :order_id ORDER BY created_at DESC, id DESC LIMIT :count")
_PAGE_AFTER = text(
    _SELECT + " AND order_id = :order_id AND (created_at, id) < (:after_created_at, :after_id)"
    " ORDER BY created_at DESC, id DESC LIMIT :count"
)
_LINES = text("""
    SELECT refund_id, tier, position, quantity, buyer_id, seller_id, net_micros, tax_micros
    FROM refund_line_tiers WHERE root_id = :root_id AND refund_id = ANY (:refund_ids)
    ORDER BY refund_id, tier, position
""")
_ANY_PENDING = text("""
    SELECT EXISTS (SELECT FROM refunds WHERE root_id = :root_id AND order_id = :order_id AND state = 'PENDING')
""")
_LEASE = text("""
    UPDATE refunds SET lease_until = farthing_now() + :lease
    WHERE root_id = :root_id AND id = :id AND state = 'PENDING' AND lease_until <= farthing_now()
""")
_UNLEASED = text("""
    SELECT root_id, id, order_id FROM refunds WHERE state = 'PENDING' AND lease_until <= farthing_now()
    ORDER BY lease_until LIMIT :count
""")
_FINISH = text("""
    UPDATE refunds SET state = :state, transaction_id = :transaction_id, posted_at = :posted_at,
           refusal_reason = :refusal_reason
    WHERE root_id = :root_id AND id = :id AND state = 'PENDING'
""")
_ORDER_REFUNDED = text("""
    UPDATE orders SET state = :state, refunded_micros = :refunded_micros WHERE root_id = :root_id AND id = :id
""")


async def add_refund(connection: AsyncConnection, refund: Refund, lease: timedelta) -> None:
    """Writes a new refund. Whoever makes it asks the wallet: for the time of `lease` nobody else does."""
    row = {
        "root_id": refund.root_id,
        "id": refund.id,
        "order_id": refund.order_id,
        "organization_id": refund.organization_id,
        "reason": refund.reason,
        "created_by_name": refund.created_by_name,
        "lease": lease,
        "created_at": refund.created_at,
    }
    await connection.execute(_ADD, row)
    lines = [
        {
            "root_id": refund.root_id,
            "refund_id": refund.id,
            "order_id": refund.order_id,
            "tier": line.tier,
            "position": line.position,
            "quantity": line.quantity,
            "buyer_id": line.buyer_id,
            "seller_id": line.seller_id,
            "net_micros": line.net_micros,
            "tax_micros": line.tax_micros,
        }
        for line in refund.lines
    ]
    await connection.execute(_ADD_LINE, lines)


async def any_pending(connection: AsyncConnection, key: OrderKey) -> bool:
    """True while a refund of the order is under way."""
    row = {"root_id": key.root_id, "order_id": key.id}
    return bool((await connection.execute(_ANY_PENDING, row)).scalar_one())


async def get_refund(connection: AsyncConnection, root_id: UUID, refund_id: UUID, *, lock: bool = False) -> Refund:
    """The refund, with the tiers of the connection's scope; LookupError where there is none."""
    rows = (await connection.execute(_LOCKED if lock else _ONE, {"root_id": root_id, "id": refund_id})).all()
    if not rows:
        raise LookupError(f"refund {refund_id} of root {root_id} is not in the database")
    return (await _refunds(connection, root_id, rows))[0]


async def list_refunds(
    connection: AsyncConnection, key: OrderKey, after: tuple[datetime, UUID] | None, count: int
) -> list[Refund]:
    """Up to `count` refunds of the order, the newest first, after the one of (created_at, id)."""
    row: dict[str, object] = {"root_id": key.root_id, "order_id": key.id, "count": count}
    if after is None:
        return await _refunds(connection, key.root_id, (await connection.execute(_PAGE, row)).all())
    row |= {"after_created_at": after[0], "after_id": after[1]}
    return await _refunds(connection, key.root_id, (await connection.execute(_PAGE_AFTER, row)).all())


async def lease_refund(connection: AsyncConnection, root_id: UUID, refund_id: UUID, lease: timedelta) -> bool:
    """True if the caller may now ask the wallet about the pending refund; nobody else may until the lease is over."""
    row = {"root_id": root_id, "id": refund_id, "lease": lease}
    return (await connection.execute(_LEASE, row)).rowcount == 1


async def unleased_refunds(connection: AsyncConnection, count: int) -> list[tuple[OrderKey, UUID]]:
    """Orders and their pending refunds that nobody asks wallet about, the longest waiting first."""
    rows = (await connection.execute(_UNLEASED, {"count": count})).all()
    return [(OrderKey(row.root_id, row.order_id), row.id) for row in rows]


async def finish_refund(connection: AsyncConnection, refund: Refund, order: Order) -> None:
    """Writes that the refund is posted or refused; `order` is as it is after it."""
    row = {
        "root_id": refund.root_id,
        "id": refund.id,
        "state": refund.state.value,
        "transaction_id": refund.transaction_id,
        "posted_at": refund.posted_at,
        "refusal_reason": refund.refusal_reason or None,
    }
    await connection.execute(_FINISH, row)
    if refund.state is RefundState.POSTED:
        refunded = {
            "root_id": order.root_id,
            "id": order.id,
            "state": order.state.value,
            "refunded_micros": order.own_tier.refunded_micros,
        }
        await connection.execute(_ORDER_REFUNDED, refunded)


async def _refunds(connection: AsyncConnection, root_id: UUID, rows: Sequence[Row[Any]]) -> list[Refund]:
    if not rows:
        return []
    lines: dict[UUID, list[RefundedLine]] = {row.id: [] for row in rows}
    key = {"root_id": root_id, "refund_ids": list(lines)}
    for row in (await connection.execute(_LINES, key)).all():
        lines[row.refund_id].append(RefundedLine(*row[1:]))
    return [
        Refund(
            root_id=row.root_id,
            id=row.id,
            order_id=row.order_id,
            organization_id=row.organization_id,
            state=RefundState(row.state),
            reason=row.reason,
            created_by_name=row.created_by_name,
            created_at=row.created_at,
            lines=tuple(lines[row.id]),
            transaction_id=row.transaction_id,
            posted_at=row.posted_at,
            refusal_reason=row.refusal_reason or "",
        )
        for row in rows
    ]

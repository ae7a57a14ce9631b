"""Running fees in SQL, and what they change of their orders."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order
from orders.domain.phones import RunningFee
from orders.domain.pricing import NO_TAX, Tier, TierLine
from orders.store.orders import OrderKey

_ROOTS = text("""
    SELECT id, CASE WHEN parent_id IS NOT NULL THEN root_id END AS root_id FROM organizations WHERE id = ANY (:ids)
""")
_ADD_FEE = text("""
    INSERT INTO order_fees (root_id, id, order_id, organization_id, period_from, period_to, transaction_id, charged_at)
    VALUES (:root_id, :id, :order_id, :organization_id, :period_from, :period_to, :transaction_id, :charged_at)
    ON CONFLICT (root_id, id) DO NOTHING
""")
_ADD_TIER = text("""
    INSERT INTO order_fee_tiers (root_id, fee_id, order_id, tier, buyer_id, seller_id, net_micros, tax_micros)
    VALUES (:root_id, :fee_id, :order_id, :tier, :buyer_id, :seller_id, :net_micros, :tax_micros)
""")
_COUNT_FEE = text("""
    UPDATE orders SET fee_count = fee_count + 1, total_micros = total_micros + :gross_micros
    WHERE root_id = :root_id AND id = :id
""")
_POWER_DOWN = text("""
    UPDATE orders SET state = :state, paid_at = :paid_at, powered_down_at = :powered_down_at
    WHERE root_id = :root_id AND id = :id AND state = 'RUNNING'
""")
_FEES = """
    SELECT id, period_from, period_to, transaction_id, charged_at
    FROM order_fees WHERE root_id = :root_id AND order_id = :order_id
"""
_OLDEST = " ORDER BY period_from, id LIMIT :count"
_FIRST_PAGE = text(_FEES + _OLDEST)
_NEXT_PAGE = text(_FEES + " AND (period_from, id) > (:after_period_from, :after_id)" + _OLDEST)
_TIERS = text("""
    SELECT fee_id, tier, buyer_id, seller_id, net_micros, tax_micros
    FROM order_fee_tiers WHERE root_id = :root_id AND fee_id = ANY (:fee_ids) ORDER BY fee_id, tier
""")


async def find_roots(connection: AsyncConnection, organization_ids: Collection[UUID]) -> dict[UUID, UUID | None]:
    """The root of each of them that is known here; None for the platform. Needs scope EVERYTHING."""
    rows = await connection.execute(_ROOTS, {"ids": list(organization_ids)})
    return {row.id: row.root_id for row in rows}


async def add_fee(connection: AsyncConnection, order: Order, fee: RunningFee) -> bool:
    """Adds the fee to the order and its total; False, and nothing changed, where it is there already."""
    row = {
        "root_id": order.root_id,
        "id": fee.id,
        "order_id": order.id,
        "organization_id": order.organization_id,
        "period_from": fee.period_from,
        "period_to": fee.period_to,
        "transaction_id": fee.transaction_id,
        "charged_at": fee.charged_at,
    }
    if (await connection.execute(_ADD_FEE, row)).rowcount == 0:
        return False
    tiers = [
        {
            "root_id": order.root_id,
            "fee_id": fee.id,
            "order_id": order.id,
            "tier": tier.number,
            "buyer_id": tier.buyer_id,
            "seller_id": tier.seller_id,
            "net_micros": tier.net_micros,
            "tax_micros": tier.tax_micros,
        }
        for tier in fee.tiers
    ]
    await connection.execute(_ADD_TIER, tiers)
    counted = {"root_id": order.root_id, "id": order.id, "gross_micros": fee.tiers[0].gross_micros}
    await connection.execute(_COUNT_FEE, counted)
    return True


async def write_power_down(connection: AsyncConnection, order: Order) -> None:
    """Writes that the phone is off and its order completed, unless it is written already."""
    row = {
        "root_id": order.root_id,
        "id": order.id,
        "state": order.state.value,
        "paid_at": order.paid_at,
        "powered_down_at": order.phone.powered_down_at if order.phone else None,
    }
    await connection.execute(_POWER_DOWN, row)


async def list_fees(
    connection: AsyncConnection, key: OrderKey, after: tuple[datetime, UUID] | None, count: int
) -> list[RunningFee]:
    """Up to `count` fees of the order, the oldest first, after the one of (period_from, id).

    With the tiers of the connection's scope.
    """
    row: dict[str, object] = {"root_id": key.root_id, "order_id": key.id, "count": count}
    if after is not None:
        row |= {"after_period_from": after[0], "after_id": after[1]}
    fees = (await connection.execute(_FIRST_PAGE if after is None else _NEXT_PAGE, row)).all()
    tiers: dict[UUID, list[Tier]] = {fee.id: [] for fee in fees}
    for tier in (await connection.execute(_TIERS, {"root_id": key.root_id, "fee_ids": list(tiers)})).all():
        line = TierLine(0, tier.net_micros, NO_TAX, tier.tax_micros)
        tiers[tier.fee_id].append(Tier(tier.tier, tier.buyer_id, tier.seller_id, (line,)))
    return [
        RunningFee(fee.id, fee.period_from, fee.period_to, tuple(tiers[fee.id]), fee.transaction_id, fee.charged_at)
        for fee in fees
    ]

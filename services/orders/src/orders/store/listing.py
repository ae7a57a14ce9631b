"""What lists say of the orders that `orders.store.search` found: the orders, their totals, the rows of exports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from servicekit.scope import Scope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order
from orders.store.reading import COLUMNS, KEYS, read_orders
from orders.store.scopes import within
from orders.store.walks import Key, Search, source, used

COUNTED_MOST = 10_000

# What one tier of an order comes to: its lines or fees, and (where refunds are posted) what was given back of them.
# A seller's side: what its buyer pays it, and what it pays its own seller where it sells. A phone without
# fees has no tier yet: its seller has earned nothing of it so far.
_SIDE = """
    SELECT sum(t.net_micros) FILTER (WHERE t.tier = 1 AND NOT t.back) AS net,
           sum(t.tax_micros) FILTER (WHERE t.tier = 1 AND NOT t.back) AS tax,
           coalesce(bool_or(t.seller_id = CAST(:reader_id AS uuid)), f.seller_id = CAST(:reader_id AS uuid), false)
               AS sells,
           coalesce(sum(CASE WHEN t.back THEN -t.net_micros ELSE t.net_micros END)
                    FILTER (WHERE t.seller_id = CAST(:reader_id AS uuid)), 0) AS revenue,
           coalesce(sum(CASE WHEN t.back THEN -t.net_micros ELSE t.net_micros END)
                    FILTER (WHERE t.buyer_id = CAST(:reader_id AS uuid)), 0) AS cost
    FROM (
        SELECT i.tier, i.buyer_id, i.seller_id, i.net_micros, i.tax_micros, false AS back
        FROM order_item_tiers i WHERE i.root_id = f.root_id AND i.order_id = f.id
        UNION ALL
        SELECT c.tier, c.buyer_id, c.seller_id, c.net_micros, c.tax_micros, false
        FROM order_fee_tiers c WHERE c.root_id = f.root_id AND c.order_id = f.id
        UNION ALL
        SELECT b.tier, b.buyer_id, b.seller_id, b.net_micros, b.tax_micros, true
        FROM refund_line_tiers b JOIN refunds r ON r.root_id = b.root_id AND r.id = b.refund_id AND r.state = 'POSTED'
        WHERE f.refunded_micros > 0 AND b.root_id = f.root_id AND b.order_id = f.id
    ) AS t
"""


_FOUND = text(f"SELECT {COLUMNS} FROM {KEYS} AS k (root_id, id) JOIN orders USING (root_id, id)")  # noqa: S608


async def read_found(connection: AsyncConnection, keys: Sequence[Key]) -> list[Order]:
    """The orders of `keys`, in any order; those alone that the connection's scope holds."""
    parameters = {"root_ids": [key.root_id for key in keys], "order_ids": [key.place.id for key in keys]}
    return await read_orders(connection, (await connection.execute(_FOUND, parameters)).all())


@dataclass(frozen=True, slots=True)
class CurrencySum:
    """Sums of orders in one currency, in micros; what the reader makes of those that it sells, less refunds."""

    currency: str
    total_micros: int
    refunded_micros: int
    sells: bool
    revenue_micros: int
    cost_micros: int


@dataclass(frozen=True, slots=True)
class ListTotals:
    """How many orders there are, and their sums; where `more`, more than `count`, and no sums."""

    count: int
    more: bool
    sums: tuple[CurrencySum, ...] = ()


async def find_totals(connection: AsyncConnection, search: Search, viewer_id: UUID | None) -> ListTotals:
    """Counts and sums what the search finds, COUNTED_MOST at most. Needs scope EVERYTHING."""
    query = f"""
        WITH f AS MATERIALIZED (
            SELECT o.root_id, o.id, o.seller_id, o.currency, o.total_micros, o.refunded_micros
            FROM (SELECT s.root_id, s.order_id {source(search, ":most + 1")} LIMIT :most + 1) AS s
            JOIN orders o ON o.root_id = s.root_id AND o.id = s.order_id
        ), counted AS (SELECT count(*) AS orders FROM f)
        SELECT c.orders, s.* FROM counted c LEFT JOIN (
            SELECT f.currency, sum(f.total_micros) AS total, sum(f.refunded_micros) AS refunded,
                   bool_or(side.sells) AS sells, sum(side.revenue) FILTER (WHERE side.sells) AS revenue,
                   sum(side.cost) FILTER (WHERE side.sells) AS cost
            FROM f CROSS JOIN LATERAL ({_SIDE}) AS side
            WHERE (SELECT orders FROM counted) <= :most
            GROUP BY f.currency
        ) s ON true ORDER BY s.currency
    """  # noqa: S608 - our own names
    parameters = {**search.parameters, "most": COUNTED_MOST, "reader_id": viewer_id}
    rows = (await connection.execute(text(query), used(query, parameters))).all()
    if rows[0].orders > COUNTED_MOST:
        return ListTotals(COUNTED_MOST, more=True)
    sums = tuple(
        CurrencySum(
            row.currency,
            int(row.total),
            int(row.refunded),
            bool(row.sells),
            int(row.revenue or 0),
            int(row.cost or 0),
        )
        for row in rows
        if row.currency is not None
    )
    return ListTotals(rows[0].orders, more=False, sums=sums)


_EXPORTED = f"""
    SELECT o.id, o.number, o.created_at, o.paid_at, o.type, o.state, o.payer_name, o.payer_email, o.payment_method,
           o.currency, o.total_micros, o.refunded_micros, o.cloud_phone_id,
           buyer.name AS organization_name, seller.name AS seller_name, i.products, i.quantity,
           side.net, side.tax, side.sells, side.revenue, side.cost
    FROM unnest(CAST(:key_roots AS uuid[]), CAST(:key_ids AS uuid[])) WITH ORDINALITY AS k(root_id, id, position)
    JOIN orders o ON o.root_id = k.root_id AND o.id = k.id
    LEFT JOIN organizations buyer ON buyer.root_id = o.root_id AND buyer.id = o.organization_id
    LEFT JOIN LATERAL (SELECT name FROM organizations WHERE id = o.seller_id LIMIT 1) seller ON true
    CROSS JOIN LATERAL (SELECT o.root_id, o.id, o.seller_id, o.refunded_micros) AS f
    CROSS JOIN LATERAL ({_SIDE}) AS side
    CROSS JOIN LATERAL (
        SELECT array_agg(t.product_name ORDER BY t.position) AS products, sum(t.quantity) AS quantity
        FROM order_items t WHERE t.root_id = o.root_id AND t.order_id = o.id
    ) AS i
"""  # noqa: S608 - our own names


async def read_exported(
    connection: AsyncConnection, scope: Scope, keys: Sequence[Key], viewer_id: UUID | None
) -> Sequence[Any]:
    """A row an order of `keys`, in their order: its columns, `products` (names, a line each), `quantity`, `net` and
    `tax` of the purchaser's tier, and the reader's `sells`, `revenue` and `cost`. Amounts in micros.

    Needs scope EVERYTHING; it asks for the scope itself, since row-level security costs more than the reading.
    """
    conditions, parameters = within(scope, "o.organization_id")
    where = " AND ".join(condition.replace("root_id =", "o.root_id =") for condition in conditions) or "true"
    parameters |= {
        "key_roots": [key.root_id for key in keys],
        "key_ids": [key.place.id for key in keys],
        "reader_id": viewer_id,
    }
    return (await connection.execute(text(f"{_EXPORTED} WHERE {where} ORDER BY k.position"), parameters)).all()


_SELLS = text("SELECT EXISTS (SELECT FROM organizations WHERE parent_id = :organization_id)")


async def sells(connection: AsyncConnection, organization_id: UUID) -> bool:
    """True for who has buyers. Needs to see them."""
    found: bool = (await connection.execute(_SELLS, {"organization_id": organization_id})).scalar_one()
    return found

"""What a new order is found by: the dictionary of product names, and its rows in `order_search`."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order
from orders.domain.search import EVERY_NAME, product_names

# By id, so that of two orders with the same new names neither waits for what the other is waiting to write. State and
# total follow by a trigger.
_ADD = text("""
    WITH written AS (
        INSERT INTO product_names (root_id, id, type, folded)
        SELECT :root_id, n.id, :type, n.folded
        FROM unnest(CAST(:ids AS bigint[]), CAST(:folded AS text[])) AS n(id, folded) ORDER BY n.id
        ON CONFLICT DO NOTHING
    ), paired AS (
        INSERT INTO product_name_pairs (root_id, first_id, second_id)
        SELECT :root_id, a.id, b.id
        FROM unnest(CAST(:ids AS bigint[])) AS a(id) JOIN unnest(CAST(:ids AS bigint[])) AS b(id) ON b.id <> a.id
        ORDER BY a.id, b.id
        ON CONFLICT DO NOTHING
    )
    INSERT INTO order_search (root_id, order_id, name_id, class, created_at, total_micros, organization_id, seller_id)
    SELECT o.root_id, o.id, n.id, o.class, o.created_at, o.total_micros, o.organization_id, o.seller_id
    FROM orders o CROSS JOIN unnest(array_prepend(CAST(:every_id AS bigint), CAST(:ids AS bigint[]))) AS n(id)
    WHERE o.root_id = :root_id AND o.id = :order_id
""")


async def add_search(connection: AsyncConnection, order: Order) -> None:
    """Makes a new order, which is written already, one that lists find. Needs scope EVERYTHING."""
    names = product_names(order.type, order.items)
    row = {
        "root_id": order.root_id,
        "type": order.type.value,
        "ids": [name.id for name in names],
        "folded": [name.folded for name in names],
        "every_id": EVERY_NAME,
        "order_id": order.id,
    }
    await connection.execute(_ADD, row)

"""Names of products in SQL: the dictionary, and which orders have a line of which name."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order
from orders.domain.search import product_names

# By id, so that two orders with the same new names do not wait for each other.
_ADD = text("""
    WITH written AS (
        INSERT INTO product_names (root_id, id, type, folded)
        SELECT :root_id, n.id, :type, n.folded
        FROM unnest(CAST(:ids AS bigint[]), CAST(:folded AS text[])) AS n(id, folded) ORDER BY n.id
        ON CONFLICT DO NOTHING
    )
    INSERT INTO order_names (root_id, name_id, created_at, order_id, organization_id)
    SELECT :root_id, n.id, :created_at, :order_id, :organization_id FROM unnest(CAST(:ids AS bigint[])) AS n(id)
""")


def name_ids(order: Order) -> list[int]:
    """What stands in `orders.name_ids`."""
    return [name.id for name in product_names(order.type, order.items)]


async def add_names(connection: AsyncConnection, order: Order) -> None:
    """Makes a new order, which is written already, one that is found by the names of its lines."""
    names = product_names(order.type, order.items)
    row = {
        "root_id": order.root_id,
        "type": order.type.value,
        "ids": [name.id for name in names],
        "folded": [name.folded for name in names],
        "created_at": order.created_at,
        "order_id": order.id,
        "organization_id": order.organization_id,
    }
    await connection.execute(_ADD, row)

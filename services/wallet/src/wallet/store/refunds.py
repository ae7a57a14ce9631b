"""What was charged by a purchase, and what was refunded of it."""

from uuid import UUID

from wallet.domain.ledger import LineType, Original, OriginalTier
from wallet.store.ledger import Connection

_ORIGINAL = """
SELECT t.root_id, t.id, t.organization_id, t.order_id, t.currency, t.order_number, t.item, t.cloud_phone_id,
       l.type, l.wallet_id, l.organization_id AS buyer_id, l.seller_id, l.revenue_micros, l.clearing_micros,
       l.tax_micros
FROM lines l JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id
WHERE l.transaction_id = $1 AND l.type <> 3 ORDER BY l.tier
"""
_REFUNDED = """
SELECT l.tier, sum(- l.revenue_micros - l.clearing_micros)::bigint AS net, sum(- l.tax_micros)::bigint AS tax
FROM transactions t JOIN lines l ON l.transaction_id = t.id AND l.root_id = t.root_id
WHERE t.root_id = $1 AND t.original_id = $2 AND t.kind = 3 AND l.type = 4 GROUP BY l.tier
"""


async def find_original(connection: Connection, transaction_id: UUID) -> Original | None:
    """The purchase of that transaction, or None where there is none; what was refunded of it is not looked at."""
    rows = await connection.fetch(_ORIGINAL, transaction_id)
    if not rows or rows[0]["type"] != LineType.EXPENSE:
        return None
    tiers = tuple(
        OriginalTier(
            row["wallet_id"],
            row["buyer_id"],
            row["seller_id"],
            row["revenue_micros"] + row["clearing_micros"],
            row["tax_micros"],
            row["clearing_micros"] > 0,
        )
        for row in rows
    )
    first = rows[0]
    return Original(
        root_id=first["root_id"],
        id=first["id"],
        organization_id=first["organization_id"],
        order_id=first["order_id"],
        currency=first["currency"],
        order_number=first["order_number"],
        item=first["item"],
        cloud_phone_id=first["cloud_phone_id"],
        tiers=tiers,
    )


async def with_refunds(connection: Connection, original: Original) -> Original:
    """The original with what was refunded of each tier so far. Lock the wallets of its tiers first."""
    refunded = {row["tier"]: row for row in await connection.fetch(_REFUNDED, original.root_id, original.id)}
    tiers = tuple(
        tier._replace(refunded_net_micros=refunded[number]["net"], refunded_tax_micros=refunded[number]["tax"])
        if number in refunded
        else tier
        for number, tier in enumerate(original.tiers, 1)
    )
    return original._replace(tiers=tiers)

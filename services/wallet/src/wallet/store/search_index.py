"""Copies lines of large wallets to where they are found by item, type, number, phone and amount."""

from uuid import UUID

from servicekit.folding import fold
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.search import ORDER_DAY_CHARACTERS, SEPARATORS

# `wallet.domain.search.compact_number` in SQL; capital letters of "C" are those of ASCII, whatever the database's own.
COMPACT_NUMBER = f"upper(translate({{column}}, '{SEPARATORS}', '') COLLATE \"C\")"

_BEHIND = text("""
SELECT w.root_id, w.id
FROM wallets w LEFT JOIN search_progress p ON p.root_id = w.root_id AND p.wallet_id = w.id
WHERE w.sequence >= :behind AND w.sequence - coalesce(p.sequence, 0) >= :behind
ORDER BY w.sequence - coalesce(p.sequence, 0) DESC LIMIT :limit
""")

_BEGIN = text("""
INSERT INTO search_progress (root_id, wallet_id, sequence) VALUES (:root_id, :wallet_id, 0)
ON CONFLICT DO NOTHING
""")
_CLAIM = text("""
SELECT p.sequence, least(w.sequence, p.sequence + :limit)
FROM search_progress p JOIN wallets w ON w.root_id = p.root_id AND w.id = p.wallet_id
WHERE p.root_id = :root_id AND p.wallet_id = :wallet_id
FOR NO KEY UPDATE OF p SKIP LOCKED
""")
_NEW_ITEMS = text("""
SELECT DISTINCT t.item COLLATE "C" AS item
FROM lines l JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id
WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :after AND l.sequence <= :to
    AND NOT EXISTS (SELECT FROM search_items i
                    WHERE i.root_id = l.root_id AND i.wallet_id = l.wallet_id AND i.item = t.item COLLATE "C")
ORDER BY item
""")
_ADD_ITEMS = text("""
INSERT INTO search_items (root_id, wallet_id, item_id, item, folded)
SELECT :root_id, :wallet_id, known.last + n.number, n.item, n.folded
FROM unnest(CAST(:items AS text[]), CAST(:folded AS text[])) WITH ORDINALITY AS n (item, folded, number),
     (SELECT coalesce(max(item_id), 0) AS last FROM search_items
      WHERE root_id = :root_id AND wallet_id = :wallet_id) AS known
""")
_COPY = text(f"""
INSERT INTO line_search (root_id, wallet_id, sequence, amount_micros, item_id, type, number, number_day,
                         cloud_phone_id)
SELECT l.root_id, l.wallet_id, l.sequence, l.amount_micros, i.item_id, l.type, n.number,
       left(n.number, {ORDER_DAY_CHARACTERS}), t.cloud_phone_id
FROM lines l
JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id
JOIN search_items i ON i.root_id = l.root_id AND i.wallet_id = l.wallet_id AND i.item = t.item COLLATE "C"
CROSS JOIN LATERAL (SELECT {COMPACT_NUMBER.format(column="t.order_number")} AS number) AS n
WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :after AND l.sequence <= :to
""")  # noqa: S608 - nothing put in comes from outside
_ADVANCE = text("""
UPDATE search_progress SET sequence = :to WHERE root_id = :root_id AND wallet_id = :wallet_id
""")


async def wallets_behind(connection: AsyncConnection, behind: int, limit: int) -> list[tuple[UUID, UUID]]:
    """Root and id of wallets with at least `behind` lines that are not copied, those with the most first."""
    rows = await connection.execute(_BEHIND, {"behind": behind, "limit": limit})
    return [(row[0], row[1]) for row in rows]


async def copy_lines(connection: AsyncConnection, root_id: UUID, wallet_id: UUID, limit: int) -> int:
    """Copies the next lines of a wallet, `limit` at most, and says how many; 0 where somebody else is at it."""
    wallet = {"root_id": root_id, "wallet_id": wallet_id}
    await connection.execute(_BEGIN, wallet)
    claimed = (await connection.execute(_CLAIM, {**wallet, "limit": limit})).one_or_none()
    if claimed is None:
        return 0
    part = {**wallet, "after": claimed[0], "to": claimed[1]}
    items = list((await connection.execute(_NEW_ITEMS, part)).scalars())
    if items:
        await connection.execute(_ADD_ITEMS, {**wallet, "items": items, "folded": [fold(item) for item in items]})
    await connection.execute(_COPY, part)
    await connection.execute(_ADVANCE, {**wallet, "to": part["to"]})
    count: int = part["to"] - part["after"]
    return count

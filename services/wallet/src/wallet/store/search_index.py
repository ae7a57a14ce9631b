"""Copies lines of large wallets to where they are found by item, type, number, phone and amount."""

from uuid import UUID

from servicekit.folding import fold
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.ledger import LineType
from wallet.domain.search import ORDER_DAY_CHARACTERS, SEPARATORS

# `wallet.domain.search.compact_number` in SQL; capital letters of "C" are those of ASCII, whatever the database's own.
COMPACT_NUMBER = f"upper(translate({{column}}, '{SEPARATORS}', '') COLLATE \"C\")"

# Of what is stored: with another number search_item_blocks must be made again.
ITEMS_A_BLOCK = 30
# From one sequence to the next of which it is known what all lines up to it come to.
SUMS_EVERY = 1_000

# A look at every wallet; not one that each line would have to pay an index for.
_BEGIN_LARGE = text("""
INSERT INTO search_progress (root_id, wallet_id, sequence)
SELECT w.root_id, w.id, 0 FROM wallets w
WHERE w.sequence >= :behind
    AND NOT EXISTS (SELECT FROM search_progress p WHERE p.root_id = w.root_id AND p.wallet_id = w.id)
ON CONFLICT DO NOTHING
""")
_BEHIND = text("""
SELECT w.root_id, w.id
FROM search_progress p JOIN wallets w ON w.root_id = p.root_id AND w.id = p.wallet_id
WHERE w.sequence - p.sequence >= :behind
ORDER BY w.sequence - p.sequence DESC LIMIT :limit
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
_ADD_BLOCKS = text("""
INSERT INTO search_item_blocks (root_id, wallet_id, block, folded)
SELECT :root_id, :wallet_id, (item_id - 1) / :size, string_agg(folded, E'\\n' ORDER BY item_id)
FROM search_items
WHERE root_id = :root_id AND wallet_id = :wallet_id AND item_id > :size * (
    SELECT coalesce(max(block) + 1, 0) FROM search_item_blocks WHERE root_id = :root_id AND wallet_id = :wallet_id
)
GROUP BY (item_id - 1) / :size HAVING count(*) = :size
""")
_LINES = ", ".join(f"count(*) FILTER (WHERE type = {int(each)})" for each in LineType)
_ADDED = ", ".join(f"{{old}}.lines[{int(each)}] + {{new}}.lines[{int(each)}]" for each in LineType)
# The lines, and all that is known about them, in one statement.
_COPY = text(f"""
WITH copied AS (
    INSERT INTO line_search (root_id, wallet_id, sequence, amount_micros, item_id, type, number, number_day,
                             cloud_phone_id)
    SELECT l.root_id, l.wallet_id, l.sequence, l.amount_micros, i.item_id, l.type, n.number,
           left(n.number, {ORDER_DAY_CHARACTERS}), t.cloud_phone_id
    FROM lines l
    JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id
    JOIN search_items i ON i.root_id = l.root_id AND i.wallet_id = l.wallet_id AND i.item = t.item COLLATE "C"
    CROSS JOIN LATERAL (SELECT {COMPACT_NUMBER.format(column="t.order_number")} AS number) AS n
    WHERE l.root_id = :root_id AND l.wallet_id = :wallet_id AND l.sequence > :after AND l.sequence <= :to
    RETURNING sequence, amount_micros, item_id, type, number_day
), items AS (
    UPDATE search_items i SET lines = ARRAY[{_ADDED.format(old="i", new="n")}]
    FROM (SELECT item_id, ARRAY[{_LINES}] AS lines FROM copied GROUP BY item_id) AS n
    WHERE i.root_id = :root_id AND i.wallet_id = :wallet_id AND i.item_id = n.item_id
), types AS (
    INSERT INTO search_item_types (root_id, wallet_id, type, item_id)
    SELECT DISTINCT CAST(:root_id AS uuid), CAST(:wallet_id AS uuid), type, item_id FROM copied
    ON CONFLICT DO NOTHING
), days AS (
    INSERT INTO search_days AS d (root_id, wallet_id, number_day, type, lines, first_sequence, last_sequence)
    SELECT :root_id, :wallet_id, number_day, type, count(*), min(sequence), max(sequence)
    FROM copied WHERE number_day <> '' GROUP BY number_day, type
    ON CONFLICT (root_id, wallet_id, number_day, type) DO UPDATE
    SET lines = d.lines + excluded.lines, first_sequence = least(d.first_sequence, excluded.first_sequence),
        last_sequence = greatest(d.last_sequence, excluded.last_sequence)
), blocks AS (
    SELECT (sequence + :every - 1) / :every * :every AS block, type, count(*) AS lines,
           coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0) AS credits,
           coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0) AS debits
    FROM (
        SELECT sequence, type, amount_micros FROM copied
        UNION ALL
        SELECT sequence, type, amount_micros FROM line_search
        WHERE root_id = :root_id AND wallet_id = :wallet_id AND type = ANY (CAST(:all_types AS smallint[]))
            AND sequence > CAST(:after AS bigint) / :every * :every AND sequence <= :after
    ) AS l
    WHERE sequence <= CAST(:to AS bigint) / :every * :every
    GROUP BY block, type
), sums AS (
    INSERT INTO search_sums (root_id, wallet_id, sequence, type, lines, credits_micros, debits_micros)
    SELECT :root_id, :wallet_id, block, b.type, coalesce(s.lines, 0) + sum(b.lines) OVER upto,
           coalesce(s.credits_micros, 0) + sum(credits) OVER upto, coalesce(s.debits_micros, 0) + sum(debits) OVER upto
    FROM blocks b LEFT JOIN LATERAL (
        SELECT * FROM search_sums WHERE root_id = :root_id AND wallet_id = :wallet_id AND type = b.type
        ORDER BY sequence DESC LIMIT 1
    ) AS s ON true
    WINDOW upto AS (PARTITION BY b.type ORDER BY block)
)
UPDATE search_progress p SET sequence = :to, lines = ARRAY[{_ADDED.format(old="p", new="n")}]
FROM (SELECT ARRAY[{_LINES}] AS lines FROM copied) AS n
WHERE p.root_id = :root_id AND p.wallet_id = :wallet_id
""")  # noqa: S608 - nothing put in comes from outside


async def begin_large(connection: AsyncConnection, behind: int) -> int:
    """From now on `wallets_behind` looks at all wallets that have `behind` lines; how many are new."""
    return (await connection.execute(_BEGIN_LARGE, {"behind": behind})).rowcount


async def wallets_behind(connection: AsyncConnection, behind: int, limit: int) -> list[tuple[UUID, UUID]]:
    """Root and id of large wallets with at least `behind` lines that are not copied, those with the most first."""
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
        await connection.execute(_ADD_BLOCKS, {**wallet, "size": ITEMS_A_BLOCK})
    await connection.execute(_COPY, {**part, "all_types": [int(each) for each in LineType], "every": SUMS_EVERY})
    count: int = part["to"] - part["after"]
    return count

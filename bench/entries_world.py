"""Balance lines to find: a busy partner with two lines in five, some dozens of resellers, thousands of customers.

Rows are what wallet's posting engine and `index_lines` write, in their order, put in by SQL from one number for each
transaction, so that any count of them looks alike. They are spread over two years. Hashes are no chain.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
from local_stack.stack import Stack
from servicekit.folding import fold
from wallet.commands.search_index import BEHIND
from wallet.domain.search import ORDER_DAY_CHARACTERS
from wallet.store.search_index import COMPACT_NUMBER, ITEMS_A_BLOCK, SUMS_EVERY

from bench.harness import Progress
from bench.ledger_world import CURRENCY, _organization, counted_id
from bench.orders_world import NAMES, name
from bench.own_stack import indexes_afterwards, run, superuser_url

PLATFORM, PARTNER, RESELLER, CUSTOMER, WALLET = 1, 1_000_000, 2_000_000, 3_000_000, 10_000_000
# Of the busy partner; each of the others has one.
RESELLERS = 40
PARTNERS = 50
CUSTOMERS = 5_000
PHONES = 10
FIRST = datetime(2024, 12, 1, tzinfo=UTC)
SPAN = timedelta(days=720)
# About as many lines as a transaction has.
LINES_A_TRANSACTION = 4.385
CHUNK = 250_000
_OTHER_ITEMS = ("Top-up", "Goodwill after an outage", "Correction of a price")


def reseller_of(customer: int) -> int:
    """Nine customers in ten are the busy partner's."""
    return customer % RESELLERS if customer % 10 else RESELLERS + customer // 10 % (PARTNERS - 1)


def partner_of(reseller: int) -> int:
    """The busy one is 0."""
    return 0 if reseller < RESELLERS else reseller - RESELLERS + 1


def organizations() -> list[tuple[int, list[int]]]:
    """Number of each, with the numbers of those above it."""
    found: list[tuple[int, list[int]]] = [(PLATFORM, [])]
    found += [(PARTNER + partner, [PLATFORM]) for partner in range(PARTNERS)]
    for reseller in range(RESELLERS + PARTNERS - 1):
        found.append((RESELLER + reseller, [PARTNER + partner_of(reseller), PLATFORM]))
    for customer in range(CUSTOMERS):
        reseller = reseller_of(customer)
        found.append((CUSTOMER + customer, [RESELLER + reseller, PARTNER + partner_of(reseller), PLATFORM]))
    return found


def seed(stack: Stack, lines: int, progress: Progress) -> None:
    """Fills wallet's tables, freshly migrated, with about `lines` lines."""
    run(_seed(stack, lines, progress))


def order_number(number: int, lines: int) -> str:
    """Of the transaction of that number, if it has one, in a world of so many lines."""
    at = FIRST + timedelta(microseconds=_step(lines) * number)
    return f"FA-{at:%y%m%d}-{number * 7919 % 4294967296:08X}"


def _transactions(lines: int) -> int:
    return round(lines / LINES_A_TRANSACTION)


def _step(lines: int) -> int:
    """Microseconds from one transaction to the next."""
    return SPAN // timedelta(microseconds=1) // _transactions(lines)


async def _seed(stack: Stack, lines: int, progress: Progress) -> None:
    count = _transactions(lines)
    connection = await asyncpg.connect(superuser_url(stack, "wallet"))
    try:
        # Foreign keys hold by the way rows are made; checking each would take as long again.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET work_mem = '256MB'")
        await _organizations(connection)
        await connection.execute(_FUNCTIONS.replace(":step", str(_step(lines))))
        await connection.copy_records_to_table("bench_items", records=_items())
        tables = ("transactions", "lines", "line_search")
        async with indexes_afterwards(connection, tables, progress):
            for first in range(0, count, CHUNK):
                await connection.execute(_MOVES, first, min(first + CHUNK, count))
                for statement in _ROWS:
                    await connection.execute(statement)
                progress(f"{min(first + CHUNK, count):,} of {count:,} transactions")
        await connection.execute(_ENDS)
        for statement in _KNOWN:
            await connection.execute(statement)
        progress("VACUUM ANALYZE")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _organizations(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    rows = []
    wallets = []
    for number, up in organizations():
        row = _organization(number, f"organization-{number}", up)
        rows.append(row)
        if up:
            earnings = 2 if number == PARTNER or RESELLER <= number < RESELLER + RESELLERS else 1
            wallets.append((row[0], counted_id(WALLET + number), row[1], row[2], CURRENCY, 10**17, earnings))
    await connection.copy_records_to_table(
        "organizations",
        records=rows,
        columns=[
            *("root_id", "id", "parent_id", "ancestor_ids", "domain", "name"),
            *("currency", "version", "resource", "created_at"),
        ],
    )
    await connection.copy_records_to_table(
        "wallets",
        records=wallets,
        columns=["root_id", "id", "organization_id", "seller_id", "currency", "credit_limit_micros", "earnings"],
    )


def _items() -> list[tuple[int, str, str]]:
    """Number, text, folded: every product, every two of them in one order, and what is no product."""
    texts = dict(enumerate(_OTHER_ITEMS, NAMES + 1))
    texts |= {1 + product: name(product) for product in range(NAMES)}
    for product in range(NAMES):
        for second in range(NAMES):
            texts[1_000 + product * NAMES + second] = f"{name(product)}, {name(second)}"
    return [(number, text, fold(text)) for number, text in texts.items()]


# A transaction is drawn by its number: of twenty, one is a top-up, one a refund of an earlier one, one a correction.
_FUNCTIONS = f"""
CREATE FUNCTION bench_id(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT ('00000000-0000-7000-8000-' || (100000000000 + number))::uuid $$;
CREATE FUNCTION bench_draw(number bigint, what int, below int) RETURNS int LANGUAGE sql IMMUTABLE AS
    $$ SELECT ((hashint8extended(number, what) & 9223372036854775807) % below)::int $$;
CREATE TABLE bench_items (id int PRIMARY KEY, item text, folded text);
CREATE TABLE bench_wallets (number int PRIMARY KEY, root_id uuid, id uuid, organization_id uuid, seller_id uuid,
    sequence bigint NOT NULL DEFAULT 0, balance bigint NOT NULL DEFAULT 0, copied bigint NOT NULL DEFAULT 0);
INSERT INTO bench_wallets
SELECT (right(organization_id::text, 12)::bigint - 100000000000)::int, root_id, id, organization_id, seller_id
FROM wallets;
CREATE TABLE bench_seen (wallet int, item int, id int, PRIMARY KEY (wallet, item));
CREATE UNLOGGED TABLE bench_waiting (wallet int, sequence bigint, amount bigint, item int, type smallint, number text,
    phone text);
CREATE UNLOGGED TABLE bench_moves (n bigint, kind smallint, position smallint, wallet int, item int,
    source bigint, number_day text, phone text, posted_at timestamptz, type smallint, tier smallint, amount bigint,
    revenue bigint, tax bigint, cash bigint, clearing bigint, credits bigint, sequence bigint, balance bigint);
CREATE FUNCTION bench_at(n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
    $$ SELECT timestamptz '{FIRST.isoformat()}' + n * interval ':step microseconds' $$;
CREATE FUNCTION bench_number(n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT 'FA-' || to_char(bench_at(n) AT TIME ZONE 'UTC', 'YYMMDD') || '-'
              || lpad(upper(to_hex(n * 7919 % 4294967296)), 8, '0') $$;
"""
_DRAWN = f"""
SELECT *, {RESELLER} + reseller AS reseller_wallet, {PARTNER} + partner AS partner_wallet, partner = 0 AS earns,
       base * 5 / 4 AS net_2, base * 3 / 2 AS net_1, base * 3 / 2 * 19 / 100 AS tax,
       CASE WHEN kind = 1 THEN {NAMES} + 1 WHEN kind = 4 THEN {NAMES} + 2 + n / 20 % 2
            WHEN bench_draw(source, 7, 100) < 2
                THEN 1000 + product * {NAMES} + (product + 1 + bench_draw(source, 8, {NAMES} - 1)) % {NAMES}
            ELSE 1 + product END AS item,
       CASE WHEN kind IN (2, 3) AND product % 3 = 2
            THEN 'phone-' || customer * {PHONES} + bench_draw(source, 9, {PHONES}) ELSE '' END AS phone,
       (ARRAY[{CUSTOMER} + customer, {RESELLER} + reseller, {PARTNER} + partner])[1 + bench_draw(n, 10, 3)] AS own
FROM (
    SELECT *, CASE WHEN reseller < {RESELLERS} THEN 0 ELSE reseller - {RESELLERS} + 1 END AS partner,
           1000000::bigint * (1 + product * 7 % 90) * 4 * (1 + bench_draw(source, 5, 6)) AS base
    FROM (
        SELECT *, CASE WHEN customer % 10 <> 0 THEN customer % {RESELLERS}
                       ELSE {RESELLERS} + customer / 10 % ({PARTNERS} - 1) END AS reseller
        FROM (
            SELECT n, kind, source, bench_draw(source, 1, {CUSTOMERS}) AS customer,
                   ({NAMES} * ((bench_draw(source, 2, 1000) / 1000.0) ^ 2))::int % {NAMES} AS product
            FROM (
                SELECT n, CASE WHEN n % 20 = 0 OR source < 0 THEN 1 WHEN n % 20 = 1 THEN 3 WHEN n % 20 = 2 THEN 4
                               ELSE 2 END AS kind, source
                FROM (
                    SELECT n, CASE WHEN n % 20 <> 1 THEN n ELSE
                        n + 2 - 20 * (1 + bench_draw(n, 3, CASE WHEN n % 400 = 1 THEN 100000 ELSE 3000 END)::bigint)
                        END AS source
                    FROM generate_series($1::bigint, $2::bigint - 1) AS n
                ) AS a
            ) AS b
        ) AS c
    ) AS d
) AS e
"""
# The lines of each, as `wallet.domain.ledger.Book` makes them, numbered on from those that a wallet has.
_MOVES = f"""
WITH drawn AS MATERIALIZED ({_DRAWN}), moves AS (
    SELECT d.n, d.kind, m.*, d.item, d.source, d.phone
    FROM drawn d CROSS JOIN LATERAL (VALUES
        (1, {CUSTOMER} + customer, 2, 1, - net_1 - d.tax, CASE WHEN earns THEN 0 ELSE net_1 END, d.tax, 0,
         CASE WHEN earns THEN net_1 ELSE 0 END, 0),
        (2, CASE WHEN earns THEN reseller_wallet END, 3, 1, net_1, 0, 0, 0, - net_1, 0),
        (3, reseller_wallet, 2, 2, - net_2, CASE WHEN earns THEN 0 ELSE net_2 END, 0, 0,
         CASE WHEN earns THEN net_2 ELSE 0 END, 0),
        (4, CASE WHEN earns THEN partner_wallet END, 3, 2, net_2, 0, 0, 0, - net_2, 0),
        (5, partner_wallet, 2, 3, - base, base, 0, 0, 0, 0)
    ) AS m (position, wallet, type, tier, amount, revenue, tax, cash, clearing, credits)
    WHERE d.kind = 2 AND m.wallet IS NOT NULL
    UNION ALL
    SELECT d.n, d.kind, m.*, d.item, d.source, d.phone
    FROM drawn d CROSS JOIN LATERAL (VALUES
        (1, partner_wallet, 4, 3, base, - base, 0, 0, 0, 0),
        (2, CASE WHEN earns THEN partner_wallet END, 3, 2, - net_2, 0, 0, 0, net_2, 0),
        (3, reseller_wallet, 4, 2, net_2, CASE WHEN earns THEN 0 ELSE - net_2 END, 0, 0,
         CASE WHEN earns THEN - net_2 ELSE 0 END, 0),
        (4, CASE WHEN earns THEN reseller_wallet END, 3, 1, - net_1, 0, 0, 0, net_1, 0),
        (5, {CUSTOMER} + customer, 4, 1, net_1 + d.tax, CASE WHEN earns THEN 0 ELSE - net_1 END, - d.tax, 0,
         CASE WHEN earns THEN - net_1 ELSE 0 END, 0)
    ) AS m (position, wallet, type, tier, amount, revenue, tax, cash, clearing, credits)
    WHERE d.kind = 3 AND m.wallet IS NOT NULL
    UNION ALL
    SELECT n, kind, 1, own, 1, 0, base * 10, 0, 0, - base * 10, 0, 0, item, source, phone FROM drawn WHERE kind = 1
    UNION ALL
    SELECT n, kind, 1, own, 4, 0, amount, 0, 0, 0, 0, - amount, item, source, phone
    FROM (SELECT *, CASE WHEN n % 40 = 2 THEN base ELSE - base / 4 END AS amount FROM drawn WHERE kind = 4) AS a
)
INSERT INTO bench_moves
SELECT m.n, m.kind, position, wallet, item, source, CASE WHEN kind IN (2, 3) THEN bench_number(source) ELSE '' END,
       phone, bench_at(n), type, tier, amount, revenue, tax, cash, clearing, credits,
       w.sequence + row_number() OVER line, w.balance + sum(amount) OVER line
FROM moves m JOIN bench_wallets w ON w.number = m.wallet
WINDOW line AS (PARTITION BY wallet ORDER BY n, position ROWS UNBOUNDED PRECEDING)
"""
_ROWS = (
    """
    INSERT INTO transactions (root_id, id, organization_id, order_id, posted_at, type, currency, order_number, item,
        request_key, request_sha256, kind, original_id, cloud_phone_id)
    SELECT w.root_id, bench_id(900000000 + n), w.organization_id,
        CASE WHEN kind IN (2, 3) THEN bench_id(1900000000 + source) END, posted_at,
        CASE WHEN kind = 2 THEN 2 WHEN kind = 1 THEN 1 ELSE 4 END, 'USD', number_day, i.item,
        'orders:' || bench_id(900000000 + n), sha256(int8send(n)), kind,
        CASE WHEN kind = 3 THEN bench_id(900000000 + source) END, phone
    FROM bench_moves m JOIN bench_wallets w ON w.number = m.wallet JOIN bench_items i ON i.id = m.item
    -- Of the purchaser's line.
    WHERE position = CASE WHEN kind = 3 THEN 5 ELSE 1 END
    ORDER BY n
    """,
    """
    INSERT INTO lines (root_id, wallet_id, transaction_id, organization_id, seller_id, sequence, amount_micros,
        revenue_micros, tax_micros, cash_micros, clearing_micros, balance_after_micros, credit_limit_micros, tier,
        type, credits_micros, hash, posted_at)
    SELECT w.root_id, w.id, bench_id(900000000 + n), w.organization_id, w.seller_id, m.sequence, amount, revenue, tax,
        cash, clearing, m.balance, 100000000000000000, tier, type, credits, sha256(int8send(n * 10 + position)),
        posted_at
    FROM bench_moves m JOIN bench_wallets w ON w.number = m.wallet
    ORDER BY n, position
    """,
    f"""
    INSERT INTO bench_waiting
    SELECT wallet, sequence, amount, item, type, {COMPACT_NUMBER.format(column="number_day")}, phone FROM bench_moves
    """,
    """
    UPDATE bench_wallets w SET sequence = last, balance = balance + added
    FROM (SELECT wallet, max(sequence) AS last, sum(amount) AS added FROM bench_moves GROUP BY wallet) AS m
    WHERE m.wallet = w.number
    """,
    "TRUNCATE bench_moves",
    # As the job does: a wallet's lines once there are enough of them, and before them the items that are new.
    f"""
    INSERT INTO bench_seen
    SELECT wallet, item, coalesce(last, 0) + row_number() OVER (PARTITION BY wallet ORDER BY item)
    FROM (
        SELECT DISTINCT wallet, item FROM bench_waiting l JOIN bench_wallets w ON w.number = l.wallet
        WHERE w.sequence - w.copied >= {BEHIND}
    ) AS l LEFT JOIN (SELECT wallet, max(id) AS last FROM bench_seen GROUP BY wallet) AS known USING (wallet)
    WHERE NOT EXISTS (SELECT FROM bench_seen s WHERE s.wallet = l.wallet AND s.item = l.item)
    """,
    f"""
    INSERT INTO line_search (root_id, wallet_id, sequence, amount_micros, item_id, type, number, number_day,
        cloud_phone_id)
    SELECT w.root_id, w.id, l.sequence, amount, s.id, type, l.number, left(l.number, {ORDER_DAY_CHARACTERS}), phone
    FROM bench_waiting l JOIN bench_wallets w ON w.number = l.wallet
    JOIN bench_seen s ON s.wallet = l.wallet AND s.item = l.item
    WHERE w.sequence - w.copied >= {BEHIND} ORDER BY l.wallet, l.sequence
    """,
    f"""
    CREATE UNLOGGED TABLE bench_left AS
    SELECT l.* FROM bench_waiting l JOIN bench_wallets w ON w.number = l.wallet
    WHERE w.sequence - w.copied < {BEHIND}
    """,
    "DROP TABLE bench_waiting",
    "ALTER TABLE bench_left RENAME TO bench_waiting",
    f"UPDATE bench_wallets SET copied = sequence WHERE sequence - copied >= {BEHIND}",
    "VACUUM bench_wallets",
)
# What the job knows of the lines that it has copied.
_LINES = ", ".join(f"count(*) FILTER (WHERE type = {type_})" for type_ in range(1, 5))
_KNOWN = (
    f"""
    UPDATE search_items i SET lines = n.lines
    FROM (SELECT root_id, wallet_id, item_id, ARRAY[{_LINES}] AS lines FROM line_search
          GROUP BY root_id, wallet_id, item_id) AS n
    WHERE i.root_id = n.root_id AND i.wallet_id = n.wallet_id AND i.item_id = n.item_id
    """,
    # In the order in which the job adds them.
    "CLUSTER search_items USING search_items_pkey",
    f"""
    INSERT INTO search_item_blocks (root_id, wallet_id, block, folded)
    SELECT root_id, wallet_id, (item_id - 1) / {ITEMS_A_BLOCK}, string_agg(folded, E'\\n' ORDER BY item_id)
    FROM search_items GROUP BY 1, 2, 3 HAVING count(*) = {ITEMS_A_BLOCK} ORDER BY 1, 2, 3
    """,
    """
    INSERT INTO search_item_types (root_id, wallet_id, type, item_id)
    SELECT root_id, wallet_id, type, item_id FROM search_items CROSS JOIN generate_series(1, 4) AS type
    WHERE lines[type] > 0 ORDER BY 1, 2, 3, 4
    """,
    f"""
    UPDATE search_progress p SET lines = n.lines
    FROM (SELECT root_id, wallet_id, ARRAY[{_LINES}] AS lines FROM line_search GROUP BY root_id, wallet_id) AS n
    WHERE p.root_id = n.root_id AND p.wallet_id = n.wallet_id
    """,
    """
    INSERT INTO search_days (root_id, wallet_id, number_day, type, lines, first_sequence, last_sequence)
    SELECT root_id, wallet_id, number_day, type, count(*), min(sequence), max(sequence)
    FROM line_search WHERE number <> '' GROUP BY root_id, wallet_id, number_day, type ORDER BY 1, 2, 3, 4
    """,
    f"""
    INSERT INTO search_sums (root_id, wallet_id, sequence, type, lines, credits_micros, debits_micros)
    SELECT root_id, wallet_id, block, type, sum(lines) OVER upto, sum(credits) OVER upto, sum(debits) OVER upto
    FROM (
        SELECT l.root_id, l.wallet_id, (l.sequence + {SUMS_EVERY - 1}) / {SUMS_EVERY} * {SUMS_EVERY} AS block, l.type,
               count(*) AS lines, coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0) AS credits,
               coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0) AS debits
        FROM line_search l JOIN search_progress p ON p.root_id = l.root_id AND p.wallet_id = l.wallet_id
        WHERE l.sequence <= p.sequence / {SUMS_EVERY} * {SUMS_EVERY}
        GROUP BY 1, 2, 3, 4
    ) AS blocks
    WINDOW upto AS (PARTITION BY root_id, wallet_id, type ORDER BY block)
    """,
)
_ENDS = f"""
UPDATE wallets w SET balance_micros = b.balance, sequence = b.sequence, last_hash = sha256(int8send(b.sequence)),
    last_posted_at = timestamptz '{(FIRST + SPAN).isoformat()}'
FROM bench_wallets b WHERE b.root_id = w.root_id AND b.id = w.id AND b.sequence > 0;
INSERT INTO search_progress (root_id, wallet_id, sequence)
SELECT root_id, id, copied FROM bench_wallets WHERE copied > 0;
INSERT INTO search_items (root_id, wallet_id, item_id, item, folded)
SELECT w.root_id, w.id, s.id, i.item, i.folded
FROM bench_seen s JOIN bench_wallets w ON w.number = s.wallet JOIN bench_items i ON i.id = s.item
ORDER BY s.wallet, s.id;
DROP TABLE bench_moves, bench_waiting, bench_seen, bench_items, bench_wallets
"""

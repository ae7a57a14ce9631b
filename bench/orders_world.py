"""Orders to search: one busy partner and many small ones, 300 product names, every type, state and payment method.

Rows are what orders' own commands write, put in by SQL from one number each, so that any count of them looks alike.
"""

from __future__ import annotations

import asyncpg
from local_stack.stack import Stack
from orders.domain.catalogue import ProductType
from orders.domain.search import product_name

from bench.harness import Progress
from bench.ledger_world import _organization, counted_id
from bench.own_stack import indexes_afterwards, run, superuser_url

PLATFORM, PARTNER, RESELLER, CUSTOMER = 1, 1_000_000, 2_000_000, 3_000_000
PARTNERS = 50
CUSTOMERS = 5_000
NAMES = 300
CHUNK = 200_000
_TYPES = (ProductType.PROXY, ProductType.PACKAGE, ProductType.CLOUD_PHONE)
_WORDS = ("Residential", "Datacenter", "Mobile", "Starter", "Studio", "Größe", "代理", "هاتف", "Облако", "Pixel")


def partner_of(customer: int) -> int:
    """Every second customer is the busy partner's (0)."""
    return 0 if customer % 2 else 1 + customer // 2 % (PARTNERS - 1)


def name(number: int) -> str:
    """A product's name."""
    return f"{_WORDS[number % len(_WORDS)]} {_WORDS[number // len(_WORDS) % len(_WORDS)]} {number:03d}"


def seed(stack: Stack, count: int, progress: Progress) -> None:
    """Fills orders' tables, freshly migrated, with `count` orders."""
    run(_seed(stack, count, progress))


async def _seed(stack: Stack, count: int, progress: Progress) -> None:
    connection = await asyncpg.connect(superuser_url(stack, "orders"))
    try:
        await connection.copy_records_to_table(
            "organizations",
            records=_organizations(),
            columns=[
                *("root_id", "id", "parent_id", "ancestor_ids", "domain", "name"),
                *("currency", "version", "resource", "created_at"),
            ],
        )
        # Foreign keys hold by the way rows are made; checking each would take as long again.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(_FUNCTIONS)
        await connection.execute("CREATE TABLE bench_names (number int PRIMARY KEY, name text, folded text, id bigint)")
        names = [
            (number, name(number), entry.folded, entry.id)
            for number in range(NAMES)
            for entry in (product_name(_TYPES[number % 3], name(number)),)
        ]
        await connection.copy_records_to_table("bench_names", records=names)
        async with indexes_afterwards(connection, ("orders", "order_search"), progress):
            for first in range(0, count, CHUNK):
                for statement in _ROWS:
                    await connection.execute(statement, first, min(first + CHUNK, count))
                progress(f"{min(first + CHUNK, count):,} of {count:,} orders")
        await connection.execute(_NAME_ROWS)
        progress("VACUUM ANALYZE")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _organizations() -> list[tuple[object, ...]]:
    rows = [_organization(PLATFORM, "platform", [])]
    for partner in range(PARTNERS):
        rows.append(_organization(PARTNER + partner, f"partner-{partner}", [PLATFORM]))
        rows.append(_organization(RESELLER + partner, f"reseller-{partner}", [PARTNER + partner, PLATFORM]))
    for customer in range(CUSTOMERS):
        partner = partner_of(customer)
        above = [RESELLER + partner, PARTNER + partner, PLATFORM]
        rows.append(_organization(CUSTOMER + customer, f"customer-{customer}", above))
    return rows


# Orders are spread over two years by their number, everything else by a hash of it.
_FUNCTIONS = f"""
CREATE FUNCTION bench_id(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT ('00000000-0000-7000-8000-' || (100000000000 + number))::uuid $$;
CREATE FUNCTION bench_draw(number bigint, what int, below int) RETURNS int LANGUAGE sql IMMUTABLE AS
    $$ SELECT ((hashint8extended(number, what) & 9223372036854775807) % below)::int $$;
CREATE TABLE bench_numbers (n bigint PRIMARY KEY);
CREATE VIEW bench_orders AS
SELECT n, bench_id(900000000 + n) AS id, customer, partner, product, product % 3 AS type,
       timestamptz '2024-12-01' + n * interval '6 seconds' AS created_at,
       CASE WHEN product % 3 = 2 THEN (CASE WHEN draw < 2 THEN 'RUNNING' ELSE 'COMPLETED' END)
            WHEN draw < 2 THEN 'PENDING_PAYMENT' WHEN draw < 8 THEN 'CANCELED' ELSE 'COMPLETED' END AS state,
       CASE WHEN product % 3 = 2 THEN 'BALANCE'
            ELSE (ARRAY['BALANCE', 'BALANCE', 'BALANCE', 'BANK_TRANSFER', 'PROVIDER'])[1 + bench_draw(n, 4, 5)]
       END AS method,
       1000000::bigint * (1 + bench_draw(n, 5, 90)) + bench_draw(n, 6, 1000000) AS net
FROM (SELECT n, bench_draw(n, 1, {CUSTOMERS}) AS customer, bench_draw(n, 2, {NAMES}) AS product,
             bench_draw(n, 3, 100) AS draw FROM bench_numbers) AS drawn
CROSS JOIN LATERAL (
    SELECT CASE WHEN customer % 2 = 1 THEN 0 ELSE 1 + customer / 2 % ({PARTNERS} - 1) END AS partner) AS p;
"""
# What is pending stays so: nobody is to cancel it, or to ask wallet, while lists are measured.
_WAIT = "interval '100 years'"
_ROWS = (
    "INSERT INTO bench_numbers SELECT generate_series($1::bigint, $2::bigint - 1)",
    f"""
    INSERT INTO orders (root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name,
        payer_email, payment_method, currency, transaction_id, paid_at, canceled_at, cancel_cause, charge_lease_until,
        top_up_ended_at, created_at, total_micros, payment_due_at, cloud_phone_id, cloud_phone_name, powered_up_at,
        powered_down_at)
    SELECT bench_id({PARTNER} + partner), o.id,
        'FA-' || to_char(created_at, 'YYMMDD') || '-' || lpad(upper(to_hex(n * 7919 % 4294967296)), 8, '0'),
        state, (ARRAY['PROXY', 'PACKAGE', 'CLOUD_PHONE'])[type + 1], bench_id({CUSTOMER} + customer),
        bench_id({RESELLER} + partner), 's', 'Bea Buyer', 'bea@customer.example', method, 'USD',
        CASE WHEN state = 'COMPLETED' AND type <> 2 THEN o.id END,
        CASE WHEN state = 'COMPLETED' THEN created_at END, CASE WHEN state = 'CANCELED' THEN created_at END,
        CASE WHEN state = 'CANCELED' THEN 'NOT_PAID' END, created_at + {_WAIT},
        CASE WHEN state = 'CANCELED' THEN created_at END, created_at, net,
        CASE WHEN method <> 'BALANCE' THEN created_at + {_WAIT} END,
        CASE WHEN type = 2 THEN 'phone-' || n % 50000 END, CASE WHEN type = 2 THEN 'Pixel' END,
        CASE WHEN type = 2 THEN created_at END, CASE WHEN type = 2 AND state = 'COMPLETED' THEN created_at END
    FROM bench_orders o WHERE n >= $1::bigint AND n < $2::bigint
    """,
    f"""
    INSERT INTO order_items (root_id, order_id, position, organization_id, product_id, product_name, sku_id, sku_code,
        sku_name, unit, contents, quantity, proxies)
    SELECT bench_id({PARTNER} + partner), o.id, 1, bench_id({CUSTOMER} + customer), bench_id(product), b.name,
        bench_id(product), 'sku-' || product, '30 days', 'piece', '{{}}', 1, '[]'
    FROM bench_orders o JOIN bench_names b ON b.number = product WHERE n >= $1::bigint AND n < $2::bigint
    """,
    f"""
    INSERT INTO order_item_tiers (root_id, order_id, tier, position, buyer_id, seller_id, unit_price_micros, net_micros,
        tax_name, tax_rate_ppm, tax_micros)
    SELECT bench_id({PARTNER} + partner), o.id, tier, 1, buyer, seller, net / tier, net / tier, '', 0, 0
    FROM bench_orders o CROSS JOIN LATERAL (VALUES
        (1, bench_id({CUSTOMER} + customer), bench_id({RESELLER} + partner)),
        (2, bench_id({RESELLER} + partner), bench_id({PARTNER} + partner)),
        (3, bench_id({PARTNER} + partner), bench_id({PLATFORM}))) AS t (tier, buyer, seller)
    WHERE n >= $1::bigint AND n < $2::bigint
    """,
    f"""
    INSERT INTO order_search
    SELECT o.root_id, o.id, each.name_id, o.class, o.created_at, o.total_micros, o.organization_id, o.seller_id
    FROM bench_orders b JOIN orders o ON o.root_id = bench_id({PARTNER} + b.partner) AND o.id = b.id
    JOIN bench_names n ON n.number = b.product CROSS JOIN LATERAL (VALUES (0), (n.id)) AS each(name_id)
    WHERE b.n >= $1::bigint AND b.n < $2::bigint ORDER BY b.n
    """,
)
_NAME_ROWS = f"""
INSERT INTO product_names (root_id, id, type, folded)
SELECT bench_id({PARTNER} + partner), id, (ARRAY['PROXY', 'PACKAGE', 'CLOUD_PHONE'])[number % 3 + 1], folded
FROM bench_names, generate_series(0, {PARTNERS} - 1) AS partner
"""

VIEWERS = {
    "platform": counted_id(PLATFORM),
    "busy partner": counted_id(PARTNER),
    "busy reseller": counted_id(RESELLER),
    "small partner": counted_id(PARTNER + 7),
    "customer": counted_id(CUSTOMER + 7),
}

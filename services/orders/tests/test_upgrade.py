"""Given an installation of an earlier revision with orders in it, when upgraded, then lists find them."""

import shutil
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
from local_stack.stack import Stack
from orders.domain.search import OrderFilter, OrderOrder
from orders.store import search
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.scope import EVERYTHING
from servicekit.service import migrations_of

ROOT, BUYER, SELLER = (uuid4() for _ in range(3))
_ORDER = """
    INSERT INTO orders (root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name,
                        payer_email, payment_method, currency, transaction_id, paid_at, charge_lease_until, created_at,
                        total_micros)
    VALUES ($1, $2, $3, 'COMPLETED', 'PACKAGE', $4, $5, 's', 'n', 'e', 'BALANCE', 'EUR', $2, now(), now(), now(), $6)
"""
_ITEM = """
    INSERT INTO order_items (root_id, order_id, position, organization_id, product_id, product_name, sku_id, sku_code,
                             sku_name, unit, contents, quantity, proxies)
    VALUES ($1, $2, $3, $4, $2, $5, $2, 'code', '30 days', 'piece', '{}', 1, '[]')
"""


async def test_orders_of_before_are_found_by_their_names(stack: Stack, tmp_path: Path) -> None:
    """Given orders written before lists had a table of their own, when upgraded, then names and pairs of them find."""
    env, name = stack.env(), f"upgrade_{uuid4().hex[:8]}"
    server = {"host": env["PGHOST"], "port": int(env["PGPORT"]), "user": env["PGUSER"], "password": env["PGPASSWORD"]}
    superuser = await asyncpg.connect(**server, database="postgres")
    await superuser.execute(f"CREATE DATABASE {name} OWNER orders_owner")
    await superuser.close()
    owner_url, url = (
        f"{env[key].rpartition('/')[0]}/{name}" for key in ("ORDERS_OWNER_DATABASE_URL", "ORDERS_DATABASE_URL")
    )
    migrations, earlier = migrations_of("orders"), tmp_path / "migrations"
    shutil.copytree(migrations, earlier, ignore=shutil.ignore_patterns("0003*", "__pycache__"))
    assert await migrate(owner_url, earlier) == ["0001_orders", "0002_payments"]

    written = await asyncpg.connect(**server, database=name)
    await written.execute("SET session_replication_role = replica")
    ids = [uuid4(), uuid4()]
    for number, (order_id, names) in enumerate(zip(ids, (["Größe", "Studio"], ["STUDIO Pro"]), strict=True)):
        await written.execute(_ORDER, ROOT, order_id, f"FA-261123-0000000{number}", BUYER, SELLER, 5_000_000 + number)
        for position, product in enumerate(names, start=1):
            await written.execute(_ITEM, ROOT, order_id, position, BUYER, product)
    await written.close()
    assert await migrate(owner_url, migrations) == ["0003_search"]

    database = Database(url, pool_size=1)
    assert await found(database, OrderFilter()) == [ids[1], ids[0]]
    assert await found(database, OrderFilter(product_names=("studio",))) == [ids[1], ids[0]]
    assert await found(database, OrderFilter(product_names=("grösse",))) == [ids[0]]
    assert await found(database, OrderFilter(product_names=("größe",), search="studio")) == [ids[0]]
    assert await found(database, OrderFilter(product_names=("größe",), search="pro")) == []
    await database.close()


async def found(database: Database, wanted: OrderFilter) -> list[UUID]:
    """The ids of what is found, the largest order first."""
    async with database.transaction(EVERYTHING) as connection:
        prepared = await search.prepare(connection, EVERYTHING, wanted, OrderOrder.LARGEST)
        return [] if prepared is None else [k.place.id for k in await search.find_keys(connection, prepared, None, 9)]

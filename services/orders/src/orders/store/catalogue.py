"""Products, SKUs, prices and taxes in SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from servicekit.scope import Scope
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.catalogue import (
    Offer,
    Placement,
    Price,
    Product,
    ProductType,
    Sku,
    Tax,
    Validity,
    ValidityOverlap,
)
from orders.domain.pricing import Chain, PriceList, TaxRate
from orders.store.scopes import within

DEFAULT_SKU = UUID(int=0)
"""Stands in `taxes.sku_id` for the seller's default."""

_PLATFORM = text("SELECT id FROM organizations WHERE parent_id IS NULL")

_ADD_PRODUCT = text(
    "INSERT INTO products (root_id, id, type, name, created_at) VALUES (:root_id, :id, :type, :name, :created_at)"
)
_FIND_PRODUCT = text("SELECT id FROM products WHERE root_id = :root_id AND id = :id")
_ADD_SKU = text("""
    INSERT INTO skus (root_id, id, product_id, code, name, unit, contents, created_at)
    VALUES (:root_id, :id, :product_id, :code, :name, :unit, :contents, :created_at)
    ON CONFLICT (root_id, code) DO NOTHING
""")
_PRODUCTS = text("""
    SELECT root_id, id, type, name, created_at FROM products
    WHERE CAST(:after_id AS uuid) IS NULL
       OR (name, id) > (SELECT a.name, a.id FROM products AS a WHERE a.id = :after_id)
    ORDER BY name, id LIMIT :count
""")
_SKUS_OF = text("""
    SELECT id, product_id, code, name, unit, contents FROM skus
    WHERE product_id = ANY (:product_ids) ORDER BY code
""")
_SKUS = text("""
    SELECT s.id, s.product_id, s.code, s.name, s.unit, s.contents, p.name AS product_name, p.type
    FROM skus AS s JOIN products AS p ON p.root_id = s.root_id AND p.id = s.product_id
    WHERE s.id = ANY (:sku_ids)
""")


async def find_platform(connection: AsyncConnection) -> UUID | None:
    """The platform's id, or None while it is not copied yet. Needs scope EVERYTHING."""
    found: UUID | None = (await connection.execute(_PLATFORM)).scalar_one_or_none()
    return found


async def add_product(connection: AsyncConnection, product: Product) -> None:
    """Writes a new product, without SKUs."""
    row = {"root_id": product.root_id, "id": product.id, "type": product.type.value, "name": product.name}
    await connection.execute(_ADD_PRODUCT, {**row, "created_at": product.created_at})


async def product_exists(connection: AsyncConnection, root_id: UUID, product_id: UUID) -> bool:
    """True if the platform sells a product of that id."""
    found = await connection.execute(_FIND_PRODUCT, {"root_id": root_id, "id": product_id})
    return found.one_or_none() is not None


async def add_sku(connection: AsyncConnection, root_id: UUID, sku: Sku, created_at: datetime) -> bool:
    """Writes a new SKU; False where its code is taken."""
    row = {
        "root_id": root_id,
        "id": sku.id,
        "product_id": sku.product_id,
        "code": sku.code,
        "name": sku.name,
        "unit": sku.unit,
        "contents": list(sku.contents),
        "created_at": created_at,
    }
    return (await connection.execute(_ADD_SKU, row)).rowcount == 1


async def list_products(connection: AsyncConnection, after_id: UUID | None, count: int) -> list[Product]:
    """Up to `count` products with their SKUs, by name, after the one of that id."""
    rows = (await connection.execute(_PRODUCTS, {"after_id": after_id, "count": count})).all()
    skus: dict[UUID, list[Sku]] = {row.id: [] for row in rows}
    for sku in (await connection.execute(_SKUS_OF, {"product_ids": list(skus)})).all():
        skus[sku.product_id].append(_sku(sku))
    return [
        Product(row.root_id, row.id, ProductType(row.type), row.name, row.created_at, tuple(skus[row.id]))
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class SoldSku:
    """A SKU with what an order keeps of its product."""

    sku: Sku
    product_name: str
    product_type: ProductType


async def find_skus(connection: AsyncConnection, sku_ids: Sequence[UUID]) -> dict[UUID, SoldSku]:
    """Those of the SKUs that exist, by id."""
    rows = (await connection.execute(_SKUS, {"sku_ids": list(sku_ids)})).all()
    return {row.id: SoldSku(_sku(row), row.product_name, ProductType(row.type)) for row in rows}


# -- prices and taxes ---------------------------------------------------------------------------------------------

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")

_PRICES_FROM = text("""
    SELECT id, lower(validity) AS valid_from, upper(validity) AS valid_to FROM prices
    WHERE root_id = :root_id AND seller_id = :seller_id AND sku_id = :sku_id AND currency = :currency
      AND (upper(validity) IS NULL OR upper(validity) > :now)
""")
_TAXES_FROM = text("""
    SELECT id, lower(validity) AS valid_from, upper(validity) AS valid_to FROM taxes
    WHERE root_id = :root_id AND seller_id = :seller_id AND sku_id = :sku_id
      AND (upper(validity) IS NULL OR upper(validity) > :now)
""")
_CLOSE_PRICE = text("""
    UPDATE prices SET validity = tstzrange(lower(validity), :ends, '[)') WHERE root_id = :root_id AND id = :id
""")
_CLOSE_TAX = text("""
    UPDATE taxes SET validity = tstzrange(lower(validity), :ends, '[)') WHERE root_id = :root_id AND id = :id
""")
_ADD_PRICE = text("""
    INSERT INTO prices (root_id, id, seller_id, sku_id, currency, unit_price_micros, validity, created_at)
    VALUES (:root_id, :id, :seller_id, :sku_id, :currency, :unit_price_micros,
            tstzrange(:valid_from, :valid_to, '[)'), :created_at)
""")
_ADD_TAX = text("""
    INSERT INTO taxes (root_id, id, seller_id, sku_id, name, rate_ppm, validity, created_at)
    VALUES (:root_id, :id, :seller_id, :sku_id, :name, :rate_ppm,
            tstzrange(:valid_from, :valid_to, '[)'), :created_at)
""")
_PRICE_COLUMNS = """
    SELECT root_id, id, seller_id, sku_id, currency, unit_price_micros,
           lower(validity) AS valid_from, upper(validity) AS valid_to FROM prices WHERE
"""
_TAX_COLUMNS = """
    SELECT root_id, id, seller_id, sku_id, name, rate_ppm,
           lower(validity) AS valid_from, upper(validity) AS valid_to FROM taxes WHERE
"""


@dataclass(frozen=True, slots=True)
class Seller:
    """Whose prices they are, and the root they live under."""

    root_id: UUID
    id: UUID


async def price_validities(
    connection: AsyncConnection, seller: Seller, sku_id: UUID, currency: str, now: datetime
) -> list[Validity]:
    """When the seller's prices for the SKU are valid, from now on. Locks them until the transaction ends."""
    await connection.execute(_LOCK, {"key": f"price {seller.id} {sku_id} {currency}"})
    key = {
        "root_id": seller.root_id,
        "seller_id": seller.id,
        "sku_id": sku_id,
        "currency": currency,
        "now": now,
    }
    return [Validity(*row) for row in (await connection.execute(_PRICES_FROM, key)).all()]


async def tax_validities(
    connection: AsyncConnection, seller: Seller, sku_id: UUID | None, now: datetime
) -> list[Validity]:
    """When the seller's taxes for the SKU (None: its default) are valid, from now on. Locks them as well."""
    await connection.execute(_LOCK, {"key": f"tax {seller.id} {sku_id}"})
    key = {
        "root_id": seller.root_id,
        "seller_id": seller.id,
        "sku_id": sku_id or DEFAULT_SKU,
        "now": now,
    }
    return [Validity(*row) for row in (await connection.execute(_TAXES_FROM, key)).all()]


async def add_price(connection: AsyncConnection, price: Price, placement: Placement, created_at: datetime) -> None:
    """Closes the price before it and writes this one. Raises ValidityOverlap where the two would overlap."""
    if placement.closes is not None:
        closed = {"root_id": price.root_id, "id": placement.closes, "ends": placement.valid_from}
        await connection.execute(_CLOSE_PRICE, closed)
    row = {
        "root_id": price.root_id,
        "id": price.id,
        "seller_id": price.seller_id,
        "sku_id": price.sku_id,
        "currency": price.currency,
        "unit_price_micros": price.unit_price_micros,
        "valid_from": price.valid_from,
        "valid_to": price.valid_to,
        "created_at": created_at,
    }
    try:
        await connection.execute(_ADD_PRICE, row)
    except IntegrityError as error:
        raise _overlap(error, "prices_one_at_a_time") from error


async def add_tax(connection: AsyncConnection, tax: Tax, placement: Placement, created_at: datetime) -> None:
    """Closes the tax before it and writes this one. Raises ValidityOverlap where the two would overlap."""
    if placement.closes is not None:
        closed = {"root_id": tax.root_id, "id": placement.closes, "ends": placement.valid_from}
        await connection.execute(_CLOSE_TAX, closed)
    row = {
        "root_id": tax.root_id,
        "id": tax.id,
        "seller_id": tax.seller_id,
        "sku_id": tax.sku_id or DEFAULT_SKU,
        "name": tax.name,
        "rate_ppm": tax.rate_ppm,
        "valid_from": tax.valid_from,
        "valid_to": tax.valid_to,
        "created_at": created_at,
    }
    try:
        await connection.execute(_ADD_TAX, row)
    except IntegrityError as error:
        raise _overlap(error, "taxes_one_at_a_time") from error


async def list_prices(
    connection: AsyncConnection,
    scope: Scope,
    seller_id: UUID,
    *,
    valid_at: datetime | None,
    after: UUID | None,
    count: int,
) -> list[Price]:
    """Up to `count` prices of the seller in the order they were set, after the one of id `after`."""
    conditions, parameters = within(scope, "seller_id")
    conditions.append("seller_id = :seller_id")
    if valid_at is not None:
        conditions.append("validity @> CAST(:valid_at AS timestamptz)")
    if after is not None:
        conditions.append("id > :after")
    query = text(_PRICE_COLUMNS + " AND ".join(conditions) + " ORDER BY id LIMIT :count")
    parameters |= {"seller_id": seller_id, "valid_at": valid_at, "after": after, "count": count}
    rows = (await connection.execute(query, _used(query.text, parameters))).all()
    return [Price(*row) for row in rows]


async def list_taxes(
    connection: AsyncConnection, scope: Scope, seller_id: UUID, *, after: UUID | None, count: int
) -> list[Tax]:
    """Up to `count` taxes of the seller in the order they were set, after the one of id `after`."""
    conditions, parameters = within(scope, "seller_id")
    conditions.append("seller_id = :seller_id")
    if after is not None:
        conditions.append("id > :after")
    query = text(_TAX_COLUMNS + " AND ".join(conditions) + " ORDER BY id LIMIT :count")
    parameters |= {"seller_id": seller_id, "after": after, "count": count}
    rows = (await connection.execute(query, _used(query.text, parameters))).all()
    return [_tax(row) for row in rows]


# -- what a chain asks --------------------------------------------------------------------------------------------

_CHAIN_PRICES = text("""
    SELECT seller_id, sku_id, unit_price_micros FROM prices
    WHERE root_id = ANY (:root_ids) AND seller_id = ANY (:seller_ids) AND sku_id = ANY (:sku_ids)
      AND currency = :currency AND validity @> CAST(:at AS timestamptz)
""")
_CHAIN_TAXES = text("""
    SELECT seller_id, sku_id, name, rate_ppm FROM taxes
    WHERE root_id = ANY (:root_ids) AND seller_id = ANY (:seller_ids) AND sku_id = ANY (:sku_ids)
      AND validity @> CAST(:at AS timestamptz)
""")


async def price_list(connection: AsyncConnection, chain: Chain, sku_ids: Sequence[UUID], at: datetime) -> PriceList:
    """What the chain's sellers ask for the SKUs at that instant. Needs scope EVERYTHING: nobody sees its seller's."""
    key: dict[str, object] = {
        "root_ids": list(chain.root_ids),
        "seller_ids": list(chain.seller_ids),
        "currency": chain.currency,
        "at": at,
    }
    prices = await connection.execute(_CHAIN_PRICES, {**key, "sku_ids": list(sku_ids)})
    taxes = await connection.execute(_CHAIN_TAXES, {**key, "sku_ids": [*sku_ids, DEFAULT_SKU]})
    return PriceList(
        {(row.seller_id, row.sku_id): row.unit_price_micros for row in prices},
        {
            (row.seller_id, None if row.sku_id == DEFAULT_SKU else row.sku_id): TaxRate(row.name, row.rate_ppm)
            for row in taxes
        },
    )


_OFFERS = text("""
    SELECT s.id, s.product_id, s.code, s.name, s.unit, s.contents,
           p.root_id, p.name AS product_name, p.type, p.created_at, own.unit_price_micros
    FROM prices AS own
    JOIN skus AS s ON s.id = own.sku_id
    JOIN products AS p ON p.root_id = s.root_id AND p.id = s.product_id
    WHERE own.root_id = ANY (:root_ids) AND own.seller_id = :seller_id AND own.currency = :currency
      AND own.validity @> CAST(:at AS timestamptz)
      AND (CAST(:after_id AS uuid) IS NULL OR (p.name, s.code, s.id) > (
           SELECT q.name, t.code, t.id FROM skus AS t
           JOIN products AS q ON q.root_id = t.root_id AND q.id = t.product_id WHERE t.id = :after_id))
      AND (SELECT count(*) FROM prices AS every
           WHERE every.root_id = ANY (:root_ids) AND every.seller_id = ANY (:seller_ids)
             AND every.sku_id = own.sku_id AND every.currency = :currency
             AND every.validity @> CAST(:at AS timestamptz)) = cardinality(CAST(:seller_ids AS uuid[]))
    ORDER BY p.name, s.code, s.id LIMIT :count
""")


async def list_offers(
    connection: AsyncConnection, chain: Chain, at: datetime, after_id: UUID | None, count: int
) -> list[Offer]:
    """SKUs that every seller of the chain has a price for, by product name, with the buyer's own price and tax.

    After that of the SKU `after_id`. Needs scope EVERYTHING.
    """
    seller_id = chain.seller_ids[0]
    key = {
        "root_ids": list(chain.root_ids),
        "seller_ids": list(chain.seller_ids),
        "seller_id": seller_id,
        "currency": chain.currency,
        "at": at,
    }
    rows = (await connection.execute(_OFFERS, {**key, "after_id": after_id, "count": count})).all()
    prices = await price_list(connection, chain, [row.id for row in rows], at)
    offers = []
    for row in rows:
        tax = prices.tax(seller_id, row.id)
        product = Product(row.root_id, row.product_id, ProductType(row.type), row.product_name, row.created_at)
        offers.append(Offer(product, _sku(row), chain.currency, row.unit_price_micros, tax.name, tax.rate_ppm))
    return offers


# The row's shape is the query's above; SQLAlchemy cannot know it.
def _sku(row: Row[tuple[object, ...]]) -> Sku:
    found = row._mapping
    return Sku(found["id"], found["product_id"], found["code"], found["name"], found["unit"], tuple(found["contents"]))


def _tax(row: Row[tuple[object, ...]]) -> Tax:
    found = dict(row._mapping)
    found["sku_id"] = None if found["sku_id"] == DEFAULT_SKU else found["sku_id"]
    return Tax(**found)


def _overlap(error: IntegrityError, constraint: str) -> Exception:
    if constraint in str(error.orig):
        return ValidityOverlap("another one was set for the same time in this very moment; look, then repeat")
    return error


def _used(query: str, parameters: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if f":{name}" in query}

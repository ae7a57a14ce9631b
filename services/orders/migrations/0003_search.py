"""What finding orders is served by: classes, names and the indexes of every way to list."""

import sqlalchemy as sa
from alembic import op
from orders.domain.catalogue import ProductType
from orders.domain.search import product_name
from servicekit import schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = (
    # By bytes, so that what begins alike lies together whatever the database's collation.
    'ALTER TABLE orders ALTER COLUMN number TYPE text COLLATE "C"',
    """
    ALTER TABLE orders
        -- See orders.domain.search.product_name.
        ADD COLUMN name_ids bigint[] NOT NULL DEFAULT '{}',
        -- Type, state and payment method in one: orders of any of them are found, sorted, without reading others. See
        -- orders.domain.search.order_classes.
        ADD COLUMN class smallint NOT NULL GENERATED ALWAYS AS (
            100 * array_position(ARRAY['PROXY', 'PACKAGE', 'CLOUD_PHONE'], type)
            + 10 * array_position(ARRAY['PENDING_PAYMENT', 'COMPLETED', 'CANCELED', 'PARTLY_REFUNDED', 'REFUNDED',
                                        'RUNNING'], state)
            + array_position(ARRAY['BALANCE', 'BANK_TRANSFER', 'PROVIDER', 'SANDBOX'], payment_method)
        ) STORED
    """,
)

_NAMES = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    """
    -- A dictionary: every name that orders of the root were placed under. Folded for comparison; without a limit of
    -- length, hence ids made from hashes.
    CREATE TABLE product_names (
        root_id uuid NOT NULL,
        id bigint NOT NULL,
        type text NOT NULL,
        folded text NOT NULL,
        PRIMARY KEY (root_id, id)
    )
    """,
    "CREATE INDEX product_names_parts ON product_names USING gin (folded gin_trgm_ops)",
    """
    -- Which orders have a line of that name. Never changes: what does is in orders.
    CREATE TABLE order_names (
        root_id uuid NOT NULL,
        name_id bigint NOT NULL,
        created_at timestamptz NOT NULL,
        order_id uuid NOT NULL,
        organization_id uuid NOT NULL,
        PRIMARY KEY (root_id, name_id, created_at, order_id),
        FOREIGN KEY (root_id, order_id) REFERENCES orders
    )
    """,
    "CREATE INDEX order_names_everywhere ON order_names (name_id, created_at, order_id)",
)

# The platform and our services ask without a root: theirs end in _everywhere. orders_newest, _newest_of and
# _newest_everywhere are there already.
_INDEXES = (
    "CREATE INDEX orders_class_newest ON orders (root_id, class, created_at, id)",
    "CREATE INDEX orders_class_largest ON orders (root_id, class, total_micros, id)",
    "CREATE INDEX orders_class_newest_everywhere ON orders (class, created_at, id)",
    "CREATE INDEX orders_class_largest_everywhere ON orders (class, total_micros, id)",
    "CREATE INDEX orders_largest ON orders (root_id, total_micros, id)",
    "CREATE INDEX orders_largest_everywhere ON orders (total_micros, id)",
    "CREATE INDEX orders_largest_of ON orders (root_id, organization_id, total_micros, id)",
    "CREATE INDEX orders_seller_newest ON orders (root_id, seller_id, created_at, id)",
    "CREATE INDEX orders_seller_largest ON orders (root_id, seller_id, total_micros, id)",
    "CREATE INDEX orders_phone ON orders (cloud_phone_id) WHERE cloud_phone_id IS NOT NULL",
    # A btree of names of 10,000 characters cannot be; the catalogue is small enough to be sorted.
    "DROP INDEX products_name",
)

_FOUND_NAMES = "SELECT DISTINCT o.root_id, o.type, i.product_name FROM order_items i JOIN orders o" + (
    " ON o.root_id = i.root_id AND o.id = i.order_id"
)
_ADD_NAME = "INSERT INTO product_names VALUES (:root_id, :id, :type, :folded) ON CONFLICT DO NOTHING"
_ADD_ORDERS = """
    INSERT INTO order_names (root_id, name_id, created_at, order_id, organization_id)
    SELECT DISTINCT o.root_id, CAST(:id AS bigint), o.created_at, o.id, o.organization_id
    FROM order_items i JOIN orders o ON o.root_id = i.root_id AND o.id = i.order_id
    WHERE o.root_id = :root_id AND o.type = :type AND i.product_name = :name
    ON CONFLICT DO NOTHING
"""
_SET_IDS = """
    UPDATE orders o SET name_ids = n.ids
    FROM (SELECT root_id, order_id, array_agg(name_id ORDER BY name_id) AS ids FROM order_names GROUP BY 1, 2) n
    WHERE n.root_id = o.root_id AND n.order_id = o.id
"""


def upgrade() -> None:
    # The owner is bound by row-level security, too, and the names of all tenants are read here.
    op.execute("SELECT set_config('farthing.scope', 'all', true)")
    for statement in (*_COLUMNS, *_NAMES):
        op.execute(statement)
    _fill()
    for statement in _INDEXES:
        op.execute(statement)
    # A name in the dictionary is a tenant's: what its tree buys.
    schema.row_security("product_names", "EXISTS (SELECT FROM organizations o WHERE o.id = product_names.root_id)")
    schema.append_only("product_names")
    schema.tenant_table("order_names")
    schema.append_only("order_names")
    op.execute("SELECT set_config('farthing.scope', '', true)")


def _fill() -> None:
    """Names of the orders that are there already; folded as the service does it."""
    connection = op.get_bind()
    for root_id, type_, name in connection.execute(sa.text(_FOUND_NAMES)).all():
        entry = product_name(ProductType(type_), name)
        row = {"root_id": root_id, "id": entry.id, "type": type_, "folded": entry.folded, "name": name}
        connection.execute(sa.text(_ADD_NAME), row)
        connection.execute(sa.text(_ADD_ORDERS), row)
    connection.execute(sa.text(_SET_IDS))

"""What finding orders is served by: classes, names, and a narrow table with an index for every way to list."""

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
    """
    -- A dictionary: every name that orders of the root were placed under. Folded for comparison; without a limit of
    -- length, hence ids made from hashes. Searched for a part it is read whole: under row-level security no index on
    -- parts would be used, since LIKE may tell what it compared.
    CREATE TABLE product_names (
        root_id uuid NOT NULL,
        id bigint NOT NULL CHECK (id <> 0),
        type text NOT NULL,
        folded text NOT NULL,
        PRIMARY KEY (root_id, id)
    )
    """,
    """
    -- Names that stand in one order, each way round. Two that never met are known not to before any order is read.
    CREATE TABLE product_name_pairs (
        root_id uuid NOT NULL,
        first_id bigint NOT NULL,
        second_id bigint NOT NULL,
        PRIMARY KEY (root_id, first_id, second_id)
    )
    """,
    "CREATE INDEX product_name_pairs_everywhere ON product_name_pairs (first_id, second_id)",
)

_SEARCH = (
    """
    -- What lists are walked along: a row an order, its name 0, and one for each name of its lines. It repeats what
    -- stands in orders and order_items, narrow and in every order that is asked for.
    CREATE TABLE order_search (
        root_id uuid NOT NULL,
        order_id uuid NOT NULL,
        name_id bigint NOT NULL,
        class smallint NOT NULL,
        created_at timestamptz NOT NULL,
        total_micros bigint NOT NULL,
        organization_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        PRIMARY KEY (root_id, order_id, name_id),
        FOREIGN KEY (root_id, order_id) REFERENCES orders
    )
    """,
    # Most rows never change: what is read from an index alone must be known to be visible soon after it was written.
    "ALTER TABLE order_search SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_scale_factor = 0.02)",
    """
    CREATE FUNCTION follow_order() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      UPDATE order_search SET class = NEW.class, total_micros = NEW.total_micros
      WHERE root_id = NEW.root_id AND order_id = NEW.id;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'order % of root % is not in order_search, or not to be seen', NEW.id, NEW.root_id;
      END IF;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER follow_order AFTER UPDATE ON orders FOR EACH ROW
    WHEN ((OLD.class, OLD.total_micros) IS DISTINCT FROM (NEW.class, NEW.total_micros))
    EXECUTE FUNCTION follow_order()
    """,
)

# The platform and our services ask without a root: theirs end in _everywhere. INCLUDE is what is checked on the way,
# so that rows that are passed over are not read.
_INDEXES = (
    "newest ON order_search (root_id, name_id, created_at, order_id) INCLUDE (class, organization_id)",
    "largest ON order_search (root_id, name_id, total_micros, order_id) INCLUDE (class, created_at, organization_id)",
    "newest_everywhere ON order_search (name_id, created_at, order_id) INCLUDE (class, root_id)",
    "largest_everywhere ON order_search (name_id, total_micros, order_id) INCLUDE (class, created_at, root_id)",
    "class_newest ON order_search (root_id, class, created_at, order_id) INCLUDE (organization_id) WHERE name_id = 0",
    """class_largest ON order_search (root_id, class, total_micros, order_id) INCLUDE (created_at, organization_id)
    WHERE name_id = 0""",
    "class_newest_everywhere ON order_search (class, created_at, order_id) INCLUDE (root_id) WHERE name_id = 0",
    """class_largest_everywhere ON order_search (class, total_micros, order_id) INCLUDE (created_at, root_id)
    WHERE name_id = 0""",
    "newest_of ON order_search (root_id, organization_id, created_at, order_id) INCLUDE (class) WHERE name_id = 0",
    """largest_of ON order_search (root_id, organization_id, total_micros, order_id) INCLUDE (class, created_at)
    WHERE name_id = 0""",
    "seller_newest ON order_search (root_id, seller_id, created_at, order_id) WHERE name_id = 0",
    "seller_largest ON order_search (root_id, seller_id, total_micros, order_id) WHERE name_id = 0",
)
_OTHER_INDEXES = (
    "CREATE INDEX orders_phone ON orders (cloud_phone_id) WHERE cloud_phone_id IS NOT NULL",
    "DROP INDEX orders_newest, orders_newest_of, orders_newest_everywhere",
    # A btree of names of 10,000 characters cannot be; the catalogue is small enough to be sorted.
    "DROP INDEX products_name",
)

_FOUND_NAMES = "SELECT DISTINCT o.root_id, o.type, i.product_name FROM order_items i JOIN orders o" + (
    " ON o.root_id = i.root_id AND o.id = i.order_id"
)
_ADD_NAME = "INSERT INTO product_names VALUES (:root_id, :id, :type, :folded) ON CONFLICT DO NOTHING"
_ADD_ROWS = """
    INSERT INTO order_search
    SELECT DISTINCT o.root_id, o.id, CAST(:id AS bigint), o.class, o.created_at, o.total_micros, o.organization_id,
           o.seller_id
    FROM order_items i JOIN orders o ON o.root_id = i.root_id AND o.id = i.order_id
    WHERE o.root_id = :root_id AND o.type = :type AND i.product_name = :name
    ON CONFLICT DO NOTHING
"""
_ADD_PAIRS = """
    INSERT INTO product_name_pairs
    SELECT DISTINCT a.root_id, a.name_id, b.name_id FROM order_search a
    JOIN order_search b ON b.root_id = a.root_id AND b.order_id = a.order_id AND b.name_id <> a.name_id
    WHERE a.name_id <> 0 AND b.name_id <> 0
"""
_ADD_ORDERS = """
    INSERT INTO order_search
    SELECT root_id, id, 0, class, created_at, total_micros, organization_id, seller_id FROM orders
"""


def upgrade() -> None:
    # The owner is bound by row-level security, too, and the names of all tenants are read here.
    op.execute("SELECT set_config('farthing.scope', 'all', true)")
    for statement in (*_COLUMNS, *_NAMES, *_SEARCH):
        op.execute(statement)
    _fill()
    for index in _INDEXES:
        op.execute(f"CREATE INDEX order_search_{index}")
    for statement in _OTHER_INDEXES:
        op.execute(statement)
    # A name in the dictionary is a tenant's: what its tree buys.
    for table in ("product_names", "product_name_pairs"):
        schema.row_security(table, f"EXISTS (SELECT FROM organizations o WHERE o.id = {table}.root_id)")
        schema.append_only(table)
    # Nothing of it is read in a tenant's scope; what is found is read again in orders. A condition on its columns
    # would have to be asked of every row that is passed over.
    schema.row_security("order_search", "false")
    schema.grant("order_search", "SELECT, INSERT, UPDATE (class, total_micros)")
    op.execute("SELECT set_config('farthing.scope', '', true)")


def _fill() -> None:
    """What the orders that are there already are found by; names are folded as the service does it."""
    connection = op.get_bind()
    connection.execute(sa.text(_ADD_ORDERS))
    for root_id, type_, name in connection.execute(sa.text(_FOUND_NAMES)).all():
        entry = product_name(ProductType(type_), name)
        row = {"root_id": root_id, "id": entry.id, "type": type_, "folded": entry.folded, "name": name}
        connection.execute(sa.text(_ADD_NAME), row)
        connection.execute(sa.text(_ADD_ROWS), row)
    connection.execute(sa.text(_ADD_PAIRS))

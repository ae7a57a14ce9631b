"""Catalogue, price lists, orders. Every key begins with root_id: the schema runs on one node or on many."""

from alembic import op
from directory.schema import create_organizations
from servicekit import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Products and SKUs are the platform's: root_id is its id, and everybody reads them.
_CATALOGUE = (
    """
    CREATE TABLE products (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        type text NOT NULL CHECK (type IN ('PROXY', 'PACKAGE')),
        name text NOT NULL CHECK (name <> ''),
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id)
    )
    """,
    "CREATE INDEX products_name ON products (name, id)",
    """
    CREATE TABLE skus (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        product_id uuid NOT NULL,
        code text NOT NULL,
        name text NOT NULL,
        unit text NOT NULL,
        contents text[] NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        UNIQUE (root_id, code),
        FOREIGN KEY (root_id, product_id) REFERENCES products
    )
    """,
    "CREATE INDEX skus_product ON skus (root_id, product_id, code)",
)

# A seller's rows live under the seller's root, the platform's own under the platform's id.
_PRICES = (
    "CREATE EXTENSION IF NOT EXISTS btree_gist",
    """
    CREATE TABLE prices (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        seller_id uuid NOT NULL,
        sku_id uuid NOT NULL,
        currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
        unit_price_micros bigint NOT NULL CHECK (unit_price_micros >= 0),
        validity tstzrange NOT NULL CHECK (NOT isempty(validity) AND lower_inc(validity) AND NOT upper_inc(validity)),
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        CONSTRAINT prices_one_at_a_time EXCLUDE USING gist
            (root_id WITH =, seller_id WITH =, sku_id WITH =, currency WITH =, validity WITH &&)
    )
    """,
    "CREATE INDEX prices_seller ON prices (root_id, seller_id, id)",
    """
    CREATE TABLE taxes (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        seller_id uuid NOT NULL,
        -- The zero UUID: the seller's default.
        sku_id uuid NOT NULL,
        name text NOT NULL CHECK (name <> ''),
        rate_ppm integer NOT NULL CHECK (rate_ppm BETWEEN 0 AND 1000000),
        validity tstzrange NOT NULL CHECK (NOT isempty(validity) AND lower_inc(validity) AND NOT upper_inc(validity)),
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        CONSTRAINT taxes_one_at_a_time EXCLUDE USING gist
            (root_id WITH =, seller_id WITH =, sku_id WITH =, validity WITH &&)
    )
    """,
    "CREATE INDEX taxes_seller ON taxes (root_id, seller_id, id)",
)

_ORDERS = (
    """
    CREATE TABLE orders (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        number text NOT NULL,
        state text NOT NULL CHECK (state IN ('PENDING_PAYMENT', 'COMPLETED', 'CANCELED')),
        type text NOT NULL CHECK (type IN ('PROXY', 'PACKAGE')),
        organization_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        payer_subject text NOT NULL,
        payer_name text NOT NULL,
        payer_email text NOT NULL,
        payment_method text NOT NULL CHECK (payment_method = 'BALANCE'),
        currency text NOT NULL,
        transaction_id uuid,
        paid_at timestamptz,
        canceled_at timestamptz,
        -- What the wallet answered; it may name a wallet that the purchaser must not hear of.
        refusal_reason text,
        refusal_message text,
        refusal_organization_id uuid,
        refusal_wallet_id uuid,
        refusal_available_micros bigint,
        refusal_needed_micros bigint,
        -- Until then somebody is asking the wallet, and nobody else may.
        charge_lease_until timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        UNIQUE (root_id, number),
        CHECK ((state = 'COMPLETED') = (transaction_id IS NOT NULL)),
        CHECK ((state = 'COMPLETED') = (paid_at IS NOT NULL)),
        CHECK ((state = 'CANCELED') = (canceled_at IS NOT NULL)),
        CHECK ((state = 'CANCELED') = (refusal_reason IS NOT NULL))
    )
    """,
    "CREATE INDEX orders_newest ON orders (root_id, created_at DESC, id DESC)",
    "CREATE INDEX orders_newest_of ON orders (root_id, organization_id, created_at DESC, id DESC)",
    """
    -- The platform and our services ask without a root.
    CREATE INDEX orders_newest_everywhere ON orders (created_at DESC, id DESC)
    """,
    "CREATE INDEX orders_id ON orders (id)",
    "CREATE INDEX orders_number ON orders (number)",
    "CREATE INDEX orders_pending ON orders (charge_lease_until) WHERE state = 'PENDING_PAYMENT'",
    """
    CREATE TABLE order_items (
        root_id uuid NOT NULL,
        order_id uuid NOT NULL,
        position integer NOT NULL CHECK (position > 0),
        organization_id uuid NOT NULL,
        product_id uuid NOT NULL,
        product_name text NOT NULL,
        sku_id uuid NOT NULL,
        sku_code text NOT NULL,
        sku_name text NOT NULL,
        unit text NOT NULL,
        contents text[] NOT NULL,
        quantity integer NOT NULL CHECK (quantity > 0),
        proxies jsonb NOT NULL,
        PRIMARY KEY (root_id, order_id, position),
        FOREIGN KEY (root_id, order_id) REFERENCES orders
    )
    """,
    """
    -- What each buyer of the chain pays its seller, line by line. A caller sees the tiers whose buyer it sees.
    CREATE TABLE order_item_tiers (
        root_id uuid NOT NULL,
        order_id uuid NOT NULL,
        tier integer NOT NULL CHECK (tier BETWEEN 1 AND 16),
        position integer NOT NULL,
        buyer_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        unit_price_micros bigint NOT NULL CHECK (unit_price_micros >= 0),
        net_micros bigint NOT NULL CHECK (net_micros >= 0),
        tax_name text NOT NULL,
        tax_rate_ppm integer NOT NULL CHECK (tax_rate_ppm BETWEEN 0 AND 1000000),
        tax_micros bigint NOT NULL CHECK (tax_micros >= 0),
        PRIMARY KEY (root_id, order_id, tier, position),
        FOREIGN KEY (root_id, order_id, position) REFERENCES order_items
    )
    """,
    """
    -- The same, one row a tier, under the reader's row security.
    CREATE VIEW order_tiers WITH (security_invoker) AS
        SELECT root_id, order_id, tier, buyer_id, seller_id,
               sum(net_micros)::bigint AS net_micros, sum(tax_micros)::bigint AS tax_micros
        FROM order_item_tiers
        GROUP BY root_id, order_id, tier, buyer_id, seller_id
    """,
)


def upgrade() -> None:
    schema.create_base()
    create_organizations()
    for statement in _CATALOGUE:
        op.execute(statement)
    schema.grant("products", "SELECT, INSERT")
    schema.grant("skus", "SELECT, INSERT")

    for statement in _PRICES:
        op.execute(statement)
    for table in ("prices", "taxes"):
        schema.tenant_table(table, organization_column="seller_id")
        # A price is closed, never changed.
        schema.grant(table, "SELECT, INSERT, UPDATE (validity)")

    for statement in _ORDERS:
        op.execute(statement)
    schema.tenant_table("orders", organization_column="organization_id")
    schema.grant("orders", "SELECT, INSERT, UPDATE")
    for table, column in (("order_items", "organization_id"), ("order_item_tiers", "buyer_id")):
        schema.tenant_table(table, organization_column=column)
        schema.append_only(table)
    schema.grant("order_tiers", "SELECT")

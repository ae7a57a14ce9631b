"""Payments from outside, refunds, cloud phones, the audit trail."""

from alembic import op
from servicekit import audit, schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TYPES = "('PROXY', 'PACKAGE', 'CLOUD_PHONE')"
# Somebody has to act on these by asking wallet. The query that looks for them says it in the same words.
_WAITING = """
    (state = 'PENDING_PAYMENT'
     AND (payment_method = 'BALANCE' OR top_up_id IS NULL OR payment_received_at IS NOT NULL))
    OR (state = 'CANCELED' AND payment_received_at IS NOT NULL AND payment_kept_at IS NULL)
    OR (state = 'CANCELED' AND payment_due_at IS NOT NULL AND refusal_reason IS NULL
        AND payment_received_at IS NULL AND top_up_ended_at IS NULL)
"""

_ORDERS = (
    "ALTER TABLE products DROP CONSTRAINT products_type_check",
    f"ALTER TABLE products ADD CONSTRAINT products_type_check CHECK (type IN {_TYPES})",
    """
    ALTER TABLE orders
        DROP CONSTRAINT orders_state_check,
        DROP CONSTRAINT orders_type_check,
        DROP CONSTRAINT orders_payment_method_check,
        DROP CONSTRAINT orders_check,
        DROP CONSTRAINT orders_check1,
        DROP CONSTRAINT orders_check2,
        DROP CONSTRAINT orders_check3
    """,
    """
    ALTER TABLE orders
        -- What the purchaser pays, tax included: the sum of its tier's lines, or of its fees so far.
        ADD COLUMN total_micros bigint NOT NULL DEFAULT 0,
        -- Of it, given back by refunds that are posted.
        ADD COLUMN refunded_micros bigint NOT NULL DEFAULT 0,
        -- Of a payment from outside: the top-up that wallet has made for it, and the hold of what arrived.
        ADD COLUMN payment_token text NOT NULL DEFAULT '',
        ADD COLUMN payment_due_at timestamptz,
        ADD COLUMN top_up_id uuid,
        ADD COLUMN checkout_url text NOT NULL DEFAULT '',
        ADD COLUMN payment_received_at timestamptz,
        ADD COLUMN received_micros bigint,
        ADD COLUMN hold_id uuid,
        -- When it was told that the money stays on the balance.
        ADD COLUMN payment_kept_at timestamptz,
        -- When wallet was told that nobody is to pay any more, of an order called off or not paid in time.
        ADD COLUMN top_up_ended_at timestamptz,
        -- Why it was canceled, where wallet did not refuse the charge: by whom, in whose words, and the number of
        -- farthing.wallet.v1.TopUpFailure.
        ADD COLUMN cancel_cause text,
        ADD COLUMN canceled_by text NOT NULL DEFAULT '',
        ADD COLUMN cancel_note text NOT NULL DEFAULT '',
        ADD COLUMN cancel_failure smallint NOT NULL DEFAULT 0,
        ADD COLUMN cloud_phone_id text,
        ADD COLUMN cloud_phone_name text,
        ADD COLUMN powered_up_at timestamptz,
        ADD COLUMN powered_down_at timestamptz,
        ADD COLUMN fee_count integer NOT NULL DEFAULT 0
    """,
    """
    UPDATE orders o SET total_micros = coalesce((
        SELECT sum(t.net_micros + t.tax_micros) FROM order_item_tiers t
        WHERE t.root_id = o.root_id AND t.order_id = o.id AND t.tier = 1), 0)
    """,
    f"""
    ALTER TABLE orders
        ADD CONSTRAINT orders_state_check CHECK (state IN ('PENDING_PAYMENT', 'COMPLETED', 'CANCELED',
                                                           'PARTLY_REFUNDED', 'REFUNDED', 'RUNNING')),
        ADD CONSTRAINT orders_type_check CHECK (type IN {_TYPES}),
        ADD CONSTRAINT orders_payment_method_check
            CHECK (payment_method IN ('BALANCE', 'BANK_TRANSFER', 'PROVIDER', 'SANDBOX')),
        ADD CONSTRAINT orders_charge_check
            CHECK ((state IN ('COMPLETED', 'PARTLY_REFUNDED', 'REFUNDED') AND type <> 'CLOUD_PHONE')
                   = (transaction_id IS NOT NULL)),
        ADD CONSTRAINT orders_paid_check
            CHECK ((state IN ('COMPLETED', 'PARTLY_REFUNDED', 'REFUNDED')) = (paid_at IS NOT NULL)),
        ADD CONSTRAINT orders_canceled_check CHECK ((state = 'CANCELED') = (canceled_at IS NOT NULL)),
        ADD CONSTRAINT orders_reason_check
            CHECK ((state = 'CANCELED') = (refusal_reason IS NOT NULL OR cancel_cause IS NOT NULL)),
        ADD CONSTRAINT orders_cause_check CHECK (cancel_cause IN ('PURCHASER', 'SELLER', 'SERVICE', 'NOT_PAID',
                                                                  'PAYMENT_FAILED', 'PAYMENT_NOT_OFFERED')),
        ADD CONSTRAINT orders_refunded_check CHECK (
            refunded_micros BETWEEN 0 AND total_micros AND (refunded_micros > 0) = (state IN ('PARTLY_REFUNDED', 'REFUNDED'))
            AND (state <> 'REFUNDED' OR refunded_micros = total_micros)),
        ADD CONSTRAINT orders_outside_check CHECK ((payment_method = 'BALANCE') = (payment_due_at IS NULL)),
        ADD CONSTRAINT orders_received_check CHECK (
            (payment_received_at IS NULL) = (received_micros IS NULL)
            AND (payment_received_at IS NULL OR payment_due_at IS NOT NULL)
            AND (payment_kept_at IS NULL OR payment_received_at IS NOT NULL)),
        ADD CONSTRAINT orders_phone_check CHECK (
            (type = 'CLOUD_PHONE') = (cloud_phone_id IS NOT NULL)
            AND (type = 'CLOUD_PHONE') = (cloud_phone_name IS NOT NULL)
            AND (type = 'CLOUD_PHONE') = (powered_up_at IS NOT NULL)
            AND (type = 'CLOUD_PHONE' OR (fee_count = 0 AND powered_down_at IS NULL))),
        ADD CONSTRAINT orders_running_check CHECK (
            (type = 'CLOUD_PHONE' AND powered_down_at IS NULL) = (state = 'RUNNING'))
    """,
    "DROP INDEX orders_pending",
    f"CREATE INDEX orders_waiting ON orders (charge_lease_until) WHERE {_WAITING}",
    """
    CREATE INDEX orders_due ON orders (payment_due_at)
        WHERE state = 'PENDING_PAYMENT' AND payment_due_at IS NOT NULL AND payment_received_at IS NULL
    """,
)

_REFUNDS = (
    """
    CREATE TABLE refunds (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        order_id uuid NOT NULL,
        -- The purchaser's.
        organization_id uuid NOT NULL,
        state text NOT NULL CHECK (state IN ('PENDING', 'POSTED', 'REFUSED')),
        reason text NOT NULL,
        created_by_name text NOT NULL,
        transaction_id uuid,
        posted_at timestamptz,
        -- What wallet answered: a name of farthing.errors.v1.ErrorReason, without its prefix.
        refusal_reason text,
        -- Until then somebody is asking the wallet, and nobody else may.
        lease_until timestamptz NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        FOREIGN KEY (root_id, order_id) REFERENCES orders,
        CHECK ((state = 'POSTED') = (transaction_id IS NOT NULL)),
        CHECK ((state = 'POSTED') = (posted_at IS NOT NULL)),
        CHECK ((state = 'REFUSED') = (refusal_reason IS NOT NULL))
    )
    """,
    "CREATE INDEX refunds_newest ON refunds (root_id, order_id, created_at DESC, id DESC)",
    # One at a time: so what is left to give back is known.
    "CREATE UNIQUE INDEX refunds_one_pending ON refunds (root_id, order_id) WHERE state = 'PENDING'",
    "CREATE INDEX refunds_pending ON refunds (lease_until) WHERE state = 'PENDING'",
    """
    -- What each buyer of the chain gets back, line by line.
    CREATE TABLE refund_line_tiers (
        root_id uuid NOT NULL,
        refund_id uuid NOT NULL,
        order_id uuid NOT NULL,
        tier integer NOT NULL CHECK (tier BETWEEN 1 AND 16),
        position integer NOT NULL,
        -- Zero where an amount was named.
        quantity integer NOT NULL CHECK (quantity >= 0),
        buyer_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        net_micros bigint NOT NULL CHECK (net_micros >= 0),
        tax_micros bigint NOT NULL CHECK (tax_micros >= 0),
        PRIMARY KEY (root_id, refund_id, tier, position),
        FOREIGN KEY (root_id, refund_id) REFERENCES refunds,
        FOREIGN KEY (root_id, order_id, tier, position) REFERENCES order_item_tiers
    )
    """,
    "CREATE INDEX refund_line_tiers_order ON refund_line_tiers (root_id, order_id)",
    """
    -- What refunds that are posted have given back, one row a line and tier, under the reader's row security.
    CREATE VIEW refunded_lines WITH (security_invoker) AS
        SELECT l.root_id, l.order_id, l.tier, l.position, l.buyer_id, l.seller_id,
               sum(l.net_micros)::bigint AS net_micros, sum(l.tax_micros)::bigint AS tax_micros,
               sum(l.quantity)::integer AS quantity
        FROM refund_line_tiers l
        JOIN refunds r ON r.root_id = l.root_id AND r.id = l.refund_id AND r.state = 'POSTED'
        GROUP BY l.root_id, l.order_id, l.tier, l.position, l.buyer_id, l.seller_id
    """,
)

_PHONES = (
    """
    CREATE TABLE order_fees (
        root_id uuid NOT NULL,
        id uuid NOT NULL,
        order_id uuid NOT NULL,
        organization_id uuid NOT NULL,
        period_from timestamptz NOT NULL,
        period_to timestamptz NOT NULL CHECK (period_to >= period_from),
        transaction_id uuid NOT NULL,
        charged_at timestamptz NOT NULL,
        PRIMARY KEY (root_id, id),
        FOREIGN KEY (root_id, order_id) REFERENCES orders
    )
    """,
    "CREATE INDEX order_fees_oldest ON order_fees (root_id, order_id, period_from, id)",
    """
    CREATE TABLE order_fee_tiers (
        root_id uuid NOT NULL,
        fee_id uuid NOT NULL,
        order_id uuid NOT NULL,
        tier integer NOT NULL CHECK (tier BETWEEN 1 AND 16),
        buyer_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        net_micros bigint NOT NULL CHECK (net_micros >= 0),
        tax_micros bigint NOT NULL CHECK (tax_micros >= 0),
        PRIMARY KEY (root_id, fee_id, tier),
        FOREIGN KEY (root_id, fee_id) REFERENCES order_fees
    )
    """,
    "CREATE INDEX order_fee_tiers_order ON order_fee_tiers (root_id, order_id)",
    """
    -- Lines and fees, one row a tier, under the reader's row security. An order has the one or the other.
    CREATE OR REPLACE VIEW order_tiers WITH (security_invoker) AS
        SELECT root_id, order_id, tier, buyer_id, seller_id,
               sum(net_micros)::bigint AS net_micros, sum(tax_micros)::bigint AS tax_micros
        FROM order_item_tiers
        GROUP BY root_id, order_id, tier, buyer_id, seller_id
        UNION ALL
        SELECT root_id, order_id, tier, buyer_id, seller_id,
               sum(net_micros)::bigint AS net_micros, sum(tax_micros)::bigint AS tax_micros
        FROM order_fee_tiers
        GROUP BY root_id, order_id, tier, buyer_id, seller_id
    """,
)


def upgrade() -> None:
    # The owner is bound by row-level security, too, and the totals of all tenants are summed here.
    op.execute("SELECT set_config('farthing.scope', 'all', true)")
    for statement in (*_ORDERS, *_REFUNDS, *_PHONES):
        op.execute(statement)
    schema.tenant_table("refunds")
    schema.grant("refunds", "SELECT, INSERT, UPDATE (state, transaction_id, posted_at, refusal_reason, lease_until)")
    schema.tenant_table("refund_line_tiers", organization_column="buyer_id")
    schema.append_only("refund_line_tiers")
    schema.tenant_table("order_fees")
    schema.append_only("order_fees")
    schema.tenant_table("order_fee_tiers", organization_column="buyer_id")
    schema.append_only("order_fee_tiers")
    schema.grant("refunded_lines", "SELECT")
    audit.create_table()
    op.execute("SELECT set_config('farthing.scope', '', true)")

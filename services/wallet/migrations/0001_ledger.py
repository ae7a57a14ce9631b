"""Organizations, wallets, the double-entry ledger and top-ups; every key begins with root_id.

A line is one movement of one wallet together with the legs that balance it, so a line sums to zero by itself and
the double-entry postings are a view. `transactions` is at the same time the memory of PostCharge's request ids.
"""

from alembic import op
from directory.schema import create_organizations
from servicekit.schema import append_only, create_base, grant, row_security, tenant_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_base()
    create_organizations()
    _wallets()
    _transactions()
    _lines()
    _postings()
    _top_ups()
    _batch_types()


def _wallets() -> None:
    op.execute(
        """
        CREATE TABLE wallets (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            organization_id uuid NOT NULL,
            seller_id uuid NOT NULL,
            credit_limit_micros bigint NOT NULL DEFAULT 0 CHECK (credit_limit_micros >= 0),
            balance_micros bigint NOT NULL DEFAULT 0,
            reserved_micros bigint NOT NULL DEFAULT 0 CHECK (reserved_micros >= 0),
            sequence bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
            last_posted_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            -- farthing.wallet.v1.Earnings of the owner: 1 REVENUE, 2 WALLET
            earnings smallint NOT NULL DEFAULT 1 CHECK (earnings IN (1, 2)),
            -- 1 current, 2 closed: of an organization that moved to another seller
            state smallint NOT NULL DEFAULT 1 CHECK (state IN (1, 2)),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            last_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(last_hash) = 32),
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, organization_id) REFERENCES organizations (root_id, id),
            CONSTRAINT wallets_within_limit CHECK (balance_micros - reserved_micros >= - credit_limit_micros),
            CONSTRAINT wallets_closed_empty CHECK (state = 1 OR (balance_micros = 0 AND reserved_micros = 0))
        )
        -- Every posting updates its wallets: room on the page keeps those updates out of the indexes.
        WITH (fillfactor = 50)
        """
    )
    op.execute("CREATE UNIQUE INDEX wallets_current ON wallets (root_id, organization_id, currency) WHERE state = 1")
    op.execute("CREATE INDEX wallets_id ON wallets (id)")
    op.execute("CREATE INDEX wallets_organization ON wallets (organization_id)")
    op.execute("CREATE INDEX wallets_seller ON wallets (seller_id)")
    grant("wallets", "SELECT, INSERT, UPDATE")
    # The seller too: what was held with it stays in its books when a buyer moves to another seller.
    row_security("wallets", "sees(organization_id) OR sees(seller_id)")


def _transactions() -> None:
    op.execute(
        """
        CREATE TABLE transactions (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            -- The purchaser, or who topped up.
            organization_id uuid NOT NULL,
            order_id uuid,
            posted_at timestamptz NOT NULL,
            -- farthing.wallet.v1.EntryType
            type smallint NOT NULL CHECK (type BETWEEN 1 AND 4),
            currency text NOT NULL,
            order_number text NOT NULL,
            item text NOT NULL,
            -- Who asked and the request id it gave, as `orders:6f1d..`
            request_key text NOT NULL,
            request_sha256 bytea NOT NULL CHECK (octet_length(request_sha256) = 32),
            PRIMARY KEY (root_id, id),
            CONSTRAINT transactions_request UNIQUE (root_id, request_key)
        )
        """
    )
    append_only("transactions")


def _lines() -> None:
    # No foreign keys here: they would cost two look-ups for each of the three lines of a purchase. One statement
    # writes a transaction with its lines, nothing can delete either, and `farthing verify` compares them.
    op.execute(
        """
        CREATE TABLE lines (
            root_id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            transaction_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            seller_id uuid NOT NULL,
            sequence bigint NOT NULL CHECK (sequence > 0),
            amount_micros bigint NOT NULL,
            revenue_micros bigint NOT NULL,
            tax_micros bigint NOT NULL,
            cash_micros bigint NOT NULL,
            clearing_micros bigint NOT NULL,
            balance_after_micros bigint NOT NULL,
            credit_limit_micros bigint NOT NULL,
            posted_at timestamptz NOT NULL,
            tier smallint NOT NULL CHECK (tier BETWEEN 0 AND 16),
            type smallint NOT NULL,
            hash bytea NOT NULL CHECK (octet_length(hash) = 32),
            PRIMARY KEY (root_id, wallet_id, sequence),
            CONSTRAINT lines_balanced
                CHECK (amount_micros + revenue_micros + tax_micros + cash_micros + clearing_micros = 0),
            CONSTRAINT lines_within_limit CHECK (balance_after_micros >= - credit_limit_micros),
            CONSTRAINT lines_legs CHECK (CASE type
                WHEN 1 THEN tier = 0 AND amount_micros > 0 AND cash_micros = - amount_micros
                    AND revenue_micros = 0 AND tax_micros = 0 AND clearing_micros = 0
                WHEN 2 THEN tier > 0 AND cash_micros = 0 AND tax_micros >= 0
                    AND revenue_micros >= 0 AND clearing_micros >= 0
                    AND (revenue_micros = 0 OR clearing_micros = 0)
                WHEN 3 THEN tier > 0 AND amount_micros > 0 AND clearing_micros = - amount_micros
                    AND revenue_micros = 0 AND tax_micros = 0 AND cash_micros = 0
                WHEN 4 THEN tier = 0
                ELSE false END)
        )
        """
    )
    op.execute("CREATE INDEX lines_transaction ON lines (transaction_id)")
    append_only("lines")
    row_security("lines", "sees(organization_id) OR sees(seller_id)")
    row_security(
        "transactions",
        "EXISTS (SELECT FROM lines l WHERE l.root_id = transactions.root_id AND l.transaction_id = transactions.id)",
    )


def _postings() -> None:
    op.execute(
        """
        CREATE VIEW postings WITH (security_invoker = true) AS
        SELECT l.root_id, l.transaction_id, l.tier, leg.account, leg.organization_id, leg.wallet_id,
               leg.amount_micros, l.posted_at
        FROM lines l CROSS JOIN LATERAL (VALUES
            ('WALLET', l.organization_id, l.wallet_id, l.amount_micros),
            ('REVENUE', l.seller_id, NULL, l.revenue_micros),
            ('TAX_PAYABLE', l.seller_id, NULL, l.tax_micros),
            ('CASH', l.seller_id, NULL, l.cash_micros),
            ('CLEARING', l.seller_id, NULL, l.clearing_micros)
        ) AS leg (account, organization_id, wallet_id, amount_micros)
        WHERE leg.amount_micros <> 0
        """
    )
    op.execute(
        "COMMENT ON VIEW postings IS 'The double-entry legs of every line; they sum to zero per transaction. "
        "CLEARING carries earnings from the line of the buyer to the line of the seller''s wallet.'"
    )
    grant("postings", "SELECT")


def _top_ups() -> None:
    op.execute(
        """
        CREATE TABLE top_ups (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            seller_id uuid NOT NULL,
            amount_micros bigint NOT NULL CHECK (amount_micros > 0),
            currency text NOT NULL,
            -- farthing.wallet.v1.TopUpMethod
            method smallint NOT NULL CHECK (method IN (1, 2)),
            -- farthing.wallet.v1.TopUp.State: 1 pending, 2 settled, 3 failed
            state smallint NOT NULL CHECK (state IN (1, 2, 3)),
            reference text NOT NULL DEFAULT '',
            failure_reason text NOT NULL DEFAULT '',
            created_by_name text NOT NULL,
            created_by_email text NOT NULL,
            transaction_id uuid,
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            settled_at timestamptz,
            -- What the payment provider was given; not a secret of a card, but its name for one.
            payment_token text NOT NULL DEFAULT '',
            -- The payment provider could not say at once what became of it.
            deferred boolean NOT NULL DEFAULT false,
            -- When a payment through a provider is looked after again, while it is pending.
            due_at timestamptz,
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id),
            FOREIGN KEY (root_id, transaction_id) REFERENCES transactions (root_id, id),
            CONSTRAINT top_ups_settled CHECK
                ((state = 2) = (transaction_id IS NOT NULL) AND (state = 2) = (settled_at IS NOT NULL))
        )
        """
    )
    op.execute("CREATE INDEX top_ups_id ON top_ups (id)")
    op.execute("CREATE INDEX top_ups_wallet ON top_ups (root_id, wallet_id, id)")
    op.execute("CREATE INDEX top_ups_due ON top_ups (due_at) WHERE state = 1 AND due_at IS NOT NULL")
    op.execute(
        "CREATE UNIQUE INDEX top_ups_bank_reference ON top_ups (root_id, seller_id, reference) "
        "WHERE method = 1 AND state = 2"
    )
    # The platform is the seller in every root: its bank statement is one.
    op.execute("CREATE INDEX top_ups_seller ON top_ups (seller_id, reference) WHERE method = 1 AND state = 2")
    grant("top_ups", "SELECT, INSERT, UPDATE")
    tenant_table("top_ups", organization_column="organization_id")


def _batch_types() -> None:
    # The rows of a batch travel as one array of each of these: half the cost of an array a column. Apart from the
    # tables' own row types, so that a column added later does not disturb the services that are still running.
    op.execute("CREATE TYPE wallet_key AS (root_id uuid, organization_id uuid, currency text)")
    op.execute("CREATE TYPE request_name AS (root_id uuid, request_key text)")
    op.execute(
        """
        CREATE TYPE new_transaction AS (
            root_id uuid, id uuid, organization_id uuid, order_id uuid, posted_at timestamptz, type smallint,
            currency text, order_number text, item text, request_key text, request_sha256 bytea
        )
        """
    )
    op.execute(
        """
        CREATE TYPE new_line AS (
            root_id uuid, wallet_id uuid, transaction_id uuid, organization_id uuid, seller_id uuid, sequence bigint,
            amount_micros bigint, revenue_micros bigint, tax_micros bigint, cash_micros bigint,
            clearing_micros bigint, balance_after_micros bigint, credit_limit_micros bigint, tier smallint,
            type smallint, hash bytea
        )
        """
    )
    op.execute(
        """
        CREATE TYPE new_wallet_state AS (
            root_id uuid, id uuid, balance_micros bigint, sequence bigint, last_hash bytea
        )
        """
    )
    op.execute("CREATE TYPE new_event AS (root_id uuid, event_id uuid, key text, payload bytea, traceparent text)")

"""Kinds of transactions, credits, refunds, holds, adjustments, the audit trail.

Services of the version before go on writing while this is rolled out: what they write has kind 0 and no credits.
"""

from alembic import op
from servicekit import audit
from servicekit.schema import grant, row_security

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _kinds()
    _credits()
    _postings()
    _batch_types()
    _holds()
    _adjustments()
    audit.create_table()


def _kinds() -> None:
    op.execute(
        """
        ALTER TABLE transactions
            -- farthing.wallet.v1.TransactionKind; 0: written before there were kinds
            ADD kind smallint NOT NULL DEFAULT 0 CHECK (kind BETWEEN 0 AND 5),
            -- What a refund or an adjustment points at.
            ADD original_id uuid,
            ADD cloud_phone_id text NOT NULL DEFAULT '',
            ADD CONSTRAINT transactions_original CHECK (CASE
                WHEN kind = 3 THEN original_id IS NOT NULL
                WHEN kind = 4 THEN true
                ELSE original_id IS NULL END)
        """
    )
    # What was refunded of a purchase so far.
    op.execute(
        "CREATE INDEX transactions_original_id ON transactions (root_id, original_id) WHERE original_id IS NOT NULL"
    )


def _credits() -> None:
    op.execute("ALTER TABLE lines ADD credits_micros bigint NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE lines DROP CONSTRAINT lines_balanced, DROP CONSTRAINT lines_legs")
    op.execute(
        """
        ALTER TABLE lines
            ADD CONSTRAINT lines_balanced CHECK
                (amount_micros + revenue_micros + tax_micros + cash_micros + clearing_micros + credits_micros = 0),
            ADD CONSTRAINT lines_legs CHECK (CASE type
                -- Money from outside, or a voucher.
                WHEN 1 THEN tier = 0 AND amount_micros > 0
                    AND (cash_micros = - amount_micros OR credits_micros = - amount_micros)
                    AND (cash_micros = 0 OR credits_micros = 0)
                    AND revenue_micros = 0 AND tax_micros = 0 AND clearing_micros = 0
                -- A purchase.
                WHEN 2 THEN tier > 0 AND cash_micros = 0 AND credits_micros = 0 AND tax_micros >= 0
                    AND revenue_micros >= 0 AND clearing_micros >= 0
                    AND (revenue_micros = 0 OR clearing_micros = 0)
                -- What its seller earned by it; less than zero where it is taken back.
                WHEN 3 THEN tier > 0 AND amount_micros <> 0 AND clearing_micros = - amount_micros
                    AND revenue_micros = 0 AND tax_micros = 0 AND cash_micros = 0 AND credits_micros = 0
                -- A purchase taken back; tier 0: a correction by hand.
                WHEN 4 THEN CASE
                    WHEN tier > 0 THEN amount_micros >= 0 AND revenue_micros <= 0 AND tax_micros <= 0
                        AND clearing_micros <= 0 AND (revenue_micros = 0 OR clearing_micros = 0)
                        AND cash_micros = 0 AND credits_micros = 0
                    ELSE amount_micros <> 0 AND credits_micros = - amount_micros AND revenue_micros = 0
                        AND tax_micros = 0 AND cash_micros = 0 AND clearing_micros = 0 END
                ELSE false END)
        """
    )


def _postings() -> None:
    op.execute(
        """
        CREATE OR REPLACE VIEW postings WITH (security_invoker = true) AS
        SELECT l.root_id, l.transaction_id, l.tier, leg.account, leg.organization_id, leg.wallet_id,
               leg.amount_micros, l.posted_at
        FROM lines l CROSS JOIN LATERAL (VALUES
            ('WALLET', l.organization_id, l.wallet_id, l.amount_micros),
            ('REVENUE', l.seller_id, NULL, l.revenue_micros),
            ('TAX_PAYABLE', l.seller_id, NULL, l.tax_micros),
            ('CASH', l.seller_id, NULL, l.cash_micros),
            ('CLEARING', l.seller_id, NULL, l.clearing_micros),
            ('CREDITS', l.seller_id, NULL, l.credits_micros)
        ) AS leg (account, organization_id, wallet_id, amount_micros)
        WHERE leg.amount_micros <> 0
        """
    )


def _batch_types() -> None:
    # New names: the services of the version before use the old ones until they are gone.
    op.execute(
        """
        CREATE TYPE new_transaction_2 AS (
            root_id uuid, id uuid, organization_id uuid, order_id uuid, posted_at timestamptz, type smallint,
            currency text, order_number text, item text, request_key text, request_sha256 bytea, kind smallint,
            original_id uuid, cloud_phone_id text
        )
        """
    )
    op.execute(
        """
        CREATE TYPE new_line_2 AS (
            root_id uuid, wallet_id uuid, transaction_id uuid, organization_id uuid, seller_id uuid, sequence bigint,
            amount_micros bigint, revenue_micros bigint, tax_micros bigint, cash_micros bigint,
            clearing_micros bigint, balance_after_micros bigint, credit_limit_micros bigint, tier smallint,
            type smallint, credits_micros bigint, hash bytea
        )
        """
    )


def _holds() -> None:
    op.execute(
        """
        CREATE TABLE holds (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            -- Who it is for.
            organization_id uuid NOT NULL,
            currency text NOT NULL,
            -- farthing.wallet.v1.Hold.State: 1 active, 2 captured, 3 released, 4 expired
            state smallint NOT NULL CHECK (state BETWEEN 1 AND 4),
            item text NOT NULL,
            order_id uuid,
            order_number text NOT NULL,
            cloud_phone_id text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            ended_at timestamptz,
            PRIMARY KEY (root_id, id),
            CONSTRAINT holds_ended CHECK ((state = 1) = (ended_at IS NULL))
        )
        """
    )
    op.execute("CREATE INDEX holds_id ON holds (id)")
    op.execute("CREATE INDEX holds_due ON holds (expires_at) WHERE state = 1")
    op.execute(
        """
        CREATE TABLE hold_amounts (
            root_id uuid NOT NULL,
            hold_id uuid NOT NULL,
            -- 1 is the purchaser's.
            tier smallint NOT NULL CHECK (tier BETWEEN 1 AND 16),
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            seller_id uuid NOT NULL,
            held_micros bigint NOT NULL CHECK (held_micros > 0),
            captured_micros bigint NOT NULL DEFAULT 0,
            PRIMARY KEY (root_id, hold_id, tier),
            CONSTRAINT hold_amounts_wallet UNIQUE (root_id, wallet_id, hold_id),
            FOREIGN KEY (root_id, hold_id) REFERENCES holds (root_id, id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id),
            CONSTRAINT hold_amounts_captured CHECK (captured_micros BETWEEN 0 AND held_micros)
        )
        """
    )
    grant("holds", "SELECT, INSERT, UPDATE (state, ended_at)")
    grant("hold_amounts", "SELECT, INSERT, UPDATE (captured_micros)")
    row_security("hold_amounts", "sees(organization_id) OR sees(seller_id)")
    row_security(
        "holds", "EXISTS (SELECT FROM hold_amounts a WHERE a.root_id = holds.root_id AND a.hold_id = holds.id)"
    )


def _adjustments() -> None:
    op.execute(
        """
        CREATE TABLE adjustments (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            seller_id uuid NOT NULL,
            currency text NOT NULL,
            amount_micros bigint NOT NULL CHECK (amount_micros <> 0),
            reason text NOT NULL,
            original_id uuid,
            -- farthing.wallet.v1.Adjustment.State: 1 waits for a second person, 2 posted, 3 rejected
            state smallint NOT NULL CHECK (state IN (1, 2, 3)),
            author_subject text NOT NULL,
            author_name text NOT NULL,
            reviewer_subject text NOT NULL DEFAULT '',
            reviewer_name text NOT NULL DEFAULT '',
            review_note text NOT NULL DEFAULT '',
            transaction_id uuid,
            created_at timestamptz NOT NULL,
            ended_at timestamptz,
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id),
            FOREIGN KEY (root_id, transaction_id) REFERENCES transactions (root_id, id),
            CONSTRAINT adjustments_ended CHECK
                ((state = 2) = (transaction_id IS NOT NULL) AND (state = 1) = (ended_at IS NULL)),
            -- Both eyes: whoever looks at it is not who asked for it. A rejection may be the author's own.
            CONSTRAINT adjustments_second_person CHECK (state <> 2 OR reviewer_subject <> author_subject)
        )
        """
    )
    op.execute("CREATE INDEX adjustments_id ON adjustments (id)")
    op.execute("CREATE INDEX adjustments_wallet ON adjustments (root_id, wallet_id, id)")
    op.execute("CREATE INDEX adjustments_organization ON adjustments (organization_id, id)")
    op.execute("CREATE INDEX adjustments_seller ON adjustments (seller_id, id)")
    grant(
        "adjustments",
        "SELECT, INSERT, UPDATE (state, reviewer_subject, reviewer_name, review_note, transaction_id, ended_at)",
    )
    # As wallets: what was held with a seller stays in its books.
    row_security("adjustments", "sees(organization_id) OR sees(seller_id)")

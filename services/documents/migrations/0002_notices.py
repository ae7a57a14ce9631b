"""Notices: events that are mailed once. Their mails share the table of deliveries with those of documents."""

from alembic import op
from servicekit import schema

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NOTICES = """
CREATE TABLE notices (
    root_id uuid NOT NULL,
    id uuid NOT NULL,
    event_id uuid NOT NULL,
    -- Whom of those it concerns this is for: an event may be told to both sides.
    audience text NOT NULL CHECK (audience IN ('BUYER', 'SELLER')),
    kind text NOT NULL CHECK (kind IN ('BALANCE_LOW', 'TOP_UP_FAILED', 'ORDER_REFUNDED', 'ORDER_CANCELED',
                                       'ORDER_PAYMENT_KEPT', 'ADJUSTMENT_POSTED')),
    -- The serialized WalletEvent or OrdersEvent: the mail is composed from it and from the two snapshots.
    event bytea NOT NULL,
    organization_id uuid NOT NULL,
    organization_version bigint NOT NULL,
    issuer_id uuid NOT NULL,
    issuer_version bigint NOT NULL,
    subject text NOT NULL,
    order_id uuid,
    order_number text NOT NULL,
    top_up_id uuid,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT farthing_now(),
    PRIMARY KEY (root_id, id),
    UNIQUE (root_id, event_id, audience),
    FOREIGN KEY (root_id, organization_id, organization_version)
        REFERENCES snapshots (root_id, organization_id, version),
    FOREIGN KEY (root_id, issuer_id, issuer_version) REFERENCES snapshots (root_id, organization_id, version)
)
"""

DELIVERIES = (
    "ALTER TABLE deliveries DROP CONSTRAINT deliveries_pkey",
    "ALTER TABLE deliveries ALTER COLUMN document_id DROP NOT NULL",
    "ALTER TABLE deliveries ADD COLUMN notice_id uuid",
    "ALTER TABLE deliveries ADD CHECK (num_nonnulls(document_id, notice_id) = 1)",
    "ALTER TABLE deliveries ADD COLUMN mail_id uuid NOT NULL"
    " GENERATED ALWAYS AS (coalesce(document_id, notice_id)) STORED",
    "ALTER TABLE deliveries ADD PRIMARY KEY (root_id, mail_id)",
    "ALTER TABLE deliveries ADD FOREIGN KEY (root_id, notice_id) REFERENCES notices (root_id, id)",
    "CREATE UNIQUE INDEX deliveries_document ON deliveries (root_id, document_id) WHERE document_id IS NOT NULL",
    "CREATE UNIQUE INDEX deliveries_notice ON deliveries (root_id, notice_id) WHERE notice_id IS NOT NULL",
    "DROP INDEX deliveries_due",
    "CREATE INDEX deliveries_receipts_due ON deliveries (next_attempt_at)"
    " WHERE state IN ('QUEUED', 'DEFERRED') AND document_id IS NOT NULL",
    "CREATE INDEX deliveries_notices_due ON deliveries (next_attempt_at)"
    " WHERE state IN ('QUEUED', 'DEFERRED') AND notice_id IS NOT NULL",
    "DROP POLICY scope ON deliveries",
)

# Events that were heard before nobody was told of; `farthing verify` asks.
SINCE = """
DO $$ BEGIN
    EXECUTE format('CREATE FUNCTION notices_since() RETURNS timestamptz LANGUAGE sql STABLE AS %L',
                   format('SELECT %L::timestamptz', farthing_now()));
END $$
"""

INDEXES = (
    "CREATE INDEX notices_newest ON notices (occurred_at DESC, id DESC)",
    "CREATE INDEX notices_recipient ON notices (organization_id, occurred_at DESC, id DESC)",
    "CREATE INDEX notices_issuer ON notices (issuer_id, occurred_at DESC, id DESC)",
    "CREATE INDEX notices_order ON notices (order_id) WHERE order_id IS NOT NULL",
    "CREATE INDEX notices_top_up ON notices (top_up_id) WHERE top_up_id IS NOT NULL",
)


def upgrade() -> None:
    for statement in (NOTICES, SINCE, *INDEXES, *DELIVERIES):
        op.execute(statement)
    schema.append_only("notices")
    # The buyer's scope never reaches up to its seller, whose own notices are in its own name.
    schema.row_security("notices", "sees(organization_id) OR sees(issuer_id)")
    schema.row_security(
        "deliveries",
        "EXISTS (SELECT FROM documents WHERE documents.root_id = deliveries.root_id AND documents.id = document_id)"
        " OR EXISTS (SELECT FROM notices WHERE notices.root_id = deliveries.root_id AND notices.id = notice_id)",
    )

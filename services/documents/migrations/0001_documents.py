"""Documents, their numbers, the archive's manifest, and their deliveries. Nothing here is ever deleted."""

from alembic import op
from directory.schema import create_organizations
from servicekit import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Organizations as they were when a document was issued: it is drawn from these, now or in ten years, the same.
SNAPSHOTS = """
CREATE TABLE snapshots (
    root_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    version bigint NOT NULL,
    -- A serialized farthing.wallet.v1.Organization.
    resource bytea NOT NULL,
    PRIMARY KEY (root_id, organization_id, version)
)
"""

# The last number given. Its row lock makes numbers gapless: it is held until the document's transaction ends.
# `root_id` is the issuer's own root, so that the platform, which issues in every root, counts once.
COUNTERS = """
CREATE TABLE counters (
    root_id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    series text NOT NULL,
    year integer NOT NULL,
    last bigint NOT NULL CHECK (last > 0),
    PRIMARY KEY (root_id, issuer_id, series, year)
)
"""

DOCUMENTS = """
CREATE TABLE documents (
    root_id uuid NOT NULL,
    id uuid NOT NULL,
    type text NOT NULL CHECK (type IN ('PURCHASE_RECEIPT', 'TOP_UP_RECEIPT')),
    -- The order or the top-up: one receipt each.
    source_id uuid NOT NULL,
    order_number text NOT NULL,
    -- The event's order or top-up, byte for byte.
    source bytea NOT NULL,
    series text NOT NULL,
    issuer_id uuid NOT NULL,
    issuer_version bigint NOT NULL,
    issuer_name text NOT NULL,
    recipient_id uuid NOT NULL,
    recipient_version bigint NOT NULL,
    recipient_name text NOT NULL,
    year integer NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    number text NOT NULL,
    currency text NOT NULL,
    total_micros bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    object_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT farthing_now(),

    state text NOT NULL DEFAULT 'ISSUED' CHECK (state IN ('ISSUED', 'ARCHIVED')),
    object_version text,
    sha256 bytea CHECK (octet_length(sha256) = 32),
    size_bytes bigint CHECK (size_bytes > 0),
    archived_at timestamptz,
    retained_until timestamptz,

    -- The work of archiving it. A worker that takes it moves `next_attempt_at` on by its lease.
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT farthing_now(),
    last_error text NOT NULL DEFAULT '',

    PRIMARY KEY (root_id, id),
    UNIQUE (root_id, type, source_id),
    UNIQUE (root_id, issuer_id, series, year, sequence),
    UNIQUE (root_id, object_key),
    FOREIGN KEY (root_id, issuer_id, issuer_version) REFERENCES snapshots (root_id, organization_id, version),
    FOREIGN KEY (root_id, recipient_id, recipient_version) REFERENCES snapshots (root_id, organization_id, version),
    CHECK ((state = 'ARCHIVED') = (object_version IS NOT NULL AND sha256 IS NOT NULL AND size_bytes IS NOT NULL
                                   AND archived_at IS NOT NULL AND retained_until IS NOT NULL))
)
"""

# What a document says never changes; where it lies is written once; its lock only grows.
DOCUMENTS_FROZEN = """
CREATE FUNCTION documents_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'documents are kept for ever: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF (OLD.root_id, OLD.id, OLD.type, OLD.source_id, OLD.order_number, OLD.source, OLD.series, OLD.issuer_id,
        OLD.issuer_version, OLD.issuer_name, OLD.recipient_id, OLD.recipient_version, OLD.recipient_name, OLD.year,
        OLD.sequence, OLD.number, OLD.currency, OLD.total_micros, OLD.issued_at, OLD.object_key, OLD.created_at)
       IS DISTINCT FROM
       (NEW.root_id, NEW.id, NEW.type, NEW.source_id, NEW.order_number, NEW.source, NEW.series, NEW.issuer_id,
        NEW.issuer_version, NEW.issuer_name, NEW.recipient_id, NEW.recipient_version, NEW.recipient_name, NEW.year,
        NEW.sequence, NEW.number, NEW.currency, NEW.total_micros, NEW.issued_at, NEW.object_key, NEW.created_at)
    THEN
        RAISE EXCEPTION 'document % is issued: what it says cannot change', OLD.number
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF OLD.state = 'ARCHIVED' AND (
        (OLD.state, OLD.object_version, OLD.sha256, OLD.size_bytes, OLD.archived_at)
        IS DISTINCT FROM (NEW.state, NEW.object_version, NEW.sha256, NEW.size_bytes, NEW.archived_at)
        OR NEW.retained_until < OLD.retained_until)
    THEN
        RAISE EXCEPTION 'document % is archived: its place and its hash cannot change, its lock only grow', OLD.number
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$
"""

# Every archived document of a root, each line carrying the hash of the one before.
MANIFEST = """
CREATE TABLE manifest (
    root_id uuid NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    document_id uuid NOT NULL,
    object_key text NOT NULL,
    object_version text NOT NULL,
    sha256 bytea NOT NULL,
    size_bytes bigint NOT NULL,
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (root_id, sequence),
    UNIQUE (root_id, document_id),
    FOREIGN KEY (root_id, document_id) REFERENCES documents (root_id, id)
)
"""

# Where each chain ends; its row lock puts the lines in a row.
MANIFEST_HEADS = """
CREATE TABLE manifest_heads (
    root_id uuid PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea NOT NULL
)
"""

DELIVERIES = """
CREATE TABLE deliveries (
    root_id uuid NOT NULL,
    document_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'SENT', 'DEFERRED', 'FAILED')),
    message_id text NOT NULL,
    recipients text[] NOT NULL,
    -- Whose server took it, and whose refused it for good (with the reason at the same place in `refusals`).
    accepted text[] NOT NULL DEFAULT '{}',
    refused text[] NOT NULL DEFAULT '{}',
    refusals text[] NOT NULL DEFAULT '{}',
    attempts integer NOT NULL DEFAULT 0,
    queued_at timestamptz NOT NULL,
    next_attempt_at timestamptz,
    sent_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    PRIMARY KEY (root_id, document_id),
    FOREIGN KEY (root_id, document_id) REFERENCES documents (root_id, id),
    CHECK ((state IN ('QUEUED', 'DEFERRED')) = (next_attempt_at IS NOT NULL))
)
"""

INDEXES = (
    "CREATE INDEX documents_newest ON documents (issued_at DESC, id DESC)",
    "CREATE INDEX documents_recipient ON documents (recipient_id, issued_at DESC, id DESC)",
    "CREATE INDEX documents_issuer ON documents (issuer_id, issued_at DESC, id DESC)",
    "CREATE INDEX documents_source ON documents (source_id)",
    "CREATE INDEX documents_id ON documents (id)",
    "CREATE INDEX documents_to_archive ON documents (next_attempt_at) WHERE state = 'ISSUED'",
    "CREATE INDEX documents_to_extend ON documents (retained_until) WHERE state = 'ARCHIVED'",
    "CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state IN ('QUEUED', 'DEFERRED')",
)


def upgrade() -> None:
    schema.create_base()
    create_organizations()
    for statement in (SNAPSHOTS, COUNTERS, DOCUMENTS, DOCUMENTS_FROZEN, MANIFEST, MANIFEST_HEADS, DELIVERIES, *INDEXES):
        op.execute(statement)
    for timing in ("UPDATE OR DELETE ON documents FOR EACH ROW", "TRUNCATE ON documents FOR EACH STATEMENT"):
        name = "frozen" if "ROW" in timing else "kept"
        op.execute(f"CREATE TRIGGER {name} BEFORE {timing} EXECUTE FUNCTION documents_frozen()")
    schema.append_only("snapshots")
    schema.append_only("manifest")
    schema.grant("counters", "SELECT, INSERT, UPDATE (last)")
    schema.grant("manifest_heads", "SELECT, INSERT, UPDATE (sequence, hash)")
    schema.grant("documents", "SELECT, INSERT")
    schema.grant(
        "documents",
        "UPDATE (state, object_version, sha256, size_bytes, archived_at, retained_until,"
        " attempts, next_attempt_at, last_error)",
    )
    schema.grant("deliveries", "SELECT, INSERT")
    schema.grant(
        "deliveries",
        "UPDATE (state, accepted, refused, refusals, attempts, next_attempt_at, sent_at, last_error)",
    )
    # A buyer sees what it received, a seller what it issued: a buyer's scope never reaches up to its seller.
    schema.row_security("documents", "sees(recipient_id) OR sees(issuer_id)")
    schema.row_security(
        "deliveries",
        "EXISTS (SELECT FROM documents WHERE documents.root_id = deliveries.root_id AND documents.id = document_id)",
    )
    for table in ("snapshots", "counters", "manifest", "manifest_heads"):
        schema.row_security(table, "false")

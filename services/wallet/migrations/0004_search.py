"""What finding lines in large wallets is served by: copies of what is asked for, with the indexes, filled behind.

Nothing here is written when a line is posted: a text index on the ledger would be paid by every one of thousands of
lines a second. A wallet's first lines, and those posted in the last moments, are looked through one by one; the job
`index_lines` copies the others, some thousands at a time, which costs a fraction of what the same indexes cost when
they are kept line by line. Small wallets, nearly all, never get here. Everything can be made again from the ledger.
"""

from alembic import op
from servicekit.schema import grant, row_security

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The wallet that a transaction has said it reads, where the caller's scope sees it. Asked once a statement: a question
# of visibility for each of many thousand lines would cost more than all the rest.
_WALLET_IN_HAND = """
(root_id, wallet_id) = (
    SELECT w.root_id, w.id FROM wallets w WHERE w.id = nullif(current_setting('farthing.wallet', true), '')::uuid
)
"""

# Each serves one kind of question, in either direction, as the primary key serves types.
_INDEXES = (
    # Of every line: but the planner, to whom it costs as much as the one below, takes it only where a query says so too.
    # It says the item and the day, so that lines of others are passed over without a look at them.
    """line_search_amount ON line_search (root_id, wallet_id, type, amount_micros, sequence)
    INCLUDE (item_id, number_day) WHERE item_id > 0""",
    "line_search_item ON line_search (root_id, wallet_id, item_id, type, sequence)",
    "line_search_item_amount ON line_search (root_id, wallet_id, item_id, type, amount_micros, sequence)",
    "line_search_number ON line_search (root_id, wallet_id, number, sequence) WHERE number <> ''",
    # Order numbers begin with their day: lines of a day, or of the days of a month, in their order. Where a day's are
    # sorted by amount, all of them are read, but no row.
    """line_search_day ON line_search (root_id, wallet_id, number_day, type, sequence) INCLUDE (item_id, amount_micros)
    WHERE number <> ''""",
    "line_search_phone ON line_search (root_id, wallet_id, cloud_phone_id, sequence) WHERE cloud_phone_id <> ''",
)


_TABLES = (
    """
    CREATE TABLE search_progress (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        -- Lines up to this one are in line_search.
        sequence bigint NOT NULL CHECK (sequence >= 0),
        -- How many of them have type 1, 2, 3, 4.
        lines bigint[] NOT NULL DEFAULT '{0,0,0,0}' CHECK (cardinality(lines) = 4),
        PRIMARY KEY (root_id, wallet_id),
        FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id)
    )
    """,
    """
    CREATE TABLE search_items (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        -- 1, 2, 3 ... within the wallet.
        item_id integer NOT NULL CHECK (item_id > 0),
        item text COLLATE "C" NOT NULL,
        -- As servicekit.folding does it.
        folded text COLLATE "C" NOT NULL,
        -- As in search_progress, of this item.
        lines bigint[] NOT NULL DEFAULT '{0,0,0,0}' CHECK (cardinality(lines) = 4),
        PRIMARY KEY (root_id, wallet_id, item_id),
        UNIQUE (root_id, wallet_id, item)
    )
    -- Its counts change with every copy: room on the page keeps rows where they are, and out of the indexes.
    WITH (fillfactor = 70)
    """,
    # What some dozens of items are called, one after the other: a part that is not in there is not looked for in each.
    """
    CREATE TABLE search_item_blocks (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        -- Of so many items each, the first is 0; an item is in none until all of its block are there.
        block integer NOT NULL CHECK (block >= 0),
        folded text COLLATE "C" NOT NULL,
        PRIMARY KEY (root_id, wallet_id, block)
    )
    """,
    # All of it is read each time: to unpack it would take longer than to look through it.
    "ALTER TABLE search_item_blocks ALTER folded SET STORAGE EXTERNAL",
    # Which items have lines of a type: of top-ups they are few.
    """
    CREATE TABLE search_item_types (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        type smallint NOT NULL,
        item_id integer NOT NULL,
        PRIMARY KEY (root_id, wallet_id, type, item_id)
    )
    """,
    # Where the lines of an order's day lie: those of one type close together, refunds apart from them.
    """
    CREATE TABLE search_days (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        number_day text COLLATE "C" NOT NULL CHECK (number_day <> ''),
        type smallint NOT NULL,
        lines bigint NOT NULL CHECK (lines > 0),
        first_sequence bigint NOT NULL,
        last_sequence bigint NOT NULL,
        PRIMARY KEY (root_id, wallet_id, number_day, type)
    )
    """,
    # What the lines of a type up to a sequence come to; there is one such sequence in a thousand or so.
    """
    CREATE TABLE search_sums (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        sequence bigint NOT NULL,
        type smallint NOT NULL,
        lines bigint NOT NULL,
        credits_micros numeric NOT NULL CHECK (credits_micros >= 0),
        debits_micros numeric NOT NULL CHECK (debits_micros <= 0),
        PRIMARY KEY (root_id, wallet_id, type, sequence)
    )
    """,
    """
    CREATE TABLE line_search (
        root_id uuid NOT NULL,
        wallet_id uuid NOT NULL,
        sequence bigint NOT NULL,
        amount_micros bigint NOT NULL,
        item_id integer NOT NULL,
        type smallint NOT NULL,
        -- The order number as wallet.domain.search compacts it, and its day.
        number text COLLATE "C" NOT NULL,
        number_day text COLLATE "C" NOT NULL,
        cloud_phone_id text COLLATE "C" NOT NULL,
        PRIMARY KEY (root_id, wallet_id, type, sequence)
    )
    """,
)


def upgrade() -> None:
    for table in _TABLES:
        op.execute(table)
    for index in _INDEXES:
        op.execute(f"CREATE INDEX {index}")
    grant("search_progress", "SELECT, INSERT, UPDATE (sequence, lines)")
    grant("search_items", "SELECT, INSERT, UPDATE (lines)")
    grant("search_days", "SELECT, INSERT, UPDATE (lines, first_sequence, last_sequence)")
    for table in ("search_item_blocks", "search_item_types", "search_sums", "line_search"):
        grant(table, "SELECT, INSERT")
    for table in (
        *("search_progress", "search_items", "search_item_blocks", "search_item_types"),
        *("search_days", "search_sums", "line_search"),
    ):
        row_security(table, _WALLET_IN_HAND)

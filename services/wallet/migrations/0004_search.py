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
    "line_search_amount ON line_search (root_id, wallet_id, type, amount_micros, sequence)",
    "line_search_item ON line_search (root_id, wallet_id, item_id, type, sequence)",
    "line_search_item_amount ON line_search (root_id, wallet_id, item_id, type, amount_micros, sequence)",
    "line_search_number ON line_search (root_id, wallet_id, number, sequence) WHERE number <> ''",
    # Order numbers begin with their day: lines of a day, or of the days of a month, in their order.
    "line_search_day ON line_search (root_id, wallet_id, number_day, sequence) WHERE number <> ''",
    "line_search_phone ON line_search (root_id, wallet_id, cloud_phone_id, sequence) WHERE cloud_phone_id <> ''",
)


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE search_progress (
            root_id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            -- Lines up to this one are in line_search.
            sequence bigint NOT NULL CHECK (sequence >= 0),
            PRIMARY KEY (root_id, wallet_id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id)
        )
        """
    )
    op.execute(
        """
        CREATE TABLE search_items (
            root_id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            -- 1, 2, 3 ... within the wallet.
            item_id integer NOT NULL CHECK (item_id > 0),
            item text COLLATE "C" NOT NULL,
            -- As servicekit.folding does it.
            folded text COLLATE "C" NOT NULL,
            PRIMARY KEY (root_id, wallet_id, item_id),
            UNIQUE (root_id, wallet_id, item)
        )
        """
    )
    op.execute(
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
        """
    )
    for index in _INDEXES:
        op.execute(f"CREATE INDEX {index}")
    grant("search_progress", "SELECT, INSERT, UPDATE (sequence)")
    for table in ("search_items", "line_search"):
        grant(table, "SELECT, INSERT")
    for table in ("search_progress", "search_items", "line_search"):
        row_security(table, _WALLET_IN_HAND)

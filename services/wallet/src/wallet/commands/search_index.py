"""Keeps the search of large wallets up with what is posted."""

from servicekit.database import Database
from servicekit.scope import EVERYTHING

from wallet.store import search_index as store

# Fewer than this are looked through one by one, within some milliseconds.
BEHIND = 500
_WALLETS_A_RUN = 20
_LINES_A_TRANSACTION = 20_000


async def find_large_wallets(database: Database, behind: int = BEHIND) -> int:
    """Tells `index_lines` of the wallets that have grown large; how many."""
    async with database.transaction(EVERYTHING) as connection:
        return await store.begin_large(connection, behind)


async def index_lines(database: Database, behind: int = BEHIND) -> int:
    """Copies lines of the large wallets that are `behind` by so many; how many lines.

    A transaction a wallet: what was done stays when the next one fails, and two replicas do not wait for each other.
    """
    async with database.transaction(EVERYTHING) as connection:
        wallets = await store.wallets_behind(connection, behind, _WALLETS_A_RUN)
    copied = 0
    for root_id, wallet_id in wallets:
        async with database.transaction(EVERYTHING) as connection:
            copied += await store.copy_lines(connection, root_id, wallet_id, _LINES_A_TRANSACTION)
    return copied

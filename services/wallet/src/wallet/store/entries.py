"""Reading the ledger: balances now and then, a transaction's postings, a seller's sums.

Each query filters by the caller's scope; row-level security stands behind it.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from servicekit.scope import Scope
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.entries import LegsRow, SellerSums, TransactionRow, WalletState

# As long as a statement may run: a posting older than that is committed or gone.
UNDER_WAY = timedelta(seconds=60)

_MICROSECOND = timedelta(microseconds=1)
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)

_SCOPED = """
(CAST(:scope_root_id AS uuid) IS NULL OR {table}.root_id = :scope_root_id)
AND (:everything OR sees({table}.organization_id) OR sees({table}.seller_id))
"""

_WALLET = text(f"""
SELECT w.root_id, w.id, w.organization_id, w.currency, w.credit_limit_micros, w.balance_micros, w.reserved_micros,
       w.sequence, coalesce(w.last_posted_at, w.created_at) AS since, farthing_now() AS now
FROM wallets w WHERE w.id = :wallet_id AND {_SCOPED.format(table="w")}
""")  # noqa: S608 - the only thing put in is a table's alias

# Waits for the postings under way on this wallet; later ones are posted at a later instant.
_SETTLE = text("SELECT sequence FROM wallets WHERE root_id = :root_id AND id = :wallet_id FOR SHARE")
# The same for all that a seller's sums are over, in the order in which postings lock; nothing is posted to closed ones.
_SETTLE_SELLER = text("""
WITH settled AS MATERIALIZED (
    SELECT id FROM wallets
    WHERE (seller_id = :organization_id OR organization_id = :organization_id) AND currency = :currency AND state = 1
    ORDER BY root_id, id FOR SHARE
)
SELECT count(*) FROM settled
""")

# Sequences have no gap and instants never go back along them: so halve until one is left (0: none is that old). Each
# line is looked up by its key; as a join, all of the wallet's may be read for each.
_SEQUENCE_AT = text("""
WITH RECURSIVE halves (low, high) AS (
    SELECT CAST(0 AS bigint), CAST(:sequence AS bigint)
    UNION ALL
    SELECT CASE WHEN posted_at <= :as_of THEN middle ELSE low END,
           CASE WHEN posted_at <= :as_of THEN high ELSE middle - 1 END
    FROM (
        SELECT low, high, middle, (
            SELECT posted_at FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence = middle
        ) AS posted_at
        FROM (SELECT low, high, (low + high + 1) / 2 AS middle FROM halves WHERE low < high) AS h
        OFFSET 0
    ) AS looked_up
)
SELECT low FROM halves WHERE low = high
""")

_BALANCE_AFTER = text("""
SELECT balance_after_micros FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence = :sequence
""")

_TRANSACTION_LINES = text(f"""
SELECT l.root_id, l.tier, l.type, l.wallet_id, l.organization_id, l.seller_id, l.amount_micros, l.revenue_micros,
       l.tax_micros, l.cash_micros, l.clearing_micros, l.credits_micros
FROM lines l WHERE l.transaction_id = :id AND {_SCOPED.format(table="l")}
ORDER BY l.tier, l.type
""")  # noqa: S608

_TRANSACTION = text("""
SELECT id, type, currency, item, order_id, order_number, posted_at, kind, cloud_phone_id, original_id
FROM transactions WHERE root_id = :root_id AND id = :id
""")

# Net of tax and of refunds: revenue, or clearing where the seller's earnings go to its wallet. One statement, so that
# what was sold and what was bought are of one moment.
_SELLER_SUMS = text("""
SELECT * FROM (
    SELECT coalesce(sum(- l.cash_micros), 0) AS cash_received_micros,
           coalesce(sum(l.revenue_micros + l.clearing_micros) FILTER (WHERE l.type IN (2, 4)), 0) AS revenue_micros,
           coalesce(sum(l.tax_micros), 0) AS tax_payable_micros,
           coalesce(sum(- l.credits_micros), 0) AS credits_given_micros
    FROM wallets w JOIN lines l ON l.root_id = w.root_id AND l.wallet_id = w.id
    WHERE w.seller_id = :organization_id AND w.currency = :currency AND l.posted_at <= :as_of
) AS sold CROSS JOIN (
    SELECT coalesce(sum(l.revenue_micros + l.clearing_micros), 0) AS cost_micros
    FROM wallets w JOIN lines l ON l.root_id = w.root_id AND l.wallet_id = w.id
    WHERE w.organization_id = :organization_id AND w.currency = :currency AND l.type IN (2, 4)
        AND l.posted_at <= :as_of
) AS bought
""")
_NOW = text("SELECT farthing_now()")


async def find_wallet(connection: AsyncConnection, scope: Scope, wallet_id: UUID) -> WalletState | None:
    """The wallet as it stands, or None where there is none in `scope`."""
    row = (await connection.execute(_WALLET, {"wallet_id": wallet_id, **_bounds(scope)})).one_or_none()
    return None if row is None else WalletState(*row)


async def position_at(connection: AsyncConnection, wallet: WalletState, as_of: datetime) -> tuple[int, int]:
    """Sequence and balance in micros after the last line at or before `as_of`, which must not be in the future."""
    keys = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    sequence = wallet.sequence
    if wallet.now - as_of < UNDER_WAY:
        sequence = (await connection.execute(_SETTLE, keys)).scalar_one()
    position = {**keys, "sequence": sequence, "as_of": as_of}
    low: int = (await connection.execute(_SEQUENCE_AT, position)).scalar_one()
    if low == 0:
        return 0, 0
    return low, (await connection.execute(_BALANCE_AFTER, {**keys, "sequence": low})).scalar_one()


async def sequence_before(connection: AsyncConnection, wallet: WalletState, instant: datetime) -> int:
    """The last line before `instant` of those that the wallet had when it was read; 0 where there is none."""
    if instant <= _FIRST_INSTANT:
        return 0
    keys = {"root_id": wallet.root_id, "wallet_id": wallet.id, "sequence": wallet.sequence}
    found: int = (await connection.execute(_SEQUENCE_AT, {**keys, "as_of": instant - _MICROSECOND})).scalar_one()
    return found


async def find_transaction(connection: AsyncConnection, scope: Scope, transaction_id: UUID) -> TransactionRow | None:
    """The transaction with the lines that `scope` sees, or None where it sees none."""
    found = await connection.execute(_TRANSACTION_LINES, {"id": transaction_id, **_bounds(scope)})
    lines = tuple(LegsRow(*row) for row in found)
    if not lines:
        return None
    row = (await connection.execute(_TRANSACTION, {"root_id": lines[0].root_id, "id": transaction_id})).one()
    return TransactionRow(lines, *row)


async def settle_seller(connection: AsyncConnection, organization_id: UUID, currency: str) -> None:
    """Waits for the postings under way on a seller's wallets and its buyers'; the sums of before then stay.

    None of these wallets is posted to until the transaction ends: the sums are read in another one.
    """
    await connection.execute(_SETTLE_SELLER, {"organization_id": organization_id, "currency": currency})


async def seller_sums(connection: AsyncConnection, organization_id: UUID, currency: str, as_of: datetime) -> SellerSums:
    """Sums up to and including `as_of`. The caller has made sure that it may see the organization."""
    keys = {"organization_id": organization_id, "currency": currency, "as_of": as_of}
    sums = (await connection.execute(_SELLER_SUMS, keys)).one()
    return SellerSums(*(int(micros) for micros in sums))


async def database_now(connection: AsyncConnection) -> datetime:
    """The clock that postings are dated with."""
    now: datetime = (await connection.execute(_NOW)).scalar_one()
    return now


def _bounds(scope: Scope) -> dict[str, object]:
    return {"scope_root_id": scope.root_id, "everything": scope.everything}

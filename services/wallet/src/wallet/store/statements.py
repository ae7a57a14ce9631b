"""What a wallet's statement says over a range of instants."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.entries import WalletState
from wallet.domain.ledger import LineType
from wallet.domain.search import Window
from wallet.domain.statements import Header, TypeSum
from wallet.store import search_index
from wallet.store.entries import position_at

_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SELLER = text("SELECT seller_id FROM wallets WHERE root_id = :root_id AND id = :wallet_id")
_COPIED_TO = text("SELECT sequence FROM search_progress WHERE root_id = :root_id AND wallet_id = :wallet_id")
# What is known at the last line of a part in the middle, less what is known where it begins, and the lines around it.
_SUMS = text("""
SELECT type, CAST(sum(lines) AS bigint), sum(credits), sum(debits) FROM (
    SELECT type, count(*) AS lines, coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0) AS credits,
           coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0) AS debits
    FROM (VALUES (CAST(:after AS bigint), CAST(:first AS bigint)), (:last, :to)) AS around (after, upto)
    CROSS JOIN LATERAL (
        SELECT * FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence > around.after
            AND sequence <= around.upto
        OFFSET 0
    ) AS l
    GROUP BY type
    UNION ALL
    SELECT known.type, sign * lines, sign * credits_micros, sign * debits_micros
    FROM (VALUES (CAST(:first AS bigint), -1), (:last, 1)) AS ends (sequence, sign)
    CROSS JOIN unnest(CAST(:types AS smallint[])) AS types (type)
    CROSS JOIN LATERAL (
        SELECT * FROM search_sums WHERE root_id = :root_id AND wallet_id = :wallet_id AND type = types.type
            AND sequence <= ends.sequence
        ORDER BY sequence DESC LIMIT 1
    ) AS known
) AS s GROUP BY type HAVING sum(lines) > 0 ORDER BY type
""")


async def header_of(connection: AsyncConnection, wallet: WalletState, start: datetime, end: datetime) -> Header:
    """The statement over [start, end); `end` must not be in the future. Waits for what is being posted before it."""
    # The end first: nothing is posted at an earlier instant afterwards, so the start needs no second look.
    to, closing_micros = await _before(connection, wallet, end)
    after, opening_micros = await _before(connection, wallet, start)
    sums = await _sums(connection, wallet, after, to)
    return Header(after, to, opening_micros, closing_micros, sums)


async def _sums(connection: AsyncConnection, wallet: WalletState, after: int, to: int) -> tuple[TypeSum, ...]:
    """What the lines `after` < sequence <= `to` come to. Of many, no more than those at either end are read."""
    keys = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    every = search_index.SUMS_EVERY
    first = last = to
    if to - after > every:
        copied_to = (await connection.execute(_COPIED_TO, keys)).scalar_one_or_none() or 0
        known = Window(-(-after // every) * every, min(to, copied_to) // every * every)
        if not known.is_empty:
            first, last = known.after, known.to
    ends = {"after": after, "first": first, "last": last, "to": to, "types": [int(each) for each in LineType]}
    rows = await connection.execute(_SUMS, {**keys, **ends})
    return tuple(TypeSum(row[0], row[1], int(row[2]), int(row[3])) for row in rows)


async def seller_of(connection: AsyncConnection, wallet: WalletState) -> UUID:
    """With whom the wallet is held."""
    found: UUID = (await connection.execute(_SELLER, {"root_id": wallet.root_id, "wallet_id": wallet.id})).scalar_one()
    return found


async def _before(connection: AsyncConnection, wallet: WalletState, instant: datetime) -> tuple[int, int]:
    """Sequence and balance after the last line before `instant`."""
    if instant <= _FIRST_INSTANT:
        return 0, 0
    return await position_at(connection, wallet, instant - _MICROSECOND)

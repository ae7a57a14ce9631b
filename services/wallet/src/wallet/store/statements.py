"""What a wallet's statement says over a range of instants."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.entries import WalletState
from wallet.domain.statements import Header, TypeSum
from wallet.store.entries import position_at

_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SELLER = text("SELECT seller_id FROM wallets WHERE root_id = :root_id AND id = :wallet_id")
_SUMS = text("""
SELECT type, count(*), coalesce(sum(amount_micros) FILTER (WHERE amount_micros > 0), 0),
       coalesce(sum(amount_micros) FILTER (WHERE amount_micros < 0), 0)
FROM lines WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence > :after AND sequence <= :to
GROUP BY type ORDER BY type
""")


async def header_of(connection: AsyncConnection, wallet: WalletState, start: datetime, end: datetime) -> Header:
    """The statement over [start, end); `end` must not be in the future. Waits for what is being posted before it."""
    # The end first: nothing is posted at an earlier instant afterwards, so the start needs no second look.
    to, closing_micros = await _before(connection, wallet, end)
    after, opening_micros = await _before(connection, wallet, start)
    keys = {"root_id": wallet.root_id, "wallet_id": wallet.id, "after": after, "to": to}
    sums = tuple(TypeSum(row[0], row[1], int(row[2]), int(row[3])) for row in await connection.execute(_SUMS, keys))
    return Header(after, to, opening_micros, closing_micros, sums)


async def seller_of(connection: AsyncConnection, wallet: WalletState) -> UUID:
    """With whom the wallet is held."""
    found: UUID = (await connection.execute(_SELLER, {"root_id": wallet.root_id, "wallet_id": wallet.id})).scalar_one()
    return found


async def _before(connection: AsyncConnection, wallet: WalletState, instant: datetime) -> tuple[int, int]:
    """Sequence and balance after the last line before `instant`."""
    if instant <= _FIRST_INSTANT:
        return 0, 0
    return await position_at(connection, wallet, instant - _MICROSECOND)

"""Balance rules in SQL. Whoever changes a wallet's rules locks the wallet first."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.balance_rules import AutoState, AutoTopUp, BalanceRules, Watch
from wallet.domain.wallets import Wallet

# The numbers of farthing.wallet.v1.AutoTopUp.State.
_STATES = {AutoState.ACTIVE: 1, AutoState.RETRYING: 2, AutoState.SUSPENDED: 3}
_STATE_OF = {number: state for state, number in _STATES.items()}

_FIND = text(
    "SELECT r.*, w.currency FROM balance_rules r JOIN wallets w ON w.root_id = r.root_id AND w.id = r.wallet_id"
    " WHERE r.root_id = :root_id AND r.wallet_id = :wallet_id"
)
_SAVE = text(
    "INSERT INTO balance_rules (root_id, wallet_id, organization_id, low_threshold_micros, low_sequence,"
    " low_reserved_micros, auto_threshold_micros, auto_amount_micros, auto_payment_method_id, auto_sequence,"
    " auto_reserved_micros, auto_state, auto_failures, auto_last_failure, auto_next_attempt_at, auto_last_top_up_id)"
    " VALUES (:root_id, :wallet_id, :organization_id, :low_threshold_micros, :low_sequence,"
    " :low_reserved_micros, :auto_threshold_micros, :auto_amount_micros, :auto_payment_method_id, :auto_sequence,"
    " :auto_reserved_micros, :auto_state, :auto_failures, :auto_last_failure, :auto_next_attempt_at,"
    " :auto_last_top_up_id)"
    " ON CONFLICT (root_id, wallet_id) DO UPDATE SET"
    " low_threshold_micros = excluded.low_threshold_micros, low_sequence = excluded.low_sequence,"
    " low_reserved_micros = excluded.low_reserved_micros, auto_threshold_micros = excluded.auto_threshold_micros,"
    " auto_amount_micros = excluded.auto_amount_micros, auto_payment_method_id = excluded.auto_payment_method_id,"
    " auto_sequence = excluded.auto_sequence, auto_reserved_micros = excluded.auto_reserved_micros,"
    " auto_state = excluded.auto_state, auto_failures = excluded.auto_failures,"
    " auto_last_failure = excluded.auto_last_failure, auto_next_attempt_at = excluded.auto_next_attempt_at,"
    " auto_last_top_up_id = excluded.auto_last_top_up_id"
)
# A wallet wants a look if it is newly below a threshold; below, and moved since the last look; back above; or if it
# is time for another try. In no order, so that none waits behind the others for ever.
_WANTED = text("""
SELECT r.root_id, r.wallet_id FROM balance_rules r
JOIN wallets w ON w.root_id = r.root_id AND w.id = r.wallet_id AND w.state = 1
CROSS JOIN LATERAL (
    SELECT CAST(w.balance_micros AS numeric) + w.credit_limit_micros - w.reserved_micros AS available,
           farthing_now() AS now
) AS here
WHERE CASE WHEN r.low_sequence IS NULL THEN here.available < r.low_threshold_micros
           ELSE here.available >= r.low_threshold_micros OR w.sequence > r.low_sequence END
   OR CASE WHEN r.auto_sequence IS NULL THEN here.available < r.auto_threshold_micros
           ELSE here.available >= r.auto_threshold_micros OR w.sequence > r.auto_sequence END
   OR r.auto_next_attempt_at <= here.now
ORDER BY random() LIMIT :limit
""")
_SEQUENCE = text("SELECT sequence FROM wallets WHERE root_id = :root_id AND id = :wallet_id")
_HIGHEST = text(
    "SELECT max(CAST(balance_after_micros AS numeric) + credit_limit_micros) FROM lines"
    " WHERE root_id = :root_id AND wallet_id = :wallet_id AND sequence > :after"
)
_PENDING = text(
    "SELECT EXISTS (SELECT FROM top_ups WHERE root_id = :root_id AND wallet_id = :wallet_id AND automatic"
    " AND state = 1)"
)


class RulesKey(NamedTuple):
    """The wallet whose rules they are."""

    root_id: UUID
    wallet_id: UUID


async def find(connection: AsyncConnection, root_id: UUID, wallet_id: UUID) -> BalanceRules | None:
    """A wallet's rules, or None where it never had any, or not in the connection's scope."""
    row = (await connection.execute(_FIND, {"root_id": root_id, "wallet_id": wallet_id})).one_or_none()
    return None if row is None else _read(row)


async def save(connection: AsyncConnection, rules: BalanceRules) -> None:
    """Writes the rules of a locked wallet."""
    low, auto = rules.low, rules.auto
    await connection.execute(
        _SAVE,
        {
            "root_id": rules.root_id,
            "wallet_id": rules.wallet_id,
            "organization_id": rules.organization_id,
            "low_threshold_micros": low.threshold_micros if low else None,
            "low_sequence": low.sequence if low else None,
            "low_reserved_micros": low.reserved_micros if low else 0,
            "auto_threshold_micros": auto.watch.threshold_micros if auto else None,
            "auto_amount_micros": auto.amount_micros if auto else None,
            "auto_payment_method_id": auto.payment_method_id if auto else None,
            "auto_sequence": auto.watch.sequence if auto else None,
            "auto_reserved_micros": auto.watch.reserved_micros if auto else 0,
            "auto_state": _STATES[auto.state] if auto else 1,
            "auto_failures": auto.failures if auto else 0,
            "auto_last_failure": auto.last_failure if auto else "",
            "auto_next_attempt_at": auto.next_attempt_at if auto else None,
            "auto_last_top_up_id": auto.last_top_up_id if auto else None,
        },
    )


async def wanted(connection: AsyncConnection, *, limit: int) -> Sequence[RulesKey]:
    """Wallets that want a look now. Nobody has locked them: lock each, and look again."""
    return [RulesKey(row.root_id, row.wallet_id) for row in await connection.execute(_WANTED, {"limit": limit})]


async def sequence_of(connection: AsyncConnection, wallet: Wallet) -> int:
    """The number of lines of a locked wallet."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    return int((await connection.execute(_SEQUENCE, values)).scalar_one())


async def highest_since(connection: AsyncConnection, wallet: Wallet, after: int) -> int | None:
    """The highest balance with its credit limit after any line later than `after`; None where there is none."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id, "after": after}
    highest = (await connection.execute(_HIGHEST, values)).scalar_one()
    return None if highest is None else int(highest)


async def is_pending(connection: AsyncConnection, wallet: Wallet) -> bool:
    """True if an automatic top-up of a locked wallet is under way."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id}
    return bool((await connection.execute(_PENDING, values)).scalar_one())


def _read(row: Row[Any]) -> BalanceRules:
    low = auto = None
    if row.low_threshold_micros is not None:
        low = Watch(row.low_threshold_micros, row.low_sequence, row.low_reserved_micros)
    if row.auto_threshold_micros is not None:
        auto = AutoTopUp(
            watch=Watch(row.auto_threshold_micros, row.auto_sequence, row.auto_reserved_micros),
            amount_micros=row.auto_amount_micros,
            payment_method_id=row.auto_payment_method_id,
            state=_STATE_OF[row.auto_state],
            failures=row.auto_failures,
            last_failure=row.auto_last_failure,
            next_attempt_at=row.auto_next_attempt_at,
            last_top_up_id=row.auto_last_top_up_id,
        )
    return BalanceRules(row.root_id, row.wallet_id, row.organization_id, row.currency, low, auto)

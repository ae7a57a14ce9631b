"""Posting to the ledger: the lock, the look at what is there, and the one statement that writes.

The one place that locks wallets; everything that moves money comes through here. Plain asyncpg: thousands of lines a
second pass, as columns rather than rows.
"""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard
from uuid import UUID

import asyncpg
from servicekit.ids import new_id

from wallet.domain.ledger import Book, Charge, Outcome, Posted, Recharge, Refusal, Wallet, WalletKey

Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
# root_id, event_id, key, payload, traceparent: a row of the outbox.
EventRow = tuple[UUID, UUID, str, bytes, str | None]

# In the order of the primary key, so that no two transactions wait for each other in a circle. The lock leaves
# room for foreign keys that point at a wallet. (On a database distributed by root_id it must go root by root.)
_LOCK = """
SELECT w.root_id, w.id, w.organization_id, w.seller_id, w.currency, w.credit_limit_micros, w.balance_micros,
       w.reserved_micros, w.sequence, w.last_hash, w.last_posted_at, w.earnings = 2 AS earns
FROM unnest($1::wallet_key[]) AS k
JOIN wallets w ON w.root_id = k.root_id AND w.organization_id = k.organization_id AND w.currency = k.currency
WHERE w.state = 1
ORDER BY w.root_id, w.id
FOR NO KEY UPDATE OF w
"""

# After the lock, in a statement of its own: only then does it see what the last holder of the lock has committed, and
# is the clock past its postings. Always at least one row, for the clock.
_REMEMBER = """
SELECT farthing_now() AS now, t.root_id, t.request_key, t.request_sha256, t.id, t.posted_at,
       (SELECT l.balance_after_micros FROM lines l WHERE l.transaction_id = t.id AND l.root_id = t.root_id
        AND l.organization_id = t.organization_id ORDER BY l.tier LIMIT 1) AS balance_after_micros
FROM (SELECT 1) AS one LEFT JOIN (
    SELECT t.* FROM unnest($1::request_name[]) AS k
    JOIN transactions t ON t.root_id = k.root_id AND t.request_key = k.request_key
) AS t ON true
"""

_WRITE = """
WITH transaction AS (
    INSERT INTO transactions (root_id, id, organization_id, order_id, posted_at, type, currency, order_number, item,
                              request_key, request_sha256, kind, original_id, cloud_phone_id)
    SELECT * FROM unnest($2::new_transaction_2[])
), line AS (
    INSERT INTO lines (root_id, wallet_id, transaction_id, organization_id, seller_id, sequence, amount_micros,
                       revenue_micros, tax_micros, cash_micros, clearing_micros, balance_after_micros,
                       credit_limit_micros, tier, type, credits_micros, hash, posted_at)
    SELECT l.*, $1 FROM unnest($3::new_line_2[]) AS l
), wallet AS (
    UPDATE wallets w
    SET balance_micros = k.balance_micros, sequence = k.sequence, last_hash = k.last_hash, last_posted_at = $1
    FROM unnest($4::new_wallet_state[]) AS k
    WHERE w.root_id = k.root_id AND w.id = k.id
)
INSERT INTO outbox (root_id, event_id, topic, key, payload, traceparent, created_at)
SELECT e.root_id, e.event_id, $5, e.key, e.payload, e.traceparent, $1 FROM unnest($6::new_event[]) AS e
"""

_ELSEWHERE = "SELECT organization_id, root_id FROM wallets WHERE organization_id = ANY($1) AND state = 1"


async def open_book(connection: Connection, keys: Iterable[WalletKey], requests: Sequence[tuple[UUID, str]]) -> Book:
    """Locks the current wallets of `keys` until the end of the transaction, and looks up `requests` (root, key)."""
    locked = await connection.fetch(_LOCK, list(keys))
    rows = await connection.fetch(_REMEMBER, requests)
    remembered = {
        (row["root_id"], row["request_key"]): Posted(
            row["id"], row["posted_at"], row["balance_after_micros"], row["request_sha256"]
        )
        for row in rows
        if row["id"] is not None
    }
    wallets = [Wallet(*row) for row in locked]
    return Book(wallets, rows[0]["now"], remembered)


def write(
    connection: Connection, book: Book, topic: str = "", events: Sequence[EventRow] = ()
) -> Coroutine[Any, Any, str]:
    """Writes what was posted to `book` since the last time, and its events, in one statement.

    It is taken from the book at once: while this is awaited, more may be posted to it.
    """
    transactions, lines, wallets = book.take()
    changed = [
        (wallet.root_id, wallet.id, wallet.balance_micros, wallet.sequence, wallet.last_hash) for wallet in wallets
    ]
    return connection.execute(_WRITE, book.posted_at, transactions, lines, changed, topic, events)


async def post_line(connection: Connection, recharge: Recharge) -> Outcome:
    """Fills a wallet, within the caller's transaction: the wallet +a, its seller's cash -a.

    Where `recharge.kind` is `Kind.VOUCHER`, the seller's credits take the place of its cash. The wallet stays locked
    until that transaction ends. A repeat of the same `request_key` gives the first answer and writes nothing. The event
    is the caller's business.
    """
    key = WalletKey(recharge.root_id, recharge.organization_id, recharge.currency)
    book = await open_book(connection, [key], [(recharge.root_id, recharge.request_key)])
    outcome = book.recharge(recharge, new_id())
    if book.transactions:
        await write(connection, book)
    return outcome


async def explain_unknown(
    connection: Connection, charges: Sequence[Charge], outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """The outcomes, where an unknown wallet is told from one in another currency and a chain that ends too low."""
    unknown = [outcome.organization_id for outcome in outcomes if _is_unknown(outcome)]
    if not unknown:
        return list(outcomes)
    rows = await connection.fetch(_ELSEWHERE, unknown)
    roots = {row["organization_id"]: row["root_id"] for row in rows}
    return [
        _explained(charge, outcome, roots) if _is_unknown(outcome) else outcome
        for charge, outcome in zip(charges, outcomes, strict=True)
    ]


def _is_unknown(outcome: Outcome) -> TypeGuard[Refusal]:
    return isinstance(outcome, Refusal) and outcome.reason == "WALLET_UNKNOWN"


def _explained(charge: Charge, refusal: Refusal, roots: Mapping[UUID | None, UUID]) -> Refusal:
    root_id = roots.get(refusal.organization_id)
    if root_id is None:
        return refusal
    if root_id != charge.root_id:
        message = "The last tier is not a purchase from the platform: the charge must name every tier up to it."
        return Refusal("CHAIN_MISMATCH", message, refusal.organization_id)
    message = f"A buyer of the chain has its wallet in another currency than {charge.currency}."
    return Refusal("CURRENCY_MISMATCH", message, refusal.organization_id)

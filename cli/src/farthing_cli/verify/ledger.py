"""Invariants 1, 2 and the ledger's half of 3: sums, balances and the hash chain of each wallet."""

import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from money import format_exact

from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings

_TRANSACTIONS = """
SELECT coalesce(t.id, p.transaction_id) AS id, t.id IS NULL AS unknown, p.transaction_id IS NULL AS empty, p.amount
FROM (SELECT root_id, transaction_id, sum(amount_micros) AS amount FROM postings GROUP BY root_id, transaction_id) p
FULL JOIN transactions t ON t.root_id = p.root_id AND t.id = p.transaction_id
WHERE t.id IS NULL OR p.transaction_id IS NULL OR p.amount <> 0
"""
_CURRENCIES = """
SELECT t.currency, count(*) AS postings, sum(p.amount_micros) AS sum,
       sum(p.amount_micros) FILTER (WHERE p.amount_micros > 0) AS debits
FROM postings p JOIN transactions t ON t.root_id = p.root_id AND t.id = p.transaction_id
GROUP BY t.currency ORDER BY t.currency
"""


async def sums_to_zero(evidence: Evidence, findings: Findings) -> None:
    """1: the postings of each transaction sum to zero, and all of them in each currency."""
    findings.count("transactions", await evidence.value("wallet", "SELECT count(*) FROM transactions"))
    async for row in evidence.rows("wallet", _TRANSACTIONS):
        if row["unknown"]:
            findings.fault(f"lines name the transaction {row['id']}, which does not exist")
        elif row["empty"]:
            findings.fault(f"transaction {row['id']} has no lines")
        else:
            findings.fault(f"transaction {row['id']} sums to {format_exact(int(row['amount']))}, not to 0")
    async for row in evidence.rows("wallet", _CURRENCIES):
        findings.count("postings", row["postings"])
        moved, total = format_exact_sum(row["debits"]), format_exact_sum(row["sum"])
        findings.sums[row["currency"]] = f"+{moved} -{moved} = {total}" if total == "0" else f"sum {total}"
        findings.expect(row["sum"] == 0, f"the ledger's {row['currency']} sum to {total}, not to 0")


def format_exact_sum(micros: Any) -> str:
    """As `format_exact`, also for sums past 64 bits."""
    whole, rest = divmod(abs(int(micros or 0)), 1_000_000)
    fraction = f"{rest:06d}".rstrip("0")
    return ("-" if (micros or 0) < 0 else "") + f"{whole:,}" + (f".{fraction}" if fraction else "")


_BROKEN_LINES = """
SELECT * FROM (
    SELECT wallet_id, sequence, amount_micros, balance_after_micros, credit_limit_micros, posted_at,
           lag(sequence, 1, 0::bigint) OVER prior AS sequence_before,
           lag(balance_after_micros, 1, 0::bigint) OVER prior AS balance_before,
           lag(posted_at, 1, '-infinity') OVER prior AS posted_before
    FROM lines WINDOW prior AS (PARTITION BY root_id, wallet_id ORDER BY sequence)
) AS line
WHERE sequence <> sequence_before + 1 OR balance_after_micros <> balance_before::numeric + amount_micros
   OR balance_after_micros < - credit_limit_micros::numeric OR posted_at < posted_before
"""
_BROKEN_WALLETS = """
SELECT w.id, w.balance_micros, w.reserved_micros, w.credit_limit_micros, w.sequence,
       coalesce(l.sum, 0) AS sum, coalesce(l.lines, 0) AS lines, coalesce(last.balance_after_micros, 0) AS last_balance
FROM wallets w
LEFT JOIN (SELECT root_id, wallet_id, sum(amount_micros) AS sum, count(*) AS lines FROM lines GROUP BY 1, 2) l
    ON l.root_id = w.root_id AND l.wallet_id = w.id
LEFT JOIN lines last ON last.root_id = w.root_id AND last.wallet_id = w.id AND last.sequence = w.sequence
WHERE w.balance_micros <> coalesce(l.sum, 0) OR w.balance_micros <> coalesce(last.balance_after_micros, 0)
   OR w.sequence <> coalesce(l.lines, 0) OR w.balance_micros - w.reserved_micros < - w.credit_limit_micros::numeric
"""
# What is set aside is what holds hold.
_BROKEN_RESERVES = """
SELECT w.id, w.reserved_micros, coalesce(h.held, 0) AS held FROM wallets w
LEFT JOIN (SELECT a.root_id, a.wallet_id, sum(a.held_micros - a.captured_micros) AS held
           FROM hold_amounts a JOIN holds h ON h.root_id = a.root_id AND h.id = a.hold_id AND h.state = 1
           GROUP BY 1, 2) h ON h.root_id = w.root_id AND h.wallet_id = w.id
WHERE w.reserved_micros <> coalesce(h.held, 0)
"""
_ORPHANS = """
SELECT DISTINCT l.wallet_id FROM lines l
WHERE NOT EXISTS (SELECT FROM wallets w WHERE w.root_id = l.root_id AND w.id = l.wallet_id)
"""


async def balances(evidence: Evidence, findings: Findings) -> None:
    """2: balance = sum of lines = last balance; each line adds up, within the limit it was written under."""
    findings.count("wallets", await evidence.value("wallet", "SELECT count(*) FROM wallets"))
    findings.count("lines", await evidence.value("wallet", "SELECT count(*) FROM lines"))
    async for row in evidence.rows("wallet", _BROKEN_LINES):
        findings.fault(f"wallet {row['wallet_id']} line {row['sequence']}: {_wrong_with_line(row)}")
    async for row in evidence.rows("wallet", _BROKEN_WALLETS):
        findings.fault(
            f"wallet {row['id']}: balance {format_exact(row['balance_micros'])}, its {row['lines']} lines sum to "
            f"{format_exact_sum(row['sum'])}, line {row['sequence']} says {format_exact(row['last_balance'])}, "
            f"reserved {format_exact(row['reserved_micros'])}, limit {format_exact(row['credit_limit_micros'])}"
        )
    async for row in evidence.rows("wallet", _BROKEN_RESERVES):
        reserved, held = format_exact(row["reserved_micros"]), format_exact_sum(row["held"])
        findings.fault(f"wallet {row['id']}: {reserved} is reserved, its active holds are {held}")
    async for row in evidence.rows("wallet", _ORPHANS):
        findings.fault(f"lines name the wallet {row['wallet_id']}, which does not exist in their root")


def _wrong_with_line(row: Any) -> str:
    if row["sequence"] != row["sequence_before"] + 1:
        return f"follows line {row['sequence_before']}: there is a gap"
    if row["balance_after_micros"] != row["balance_before"] + row["amount_micros"]:
        before, amount = format_exact(row["balance_before"]), format_exact(row["amount_micros"])
        return f"{before} + {amount} is not {format_exact(row['balance_after_micros'])}"
    if row["balance_after_micros"] < -row["credit_limit_micros"]:
        limit = format_exact(row["credit_limit_micros"])
        return f"balance {format_exact(row['balance_after_micros'])} is below its limit of -{limit}"
    return "is older than the line before it"


_CHAIN = """
SELECT l.wallet_id, l.root_id, l.organization_id, l.seller_id, l.sequence, l.tier, l.type, l.amount_micros,
       l.revenue_micros, l.tax_micros, l.cash_micros, l.clearing_micros, l.credits_micros, l.balance_after_micros,
       l.credit_limit_micros, l.hash, l.posted_at AS line_posted_at, t.id AS transaction_id,
       t.organization_id AS purchaser_id, t.order_id, t.posted_at, t.type AS transaction_type, t.currency,
       t.order_number, t.item, t.request_key, t.request_sha256, t.kind, t.original_id, t.cloud_phone_id
FROM lines l LEFT JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id
ORDER BY l.root_id, l.wallet_id, l.sequence
"""
_HEADS = """
SELECT w.id FROM wallets w JOIN lines l ON l.root_id = w.root_id AND l.wallet_id = w.id AND l.sequence = w.sequence
WHERE w.last_hash <> l.hash
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def ledger_chains(evidence: Evidence, findings: Findings) -> None:
    """3, ledger: each line's hash follows from the line before, the line and its transaction."""
    wallet_id, previous, broken = None, bytes(32), False
    async for row in evidence.rows("wallet", _CHAIN):
        if row["wallet_id"] != wallet_id:
            wallet_id, previous, broken = row["wallet_id"], bytes(32), False
            findings.count("ledger chains")
        findings.count("lines hashed")
        intact = row["transaction_id"] is not None and line_hash(previous, row) == row["hash"]
        if not intact and not broken:
            findings.fault(f"wallet {wallet_id} line {row['sequence']}: its hash does not follow from what it says")
        broken, previous = broken or not intact, row["hash"]
    async for row in evidence.rows("wallet", _HEADS):
        findings.fault(f"wallet {row['id']}: the hash it will build on is not that of its last line")


def line_hash(previous: bytes, row: Any) -> bytes:
    """Both versions of the ledger's encoding: 1 of transactions from before there were kinds (kind 0), 2 of the rest.

    All integers are big-endian and signed; texts follow their length in bytes (4 bytes); what is missing is zero bytes.
    """
    numbers = struct.pack(
        ">qhhqqqqqqq",
        row["sequence"],
        row["tier"],
        row["type"],
        row["amount_micros"],
        row["revenue_micros"],
        row["tax_micros"],
        row["cash_micros"],
        row["clearing_micros"],
        row["balance_after_micros"],
        row["credit_limit_micros"],
    )
    parties = row["wallet_id"].bytes + row["organization_id"].bytes + row["seller_id"].bytes
    if row["kind"]:
        numbers += struct.pack(">q", row["credits_micros"])
    return sha256(previous + _transaction_digest(row) + parties + numbers).digest()


def _transaction_digest(row: Any) -> bytes:
    instant_us = (row["posted_at"] - _EPOCH) // timedelta(microseconds=1)
    ids = row["root_id"].bytes + row["transaction_id"].bytes + row["purchaser_id"].bytes + _id(row["order_id"])
    names = ["currency", "order_number", "item", "request_key"]
    if row["kind"]:
        fixed = b"farthing.transaction.2" + ids + _id(row["original_id"])
        fixed += struct.pack(">qhh", instant_us, row["transaction_type"], row["kind"])
        names.append("cloud_phone_id")
    else:
        fixed = b"farthing.transaction.1" + ids + struct.pack(">qh", instant_us, row["transaction_type"])
    encoded = (row[name].encode() for name in names)
    texts = b"".join(len(text).to_bytes(4, "big") + text for text in encoded)
    return sha256(fixed + texts + row["request_sha256"]).digest()


def _id(found: UUID | None) -> bytes:
    return found.bytes if found else bytes(16)

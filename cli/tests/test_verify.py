"""`farthing verify` on a small real world: it holds, and each planted fault is found by its invariant alone."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from farthing_cli.verify.proof import prove
from local_stack.pytest_plugin import temporary_stack
from local_stack.stack import Stack

Run = Callable[..., Any]
Verdict = Callable[..., dict[int, list[str]]]
AsSuperuser = Callable[[str, str], None]

# Which invariants must fail; the database; the fault; its cure. Tables named `kept_..` hold what was there.
FAULTS = {
    "a transaction without lines": (
        {1},
        "wallet",
        "INSERT INTO transactions SELECT root_id, gen_random_uuid(), organization_id, NULL, posted_at, 4::smallint, "
        "currency, '', 'planted', 'planted', request_sha256 FROM transactions LIMIT 1",
        "DELETE FROM transactions WHERE request_key = 'planted'",
    ),
    "a balance that is no sum": (
        {2},
        "wallet",
        "UPDATE wallets SET balance_micros = balance_micros + 1",
        "UPDATE wallets SET balance_micros = balance_micros - 1",
    ),
    "a reserve that no hold has": (
        {2},
        "wallet",
        "UPDATE wallets SET reserved_micros = reserved_micros + 1 WHERE balance_micros > 0",
        "UPDATE wallets SET reserved_micros = reserved_micros - 1 WHERE balance_micros > 0",
    ),
    "a refund that the ledger does not know": (
        {5},
        "orders",
        "INSERT INTO refunds (root_id, id, order_id, organization_id, state, reason, created_by_name, transaction_id, "
        "posted_at, lease_until, created_at) SELECT root_id, gen_random_uuid(), id, organization_id, 'POSTED', "
        "'planted', '', gen_random_uuid(), now(), now(), now() FROM orders WHERE state = 'COMPLETED' LIMIT 1",
        "DELETE FROM refunds WHERE reason = 'planted'",
    ),
    "an adjustment that moved nothing": (
        {5},
        "wallet",
        "INSERT INTO adjustments (root_id, id, wallet_id, organization_id, seller_id, currency, amount_micros, reason, "
        "state, author_subject, author_name, transaction_id, created_at, ended_at) SELECT root_id, gen_random_uuid(), "
        "id, organization_id, seller_id, currency, 1, 'planted', 2, 'somebody', '', gen_random_uuid(), now(), now() "
        "FROM wallets LIMIT 1",
        "DELETE FROM adjustments WHERE reason = 'planted'",
    ),
    "a hold that nothing is reserved for": (
        {2},
        "wallet",
        "INSERT INTO holds SELECT root_id, id, organization_id, currency, 1, 'planted', NULL, '', '', now(), "
        "now() + interval '1 day', NULL FROM wallets LIMIT 1; "
        "INSERT INTO hold_amounts SELECT w.root_id, h.id, 1, w.id, w.organization_id, w.seller_id, 5, 0 "
        "FROM holds h JOIN wallets w ON w.id = h.id",
        "DELETE FROM hold_amounts WHERE hold_id IN (SELECT id FROM holds WHERE item = 'planted'); "
        "DELETE FROM holds WHERE item = 'planted'",
    ),
    "a hash of the ledger": (
        {3},
        "wallet",
        "CREATE TABLE kept_lines AS SELECT * FROM lines WHERE type = 2; "
        "UPDATE lines SET hash = sha256(hash) WHERE type = 2",
        "UPDATE lines l SET hash = k.hash FROM kept_lines k "
        "WHERE k.wallet_id = l.wallet_id AND k.sequence = l.sequence; DROP TABLE kept_lines",
    ),
    "what a transaction was for": (
        {3},
        "wallet",
        "UPDATE transactions SET item = item || '!'",
        "UPDATE transactions SET item = left(item, -1)",
    ),
    "a hash of the manifest": (
        {3},
        "documents",
        "CREATE TABLE kept_manifest AS SELECT * FROM manifest; UPDATE manifest SET hash = sha256(hash)",
        "UPDATE manifest m SET hash = k.hash FROM kept_manifest k "
        "WHERE k.root_id = m.root_id AND k.sequence = m.sequence; DROP TABLE kept_manifest",
    ),
    "a reply that is none": (
        {4},
        "wallet",
        "INSERT INTO requests SELECT root_id, requester, method, 'planted', body_sha256, '\\xff' FROM requests LIMIT 1",
        "DELETE FROM requests WHERE request_id = 'planted'",
    ),
    "a mail that was not sent": (
        {5},
        "documents",
        "UPDATE deliveries SET state = 'FAILED' WHERE document_id IS NOT NULL",
        "UPDATE deliveries SET state = 'SENT' WHERE document_id IS NOT NULL",
    ),
    "a notice that was not sent": (
        {18},
        "documents",
        "UPDATE deliveries SET state = 'DEFERRED', next_attempt_at = now() + interval '1 day' "
        "WHERE notice_id IS NOT NULL",
        "UPDATE deliveries SET state = 'SENT', next_attempt_at = NULL WHERE notice_id IS NOT NULL",
    ),
    "a notice whose mail is not there": (
        {18},
        "documents",
        "UPDATE deliveries SET message_id = message_id || '!' WHERE notice_id IS NOT NULL",
        "UPDATE deliveries SET message_id = left(message_id, -1) WHERE notice_id IS NOT NULL",
    ),
    "a notice of nothing that happened": (
        {18},
        "documents",
        "CREATE TABLE kept_notices AS SELECT * FROM notices; UPDATE notices SET event_id = gen_random_uuid()",
        "UPDATE notices n SET event_id = k.event_id FROM kept_notices k WHERE k.id = n.id; DROP TABLE kept_notices",
    ),
    "a notice that is lost": (
        {18},
        "documents",
        "CREATE TABLE kept_notices AS SELECT * FROM notices; DELETE FROM notices",
        "INSERT INTO notices SELECT * FROM kept_notices; DROP TABLE kept_notices",
    ),
    "a voucher that was never made": (
        {5},
        "wallet",
        "CREATE TABLE kept_top_ups AS SELECT id, method FROM top_ups WHERE method IN (1, 2); "
        "UPDATE top_ups SET method = 4 WHERE id IN (SELECT id FROM kept_top_ups)",
        "UPDATE top_ups t SET method = k.method FROM kept_top_ups k WHERE k.id = t.id; DROP TABLE kept_top_ups",
    ),
    "money for an order that is not held": (
        {5},
        "wallet",
        "UPDATE top_ups SET order_id = gen_random_uuid() WHERE order_id IS NULL AND state = 2",
        "UPDATE top_ups SET order_id = NULL WHERE hold_id IS NULL",
    ),
    "an amount of an order": (
        {5},
        "orders",
        "UPDATE order_item_tiers SET net_micros = net_micros + 1 WHERE tier = 2",
        "UPDATE order_item_tiers SET net_micros = net_micros - 1 WHERE tier = 2",
    ),
    "a lost row of the outbox": (
        {7},
        "wallet",
        "CREATE TABLE kept_outbox AS SELECT * FROM outbox WHERE id = (SELECT min(id) FROM outbox); "
        "DELETE FROM outbox WHERE id = (SELECT id FROM kept_outbox)",
        "INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT * FROM kept_outbox; DROP TABLE kept_outbox",
    ),
    "an event that did not act": (
        {8},
        "usage",
        "CREATE TABLE kept_inbox AS SELECT * FROM inbox; DELETE FROM inbox",
        "INSERT INTO inbox SELECT * FROM kept_inbox; DROP TABLE kept_inbox",
    ),
    "another hash of a document": (
        {5, 15},
        "documents",
        "CREATE TABLE kept_documents AS SELECT * FROM documents; UPDATE documents SET sha256 = sha256(sha256)",
        "UPDATE documents d SET sha256 = k.sha256 FROM kept_documents k WHERE k.id = d.id; DROP TABLE kept_documents",
    ),
    "a lock that is shorter than promised": (
        {15},
        "documents",
        "UPDATE documents SET retained_until = retained_until + interval '1 year'",
        "UPDATE documents SET retained_until = retained_until - interval '1 year'",
    ),
    "a gap in the receipts' numbers": (
        {15},
        "documents",
        "UPDATE counters SET last = last + 1",
        "UPDATE counters SET last = last - 1",
    ),
    "a copy of the tree": (
        {16},
        "usage",
        "UPDATE organizations SET name = name || '!'",
        "UPDATE organizations SET name = left(name, -1)",
    ),
    "an order that waits": (
        {17},
        "orders",
        "INSERT INTO orders (root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name, "
        "payer_email, payment_method, currency, charge_lease_until, created_at) "
        "SELECT root_id, gen_random_uuid(), 'PLANTED', 'PENDING_PAYMENT', type, organization_id, seller_id, "
        "payer_subject, payer_name, payer_email, payment_method, currency, now() + interval '1 hour', "
        "now() - interval '2 minutes' FROM orders LIMIT 1",
        "DELETE FROM orders WHERE number = 'PLANTED'",
    ),
}


@pytest.fixture(scope="module")
def running_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A house of its own: faults are planted into the one purchase that there is."""
    with temporary_stack(request) as made:
        yield made


@pytest.fixture(scope="module")
def verdict(environment: dict[str, str], people: dict[str, str]) -> Verdict:
    """Does what `farthing verify` does; the numbers of the invariants that fail, with their faults."""

    def check(wait_s: float = 30) -> dict[int, list[str]]:
        report = asyncio.run(prove(environment, wait_s, lambda text: None, lambda findings: None))
        failed = {found.number: found.faults for found in report.findings if not found.ok}
        assert report.ok is not bool(failed)
        return failed

    return check


def test_a_sound_world_holds(verdict: Verdict) -> None:
    """Given a purchase, two top-ups and an order that was refused. When verified. Then every invariant holds."""
    assert verdict() == {}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, verdict: Verdict, as_superuser: AsSuperuser) -> None:
    """Given a sound world. When a row is changed behind the system's back. Then that invariant fails, no other."""
    expected, database, plant, cure = FAULTS[name]
    assert verdict() == {}
    as_superuser(database, plant)
    try:
        found = verdict(0)
    finally:
        as_superuser(database, cure)
    assert set(found) == expected, found
    assert all(found.values()), "a failed invariant says what it found"


_REFUNDED_TWICE = """
INSERT INTO transactions (root_id, id, organization_id, order_id, posted_at, type, currency, order_number, item,
                          request_key, request_sha256, kind, original_id)
SELECT root_id, gen_random_uuid(), organization_id, order_id, posted_at, 4, currency, order_number, item, 'planted',
       request_sha256, 3, id FROM transactions WHERE type = 2 LIMIT 1;
INSERT INTO lines (root_id, wallet_id, transaction_id, organization_id, seller_id, sequence, amount_micros,
                   revenue_micros, tax_micros, cash_micros, clearing_micros, balance_after_micros, credit_limit_micros,
                   posted_at, tier, type, hash)
SELECT l.root_id, l.wallet_id, t.id, l.organization_id, l.seller_id, l.sequence + 1, -2 * l.amount_micros,
       -2 * l.revenue_micros, -2 * l.tax_micros, 0, -2 * l.clearing_micros,
       l.balance_after_micros - 2 * l.amount_micros,
       l.credit_limit_micros, l.posted_at, l.tier, 4, l.hash
FROM transactions t JOIN lines l ON l.transaction_id = t.original_id AND l.tier = 1 WHERE t.request_key = 'planted'
"""


def test_more_refunded_than_was_paid_is_found(verdict: Verdict, as_superuser: AsSuperuser) -> None:
    """Given a purchase. When twice its price is refunded behind the system's back. Then the books say so."""
    assert verdict() == {}
    as_superuser("wallet", _REFUNDED_TWICE)
    try:
        found = verdict(0)
    finally:
        as_superuser(
            "wallet",
            "DELETE FROM lines l USING transactions t WHERE l.transaction_id = t.id AND t.request_key = 'planted'; "
            "DELETE FROM transactions WHERE request_key = 'planted'",
        )
    assert any("more was given back at tier 1" in fault for fault in found[5]), found
    assert verdict() == {}


def test_an_upgraded_installation_holds(verdict: Verdict, as_superuser: AsSuperuser) -> None:
    """Given events that were heard before there were notices. When verified. Then nobody need have been told."""
    _, database, plant, cure = FAULTS["a notice that is lost"]
    assert verdict() == {}
    as_superuser(database, f"{plant}; UPDATE inbox SET processed_at = processed_at - interval '1 year'")
    try:
        found = verdict(0)
    finally:
        as_superuser(database, f"{cure}; UPDATE inbox SET processed_at = processed_at + interval '1 year'")
    assert found == {}
    assert verdict() == {}


def test_a_fault_is_said_to_programs(farthing: Run, verdict: Verdict, as_superuser: AsSuperuser) -> None:
    """Given a planted fault. When verified with --json. Then the document names it, and the exit code is 1."""
    _, database, plant, cure = FAULTS["a balance that is no sum"]
    assert verdict() == {}
    as_superuser(database, plant)
    try:
        done = farthing("verify", "--json", "--wait", "0")
    finally:
        as_superuser(database, cure)
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    [failed] = [found for found in report["invariants"] if not found["ok"]]
    assert failed["number"] == 2
    assert failed["faults"]
    assert json.loads(farthing("verify", "--json").stdout)["ok"]


def test_a_person_reads_it(farthing: Run, people: dict[str, str]) -> None:
    """Given a sound world. When verified without --json. Then every invariant is named with what was compared."""
    done = farthing("verify")
    assert done.returncode == 0
    assert "Every transaction sums to zero" in done.stdout
    assert "All 11 invariants hold" in done.stdout


def test_a_part_that_is_down_is_named(farthing: Run, people: dict[str, str]) -> None:
    """Given no Kafka at the address. When verified. Then it says so in words, with exit code 1."""
    done = farthing("verify", "--json", KAFKA_BOOTSTRAP="127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1 does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)

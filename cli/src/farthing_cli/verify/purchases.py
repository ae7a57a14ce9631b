"""Invariant 5: a completed order is one charge, one receipt, one mail; so is a settled top-up, with its line."""

from typing import Any

from money import format_exact

from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.mails import addresses, check_sent
from farthing_cli.verify.merge import side_by_side
from farthing_cli.verify.movements import moved_for_a_reason

# Tiers are compared as texts: tier, buyer, seller, net, tax.
_ORDERS = """
SELECT o.id AS key, o.root_id, o.number, o.state, o.type, o.organization_id, o.seller_id,
       o.payer_email AS purchaser_email, o.currency, o.transaction_id,
       (SELECT array_agg(format('%s %s %s %s %s', tier, buyer_id, seller_id, net_micros, tax_micros) ORDER BY tier)
        FROM order_tiers t WHERE t.root_id = o.root_id AND t.order_id = o.id) AS tiers,
       (SELECT net_micros::numeric + tax_micros FROM order_tiers t
        WHERE t.root_id = o.root_id AND t.order_id = o.id AND tier = 1) AS total_micros
FROM orders o ORDER BY o.id
"""
_CHARGES = """
SELECT t.order_id AS key, t.id, t.root_id, t.organization_id, t.order_number, t.currency,
       (SELECT array_agg(format('%s %s %s %s %s', tier, organization_id, seller_id, revenue_micros + clearing_micros,
                                tax_micros) ORDER BY tier)
        FROM lines l WHERE l.root_id = t.root_id AND l.transaction_id = t.id AND l.type = 2) AS tiers
FROM transactions t WHERE t.type = 2 AND t.order_id IS NOT NULL AND t.request_key LIKE 'orders:%' ORDER BY t.order_id
"""
_TOP_UPS = """
SELECT t.id AS key, t.root_id, 'top-up ' || t.id AS number, t.organization_id, t.seller_id, t.currency,
       t.created_by_email AS purchaser_email, t.amount_micros AS total_micros,
       (SELECT count(*) FROM lines l WHERE l.root_id = t.root_id AND l.transaction_id = t.transaction_id) AS lines,
       (SELECT count(*) FROM lines l WHERE l.root_id = t.root_id AND l.transaction_id = t.transaction_id
        AND l.wallet_id = t.wallet_id AND l.type = 1 AND l.amount_micros = t.amount_micros
        AND CASE t.method WHEN 4 THEN l.credits_micros ELSE l.cash_micros END = - t.amount_micros
        AND l.seller_id = t.seller_id) AS matching,
       (SELECT count(*) FROM top_ups o WHERE o.transaction_id = t.transaction_id) AS sharing
FROM top_ups t WHERE t.state = 2 ORDER BY t.id
"""
_UNKNOWN_RECHARGES = """
SELECT t.id FROM transactions t
WHERE t.type = 1 AND NOT EXISTS (SELECT FROM top_ups u WHERE u.root_id = t.root_id AND u.transaction_id = t.id)
"""
# What arrived for an order was held for it.
_UNHELD = """
SELECT t.id FROM top_ups t WHERE t.state = 2 AND t.order_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM holds h JOIN hold_amounts a ON a.root_id = h.root_id AND a.hold_id = h.id
    WHERE h.root_id = t.root_id AND h.id = t.hold_id AND h.order_id = t.order_id
    AND a.wallet_id = t.wallet_id AND a.held_micros = t.amount_micros)
"""
# A used voucher became a top-up of its worth with its seller. The platform's vouchers live in its own root, so roots
# are not compared.
_VOUCHERS = """
SELECT 'voucher ' || v.number || ' of lot ' || v.lot_id AS what
FROM vouchers v JOIN voucher_lots l ON l.root_id = v.root_id AND l.id = v.lot_id
WHERE v.top_up_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM top_ups t WHERE t.id = v.top_up_id AND t.method = 4 AND t.state = 2 AND t.seller_id = l.seller_id
    AND t.amount_micros = l.amount_micros AND t.currency = l.currency)
"""
_RECEIPTS = """
SELECT d.source_id AS key, d.root_id, d.number, d.state, d.issuer_id, d.recipient_id, d.order_number, d.currency,
       d.total_micros, d.sha256, x.state AS delivery, x.message_id, x.recipients, x.accepted, x.refused,
       s.resource AS recipient
FROM documents d
LEFT JOIN deliveries x ON x.root_id = d.root_id AND x.document_id = d.id
LEFT JOIN snapshots s ON s.root_id = d.root_id AND s.organization_id = d.recipient_id
    AND s.version = d.recipient_version
WHERE d.type = $1 ORDER BY d.source_id
"""
_PAID = ("COMPLETED", "PARTLY_REFUNDED", "REFUNDED")


async def one_of_each(evidence: Evidence, findings: Findings) -> None:
    """5: for every order that was paid and every settled top-up; and each refund, voucher and adjustment moved once."""
    streams = (
        evidence.rows("orders", _ORDERS),
        evidence.rows("wallet", _CHARGES),
        evidence.rows("documents", _RECEIPTS, "PURCHASE_RECEIPT"),
    )
    async for order_id, (orders, charges, receipts) in side_by_side(*streams):
        if not orders:
            findings.fault(f"order {order_id} does not exist, but has {len(charges)} charges, {len(receipts)} receipts")
        elif orders[0]["type"] == "CLOUD_PHONE":
            # Charged fee by fee, by usage.
            findings.count("cloud phones")
            _check_phone(orders[0], charges, receipts, findings)
        elif orders[0]["state"] in _PAID:
            findings.count("completed orders")
            _check_charge(orders[0], charges, findings)
            _check_receipt(evidence, orders[0], receipts, findings)
        else:
            _check_unpaid(orders[0], charges, receipts, findings)
    await _top_ups(evidence, findings)
    await moved_for_a_reason(evidence, findings)
    if evidence.environment.get("SMTP_MAILDIR"):
        findings.count("mailboxes reached", evidence.shelf.mail_count())


async def _top_ups(evidence: Evidence, findings: Findings) -> None:
    streams = (
        evidence.rows("wallet", _TOP_UPS),
        evidence.rows("documents", _RECEIPTS, "TOP_UP_RECEIPT"),
    )
    async for top_up_id, (top_ups, receipts) in side_by_side(*streams):
        if not top_ups:
            findings.fault(f"receipt {receipts[0]['number']} is for the top-up {top_up_id}, which is not settled")
            continue
        findings.count("settled top-ups")
        top_up = top_ups[0]
        if (top_up["lines"], top_up["matching"], top_up["sharing"]) != (1, 1, 1):
            findings.fault(f"{top_up['number']} has {top_up['lines']} ledger lines, {top_up['matching']} of them right")
        _check_receipt(evidence, top_up, receipts, findings)
    async for row in evidence.rows("wallet", _UNKNOWN_RECHARGES):
        findings.fault(f"the recharge {row['id']} belongs to no settled top-up")
    async for row in evidence.rows("wallet", _UNHELD):
        findings.fault(f"the top-up {row['id']} is for an order, but was not held for it")
    async for row in evidence.rows("wallet", _VOUCHERS):
        findings.fault(f"{row['what']} did not become a top-up of its worth")


def _check_phone(order: Any, charges: list[Any], receipts: list[Any], findings: Findings) -> None:
    if charges or receipts:
        findings.fault(
            f"order {order['number']} is a cloud phone's, but has {len(charges)} charges as a purchase, "
            f"{len(receipts)} receipts"
        )


def _check_charge(order: Any, charges: list[Any], findings: Findings) -> None:
    if len(charges) != 1:
        findings.fault(f"order {order['number']} is completed, but was charged {len(charges)} times")
        return
    charge = charges[0]
    findings.count("charges")
    for what, ours, theirs in (
        ("transaction", order["transaction_id"], charge["id"]),
        ("root", order["root_id"], charge["root_id"]),
        ("purchaser", order["organization_id"], charge["organization_id"]),
        ("number", order["number"], charge["order_number"]),
        ("currency", order["currency"], charge["currency"]),
        ("amounts by tier", order["tiers"], charge["tiers"]),
    ):
        findings.expect(ours == theirs, f"order {order['number']}: {what} is {ours}, in the ledger {theirs}")


def _check_unpaid(order: Any, charges: list[Any], receipts: list[Any], findings: Findings) -> None:
    findings.count("canceled orders" if order["state"] == "CANCELED" else "pending orders")
    if receipts:
        findings.fault(f"order {order['number']} is {order['state']}, but has the receipt {receipts[0]['number']}")
    if charges and order["state"] == "CANCELED":
        findings.fault(f"order {order['number']} is canceled, but was charged {len(charges)} times")
    elif len(charges) > 1:
        findings.fault(f"order {order['number']} is pending and was charged {len(charges)} times")


def _check_receipt(evidence: Evidence, paid: Any, receipts: list[Any], findings: Findings) -> None:
    """`paid` is an order or a top-up."""
    if len(receipts) != 1:
        findings.fault(f"{paid['number']} has {len(receipts)} receipts, not one")
        return
    receipt = receipts[0]
    findings.count("receipts")
    for what, ours, theirs in (
        ("root", paid["root_id"], receipt["root_id"]),
        ("seller", paid["seller_id"], receipt["issuer_id"]),
        ("buyer", paid["organization_id"], receipt["recipient_id"]),
        ("currency", paid["currency"], receipt["currency"]),
        ("total", _amount(paid["total_micros"]), _amount(receipt["total_micros"])),
        ("archive", "ARCHIVED", receipt["state"]),
    ):
        findings.expect(ours == theirs, f"{paid['number']}: {what} is {ours}, on receipt {receipt['number']} {theirs}")
    _check_mail(evidence, paid, receipt, findings)


def _check_mail(evidence: Evidence, paid: Any, receipt: Any, findings: Findings) -> None:
    name = f"receipt {receipt['number']} ({receipt['message_id'] or 'no mail'})"
    if receipt["delivery"] != "SENT":
        findings.fault(f"{name} is not sent: {receipt['delivery'] or 'it has no delivery'}")
        return
    wanted = [paid["purchaser_email"], *addresses(receipt["recipient"])]
    check_sent(evidence, findings, name, receipt, wanted, sha256=receipt["sha256"])


def _amount(micros: Any) -> str:
    return "none" if micros is None else format_exact(int(micros))

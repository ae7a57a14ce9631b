"""The rest of invariant 5: refunds, vouchers and adjustments are in the ledger once, and nothing else is."""

from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.merge import side_by_side

# Tiers are compared as texts: tier, buyer, seller, net, tax; those that get nothing back are left out.
_REFUNDS = """
SELECT r.transaction_id AS key, r.id, r.root_id, r.organization_id, o.number, o.transaction_id AS charge,
       (SELECT array_agg(tier ORDER BY tier) FROM (
            SELECT format('%s %s %s %s %s', tier, buyer_id, seller_id, sum(net_micros), sum(tax_micros)) AS tier
            FROM refund_line_tiers l WHERE l.root_id = r.root_id AND l.refund_id = r.id
            GROUP BY tier, buyer_id, seller_id HAVING sum(net_micros) + sum(tax_micros) > 0) AS given) AS tiers
FROM refunds r JOIN orders o ON o.root_id = r.root_id AND o.id = r.order_id
WHERE r.state = 'POSTED' ORDER BY r.transaction_id
"""
_GIVEN_BACK = """
SELECT t.id AS key, t.root_id, t.organization_id, t.order_number AS number, t.original_id AS charge,
       (SELECT array_agg(tier ORDER BY tier) FROM (
            SELECT format('%s %s %s %s %s', l.tier, l.organization_id, l.seller_id,
                          - (l.revenue_micros + l.clearing_micros), - l.tax_micros) AS tier
            FROM lines l WHERE l.root_id = t.root_id AND l.transaction_id = t.id AND l.type = 4
            AND l.amount_micros > 0) AS given) AS tiers
FROM transactions t WHERE t.kind = 3 AND t.request_key LIKE 'orders:%' ORDER BY t.id
"""
_TOO_MUCH_BACK = """
SELECT t.original_id, l.tier
FROM transactions t JOIN lines l ON l.root_id = t.root_id AND l.transaction_id = t.id AND l.type = 4
LEFT JOIN lines c ON c.root_id = t.root_id AND c.transaction_id = t.original_id AND c.type = 2 AND c.tier = l.tier
    AND c.wallet_id = l.wallet_id AND c.seller_id = l.seller_id
WHERE t.kind = 3 GROUP BY t.root_id, t.original_id, l.tier
HAVING count(c.wallet_id) < count(*) OR sum(- l.revenue_micros) > min(c.revenue_micros)
    OR sum(- l.clearing_micros) > min(c.clearing_micros) OR sum(- l.tax_micros) > min(c.tax_micros)
"""
_REFUNDED_ORDERS = """
SELECT o.number FROM orders o WHERE o.refunded_micros <> coalesce((
    SELECT sum(l.net_micros + l.tax_micros) FROM refunds r
    JOIN refund_line_tiers l ON l.root_id = r.root_id AND l.refund_id = r.id AND l.tier = 1
    WHERE r.root_id = o.root_id AND r.order_id = o.id AND r.state = 'POSTED'), 0)
"""
_VOUCHERS = """
SELECT coalesce(v.top_up_id, t.id) AS id, count(v.lot_id) AS vouchers, count(t.id) AS top_ups
FROM (SELECT * FROM vouchers WHERE top_up_id IS NOT NULL) v
FULL JOIN (SELECT * FROM top_ups WHERE method = 4 AND state = 2) t ON t.id = v.top_up_id
GROUP BY 1 HAVING count(v.lot_id) <> 1 OR count(t.id) <> 1
"""
_ADJUSTMENTS = """
SELECT coalesce(a.id, t.id) AS id FROM (SELECT * FROM adjustments WHERE state = 2) a
FULL JOIN (SELECT * FROM transactions WHERE kind = 4) t ON t.root_id = a.root_id AND t.id = a.transaction_id
WHERE a.id IS NULL OR t.id IS NULL OR NOT EXISTS (
    SELECT FROM lines l WHERE l.root_id = t.root_id AND l.transaction_id = t.id AND l.wallet_id = a.wallet_id
    AND l.amount_micros = a.amount_micros AND l.credits_micros = - a.amount_micros)
"""


async def moved_for_a_reason(evidence: Evidence, findings: Findings) -> None:
    """Each posted refund is one transaction with its amounts at every tier, at most its charge; the like of others."""
    streams = (evidence.rows("orders", _REFUNDS), evidence.rows("wallet", _GIVEN_BACK))
    async for transaction_id, (refunds, given) in side_by_side(*streams):
        if len(refunds) != 1 or len(given) != 1:
            found = f"{len(refunds)} refunds of orders, {len(given)} of the ledger"
            findings.fault(f"the transaction {transaction_id} is {found}: it must be one of each")
            continue
        findings.count("refunds")
        refund, posted = refunds[0], given[0]
        for what in ("root_id", "organization_id", "number", "charge", "tiers"):
            ours, theirs = refund[what], posted[what]
            findings.expect(ours == theirs, f"refund {refund['id']}: {what} is {ours}, in the ledger {theirs}")
    async for row in evidence.rows("wallet", _TOO_MUCH_BACK):
        findings.fault(f"of the charge {row['original_id']} more was given back at tier {row['tier']} than was paid")
    async for row in evidence.rows("orders", _REFUNDED_ORDERS):
        findings.fault(f"order {row['number']}: what it says is given back is not the sum of its refunds")
    async for row in evidence.rows("wallet", _VOUCHERS):
        found = f"{row['vouchers']} vouchers redeemed, {row['top_ups']} top-ups settled"
        findings.fault(f"the top-up {row['id']} is {found}: it must be one of each")
    async for row in evidence.rows("wallet", _ADJUSTMENTS):
        findings.fault(f"the adjustment {row['id']} is not one posted correction of its wallet")
    findings.count("adjustments", await evidence.value("wallet", "SELECT count(*) FROM adjustments WHERE state = 2"))

"""Invariant 16: no row refers across tenants, and the five copies of the organization tree are one tree."""

from farthing.wallet.v1.organizations_pb2 import Organization

from farthing_cli.verify.evidence import SERVICES, Evidence
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.merge import side_by_side

_COPY = """
SELECT id AS key, root_id, parent_id, ancestor_ids, domain, name, currency, version, resource
FROM organizations ORDER BY id
"""
_COMPARED = ("root_id", "parent_id", "ancestor_ids", "domain", "name", "currency", "version")
_BROKEN_TREE = """
SELECT o.domain FROM organizations o LEFT JOIN organizations parent ON parent.id = o.parent_id
WHERE CASE WHEN o.parent_id IS NULL THEN o.root_id <> o.id OR o.ancestor_ids <> '{}'
           ELSE parent.id IS NULL OR o.ancestor_ids <> parent.id || parent.ancestor_ids
                OR o.root_id <> CASE WHEN parent.parent_id IS NULL THEN o.id ELSE parent.root_id END END
"""
# The organization a row belongs to lives in the row's root.
_OWNERS = {
    "wallet": (
        ("wallets", "organization_id"),
        ("transactions", "organization_id"),
        ("lines", "organization_id"),
        ("top_ups", "organization_id"),
        ("holds", "organization_id"),
        ("hold_amounts", "organization_id"),
        ("audit_events", "organization_id"),
        ("adjustments", "organization_id"),
        ("payment_accounts", "seller_id"),
        ("payment_methods", "organization_id"),
        ("payment_events", "seller_id"),
        ("balance_rules", "organization_id"),
        ("voucher_lots", "seller_id"),
        ("vouchers", "seller_id"),
    ),
    "orders": (
        ("orders", "organization_id"),
        ("order_items", "organization_id"),
        ("order_item_tiers", "buyer_id"),
        ("refunds", "organization_id"),
        ("refund_line_tiers", "buyer_id"),
        ("order_fees", "organization_id"),
        ("order_fee_tiers", "buyer_id"),
        ("prices", "seller_id"),
        ("taxes", "seller_id"),
    ),
    "documents": (("documents", "recipient_id"),),
}
# A seller lives in the row's root too, or is the platform, which sells in every root.
_SELLERS = {
    "wallet": (
        ("wallets", "seller_id"),
        ("lines", "seller_id"),
        ("top_ups", "seller_id"),
        ("hold_amounts", "seller_id"),
        ("adjustments", "seller_id"),
    ),
    "orders": (
        ("orders", "seller_id"),
        ("order_item_tiers", "seller_id"),
        ("refund_line_tiers", "seller_id"),
        ("order_fee_tiers", "seller_id"),
    ),
    # The platform is told of money that it keeps for a top-level partner.
    "documents": (("documents", "issuer_id"), ("notices", "organization_id"), ("notices", "issuer_id")),
}
_SELLS_TO_ITSELF = {
    "wallet": "SELECT count(*) FROM wallets w WHERE w.seller_id = w.organization_id",
    "orders": "SELECT count(*) FROM order_item_tiers t WHERE t.seller_id = t.buyer_id",
    "documents": "SELECT count(*) FROM documents d WHERE d.issuer_id = d.recipient_id",
}
_STRAY = {
    "wallet": """
        SELECT 'wallet ' || w.id || ' is with ' || w.seller_id || ', its organization buys from ' || o.parent_id AS what
        FROM wallets w JOIN organizations o ON o.id = w.organization_id
        WHERE w.state = 1 AND w.seller_id IS DISTINCT FROM o.parent_id
        UNION ALL
        SELECT 'line ' || l.sequence || ' of wallet ' || l.wallet_id || ' names another owner or seller than its wallet'
        FROM lines l JOIN wallets w ON w.id = l.wallet_id
        WHERE (l.root_id, l.organization_id, l.seller_id) <> (w.root_id, w.organization_id, w.seller_id)
        UNION ALL
        SELECT 'top-up ' || t.id || ' names another owner or seller than its wallet'
        FROM top_ups t JOIN wallets w ON w.id = t.wallet_id
        WHERE (t.root_id, t.organization_id, t.seller_id) <> (w.root_id, w.organization_id, w.seller_id)
        UNION ALL
        SELECT 'top-up ' || t.id || ' is paid at an account of another seller'
        FROM top_ups t LEFT JOIN payment_accounts a ON a.id = t.payment_account_id
        WHERE t.payment_account_id IS NOT NULL AND a.seller_id IS DISTINCT FROM t.seller_id
        UNION ALL
        SELECT 'payment method ' || m.id || ' is saved for another wallet than its owner''s, or with another seller'
        FROM payment_methods m JOIN wallets w ON w.id = m.wallet_id
        LEFT JOIN payment_accounts a ON a.id = m.payment_account_id
        WHERE (m.root_id, m.organization_id) <> (w.root_id, w.organization_id)
           OR a.seller_id IS DISTINCT FROM w.seller_id
        UNION ALL
        SELECT 'hold ' || a.hold_id || ' names another owner or seller than its wallet at tier ' || a.tier
        FROM hold_amounts a JOIN wallets w ON w.id = a.wallet_id
        WHERE (a.root_id, a.organization_id, a.seller_id) <> (w.root_id, w.organization_id, w.seller_id)
        UNION ALL
        SELECT 'adjustment ' || a.id || ' names another owner or seller than its wallet'
        FROM adjustments a JOIN wallets w ON w.id = a.wallet_id
        WHERE (a.root_id, a.organization_id, a.seller_id) <> (w.root_id, w.organization_id, w.seller_id)
        UNION ALL
        SELECT 'transaction ' || t.id || ' has lines in another root'
        FROM transactions t JOIN lines l ON l.transaction_id = t.id WHERE l.root_id <> t.root_id
    """,
    "orders": """
        SELECT 'order ' || o.number || ': its tiers do not begin with its own buyer and seller' AS what
        FROM orders o JOIN order_item_tiers t ON t.order_id = o.id AND t.tier = 1
        WHERE (t.root_id, t.buyer_id, t.seller_id) <> (o.root_id, o.organization_id, o.seller_id)
        UNION ALL
        SELECT 'order ' || t.order_id || ': the seller of tier ' || t.tier || ' is not the buyer of the next'
        FROM order_item_tiers t JOIN order_item_tiers n
            ON n.order_id = t.order_id AND n.position = t.position AND n.tier = t.tier + 1
        WHERE n.buyer_id <> t.seller_id
        UNION ALL
        SELECT 'order ' || i.order_id || ': its item ' || i.position || ' is of another organization'
        FROM order_items i JOIN orders o ON o.id = i.order_id
        WHERE (i.root_id, i.organization_id) <> (o.root_id, o.organization_id)
    """,
    "documents": """
        SELECT 'delivery of ' || d.number || ' is in another root' AS what
        FROM deliveries x JOIN documents d ON d.id = x.document_id WHERE x.root_id <> d.root_id
        UNION ALL
        SELECT 'delivery of notice ' || n.id || ' is in another root'
        FROM deliveries x JOIN notices n ON n.id = x.notice_id WHERE x.root_id <> n.root_id
        UNION ALL
        SELECT 'manifest line of ' || d.number || ' is in another root'
        FROM manifest m JOIN documents d ON d.id = m.document_id WHERE m.root_id <> d.root_id
    """,
}


async def tenants_apart(evidence: Evidence, findings: Findings) -> None:
    """16: roots of rows are those of their organizations; each copy of the tree says the same."""
    await _same_tree(evidence, findings)
    async for row in evidence.rows("wallet", _BROKEN_TREE):
        findings.fault(f"{row['domain']}: its root or its ancestors are not those of its parent")
    for service, columns in _OWNERS.items():
        for place in columns:
            await _roots(evidence, findings, service, place, "o.root_id <> r.root_id")
    for service, columns in _SELLERS.items():
        for place in columns:
            elsewhere = "o.root_id <> r.root_id AND o.parent_id IS NOT NULL"
            await _roots(evidence, findings, service, place, elsewhere)
    for service, query in _SELLS_TO_ITSELF.items():
        wrong = await evidence.value(service, query)
        findings.expect(wrong == 0, f"{service}: {wrong} rows whose buyer is its own seller")
    for service, query in _STRAY.items():
        async for row in evidence.rows(service, query):
            findings.fault(f"{service}: {row['what']}")


async def _same_tree(evidence: Evidence, findings: Findings) -> None:
    copies = [evidence.rows(service, _COPY) for service in SERVICES]
    ours = SERVICES.index("wallet")
    async for organization_id, groups in side_by_side(*copies):
        findings.count("organizations")
        if not groups[ours]:
            findings.fault(f"organization {organization_id} is copied, but wallet does not have it")
            continue
        original = groups[ours][0]
        for service, rows in zip(SERVICES, groups, strict=True):
            findings.count("copies")
            if not rows:
                findings.fault(f"{original['domain']} is not in the tree of {service}")
                continue
            differing = [name for name in _COMPARED if rows[0][name] != original[name]]
            if rows[0]["resource"] != original["resource"]:
                same = Organization.FromString(rows[0]["resource"]) == Organization.FromString(original["resource"])
                differing += [] if same else ["resource"]
            if differing:
                findings.fault(f"{original['domain']} differs in the tree of {service}: {', '.join(differing)}")


async def _roots(evidence: Evidence, findings: Findings, service: str, place: tuple[str, str], elsewhere: str) -> None:
    table, column = place
    findings.count("rows", await evidence.value(service, f"SELECT count(*) FROM {table}"))  # noqa: S608 - our names
    query = (
        f"SELECT r.{column} AS organization_id, r.root_id, o.root_id AS lives_in, count(*) AS count "  # noqa: S608
        f"FROM {table} r LEFT JOIN organizations o ON o.id = r.{column} "
        f"WHERE o.id IS NULL OR ({elsewhere}) GROUP BY 1, 2, 3"
    )
    async for row in evidence.rows(service, query):
        findings.fault(
            f"{service}: {row['count']} of {table} in root {row['root_id']} name {column} {row['organization_id']}, "
            f"which lives in {row['lives_in'] or 'no root at all'}"
        )

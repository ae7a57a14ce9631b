"""Invariant 18: what people must hear of is told them by mail, once to each side."""

from collections.abc import Mapping
from typing import Any

from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1.organizations_pb2 import MEMBER_ROLE_BOSS, MEMBER_ROLE_FINANCE

from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.mails import addresses, check_sent
from farthing_cli.verify.merge import side_by_side

_EVENTS = "SELECT event_id AS key, root_id, payload FROM outbox WHERE topic = $1 ORDER BY event_id"
_NOTICES = """
SELECT n.event_id AS key, n.root_id, n.id, n.audience, n.kind, n.organization_id, n.issuer_id, n.order_id,
       x.state, x.message_id, x.recipients, x.accepted, x.refused, s.resource AS recipient
FROM notices n
LEFT JOIN deliveries x ON x.root_id = n.root_id AND x.notice_id = n.id
LEFT JOIN snapshots s ON s.root_id = n.root_id AND s.organization_id = n.organization_id
    AND s.version = n.organization_version
ORDER BY n.event_id
"""
# Heard by a release that knew no notices.
_BEFORE = """
SELECT event_id AS key FROM inbox
WHERE consumer IN ('documents.wallet', 'documents.orders') AND processed_at < notices_since() ORDER BY event_id
"""
# What is told, by the name of the event; see `_is_told`.
_TOLD = frozenset(
    {
        "balance_low",
        "top_up_failed",
        "adjustment_posted",
        "order_refunded",
        "order_canceled",
        "order_payment_kept",
    }
)


async def told_once(evidence: Evidence, findings: Findings) -> None:
    """18: each event of `_TOLD` has one notice a side, each sent one is with whom it is for, once; no other notices.

    What was heard before an installation had notices has none.
    """
    streams = (
        evidence.rows("wallet", _EVENTS, "farthing.wallet.v1"),
        evidence.rows("orders", _EVENTS, "farthing.orders.v1"),
        evidence.rows("documents", _NOTICES),
        evidence.rows("documents", _BEFORE),
    )
    async for event_id, (of_wallet, of_orders, notices, before) in side_by_side(*streams):
        events: list[WalletEvent | OrdersEvent] = [WalletEvent.FromString(row["payload"]) for row in of_wallet]
        events += [OrdersEvent.FromString(row["payload"]) for row in of_orders]
        told = [event for event in events if _is_told(event)]
        if not told:
            for notice in notices:
                findings.fault(f"notice {notice['id']} tells of event {event_id}, which is nothing to tell or unknown")
            continue
        if before and not notices:
            findings.count("events from before there were notices")
            continue
        findings.count("events to tell")
        _check(evidence, findings, told[0], notices)


def _is_told(event: Any) -> bool:
    """One thing is told once: a failed top-up for an order by OrderCanceled, a canceled order whose money came by
    OrderPaymentKept."""
    name = event.WhichOneof("event")
    if name == "top_up_failed" and event.top_up_failed.top_up.order_id:
        return False
    if name == "order_canceled" and event.order_canceled.order.payment.HasField("received_at"):
        return False
    return name in _TOLD


def _check(evidence: Evidence, findings: Findings, event: Any, notices: list[Any]) -> None:
    name = event.WhichOneof("event")
    told = getattr(event, name)
    wanted = _sides(name, told)
    for audience, (organization_id, people) in wanted.items():
        mine = [notice for notice in notices if notice["audience"] == audience]
        what = f"{name} of {told.root_id} to the {audience.lower()} {organization_id}"
        if len(mine) != 1:
            findings.fault(f"{what} is told by {len(mine)} notices, not one")
            continue
        findings.count("notices")
        _check_notice(evidence, findings, what, mine[0], expected=(name, told.root_id, organization_id), people=people)
    for notice in notices:
        if notice["audience"] not in wanted:
            findings.fault(f"{name} of {told.root_id} is told to the {notice['audience'].lower()}, whom it is not for")


def _check_notice(
    evidence: Evidence,
    findings: Findings,
    what: str,
    notice: Any,
    *,
    expected: tuple[str, str, str],
    people: list[str],
) -> None:
    found = (notice["kind"].lower(), str(notice["root_id"]), str(notice["organization_id"]))
    findings.expect(found == expected, f"{what}: its notice is {found}, not {expected}")
    if notice["state"] == "FAILED":
        # Refused by all, or there is nobody to write to: seen in ListNotices, not hidden.
        findings.count("notices that nobody took")
        findings.expect(not notice["accepted"], f"{what} is failed, but was taken by {notice['accepted']}")
        return
    if notice["state"] != "SENT":
        findings.fault(f"{what} is not sent: {notice['state'] or 'it has no delivery'}")
        return
    roles = (MEMBER_ROLE_BOSS, MEMBER_ROLE_FINANCE) if notice["kind"] == "BALANCE_LOW" else (MEMBER_ROLE_BOSS,)
    check_sent(evidence, findings, what, notice, [*people, *addresses(notice["recipient"], roles)], sha256=None)


def _sides(name: str, told: Any) -> Mapping[str, tuple[str, list[str]]]:
    """Audience -> (its organization, those who bought or asked)."""
    if name == "balance_low":
        return {"BUYER": (told.organization_id, [])}
    if name == "top_up_failed":
        return {"BUYER": (told.top_up.organization_id, [told.top_up.created_by_email])}
    if name == "adjustment_posted":
        return {"BUYER": (told.adjustment.organization_id, [])}
    to_buyer = (told.order.organization_id, [told.order.paying_user_email])
    if name == "order_payment_kept":
        return {"BUYER": to_buyer, "SELLER": (told.order.seller_id, [])}
    return {"BUYER": to_buyer}

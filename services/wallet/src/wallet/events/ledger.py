"""What the ledger tells the other services."""

from typing import NamedTuple
from uuid import UUID

from farthing.wallet.events.v1.events_pb2 import WalletEvent
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.ids import new_id

from wallet.domain.ledger import Charge, LineType, Posted, Refund

TOPIC = "farthing.wallet.v1"
_EXPENSE = int(LineType.EXPENSE)
_SYSTEM = int(LineType.SYSTEM)


class EventRow(NamedTuple):
    """A row of the outbox, without its topic."""

    root_id: UUID
    event_id: UUID
    key: str
    payload: bytes
    traceparent: str | None


def charge_posted(charge: Charge, posted: Posted, posted_at: Timestamp, traceparent: str | None) -> EventRow:
    """ChargePosted, for the purchaser. `posted_at` is that of the whole batch, converted once."""
    event = WalletEvent()
    fact = event.charge_posted
    fact.root_id = str(charge.root_id)
    fact.transaction_id = str(posted.transaction_id)
    fact.currency = charge.currency
    if charge.order_id is not None:
        fact.order_id = str(charge.order_id)
    fact.order_number = charge.order_number
    fact.item = charge.item
    fact.cloud_phone_id = charge.cloud_phone_id
    fact.posted_at.CopyFrom(posted_at)
    expenses = [line for line in posted.lines if line.type == _EXPENSE]
    for tier, line in zip(charge.tiers, expenses, strict=True):
        # Field by field: as keywords they take half as long again.
        told = fact.tiers.add()
        told.buyer_id = str(tier.buyer_id)
        told.seller_id = str(tier.seller_id)
        told.wallet_id = str(line.wallet_id)
        told.net_micros = tier.net_micros
        told.tax_micros = tier.tax_micros
        told.sequence = line.sequence
        told.balance_after_micros = line.balance_after_micros
    purchaser = str(charge.tiers[0].buyer_id)
    return EventRow(charge.root_id, new_id(), purchaser, event.SerializeToString(), traceparent)


def refund_posted(refund: Refund, posted: Posted, reason: str, traceparent: str | None) -> EventRow:
    """RefundPosted, for the purchaser."""
    original = refund.original
    event = WalletEvent()
    fact = event.refund_posted
    fact.root_id = str(original.root_id)
    fact.transaction_id = str(posted.transaction_id)
    fact.original_transaction_id = str(original.id)
    fact.currency = original.currency
    fact.order_id = str(original.order_id or "")
    fact.order_number = original.order_number
    fact.item = original.item
    fact.reason = reason
    fact.posted_at.FromDatetime(posted.posted_at)
    lines = {line.tier: line for line in posted.lines if line.type == _SYSTEM}
    for number, tier in enumerate(refund.tiers, 1):
        fact.tiers.add(
            buyer_id=str(tier.buyer_id),
            seller_id=str(tier.seller_id),
            wallet_id=str(lines[number].wallet_id),
            net_micros=tier.net_micros,
            tax_micros=tier.tax_micros,
            sequence=lines[number].sequence,
            balance_after_micros=lines[number].balance_after_micros,
        )
    return EventRow(original.root_id, new_id(), str(original.organization_id), event.SerializeToString(), traceparent)

"""What the other services learn of top-ups: those whose money is here, and those whose money will not come."""

from datetime import datetime

from farthing.wallet.events.v1.events_pb2 import TopUpFailed, TopUpSettled, WalletEvent
from servicekit.outbox import OutboxEvent

from wallet.convert.top_ups import top_up_to_message
from wallet.domain.ledger import Posted
from wallet.domain.top_ups import TopUp
from wallet.events.ledger import TOPIC


def top_up_settled(top_up: TopUp, posted: Posted) -> OutboxEvent:
    """A top-up is on the wallet, as the line that `posted` has just written."""
    fact = TopUpSettled(
        root_id=str(top_up.root_id),
        top_up=top_up_to_message(top_up),
        seller_id=str(top_up.seller_id),
        sequence=posted.lines[0].sequence,
        balance_after_micros=posted.balance_after_micros,
    )
    fact.posted_at.FromDatetime(posted.posted_at)
    return OutboxEvent(top_up.root_id, TOPIC, top_up.organization_id, WalletEvent(top_up_settled=fact))


def top_up_failed(top_up: TopUp, failed_at: datetime, next_attempt_at: datetime | None = None) -> OutboxEvent:
    """A top-up will not come; an automatic one is tried again at `next_attempt_at`, where it is."""
    fact = TopUpFailed(root_id=str(top_up.root_id), top_up=top_up_to_message(top_up), seller_id=str(top_up.seller_id))
    fact.failed_at.FromDatetime(failed_at)
    if next_attempt_at is not None:
        fact.next_attempt_at.FromDatetime(next_attempt_at)
    return OutboxEvent(top_up.root_id, TOPIC, top_up.organization_id, WalletEvent(top_up_failed=fact))

"""What the other services learn of adjustments: those that are in the ledger."""

from farthing.wallet.events.v1.events_pb2 import AdjustmentPosted, WalletEvent
from servicekit.outbox import OutboxEvent

from wallet.convert.adjustments import adjustment_to_message
from wallet.domain.adjustments import Adjustment
from wallet.domain.ledger import Posted
from wallet.events.ledger import TOPIC


def adjustment_posted(adjustment: Adjustment, posted: Posted) -> OutboxEvent:
    """An adjustment is on the wallet, as the line that `posted` has just written."""
    fact = AdjustmentPosted(
        root_id=str(adjustment.root_id),
        adjustment=adjustment_to_message(adjustment),
        sequence=posted.lines[0].sequence,
        balance_after_micros=posted.balance_after_micros,
    )
    fact.posted_at.FromDatetime(posted.posted_at)
    return OutboxEvent(adjustment.root_id, TOPIC, adjustment.organization_id, WalletEvent(adjustment_posted=fact))

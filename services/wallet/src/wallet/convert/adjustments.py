"""Adjustment -> farthing.wallet.v1.Adjustment."""

from farthing.wallet.v1 import adjustments_pb2 as pb
from money.messages import money_to_message

from wallet.domain.adjustments import Adjustment


def adjustment_to_message(adjustment: Adjustment) -> pb.Adjustment:
    """Writes an adjustment."""
    message = pb.Adjustment(
        id=str(adjustment.id),
        state=pb.Adjustment.State.ValueType(adjustment.state),
        wallet_id=str(adjustment.wallet_id),
        organization_id=str(adjustment.organization_id),
        seller_id=str(adjustment.seller_id),
        amount=money_to_message(adjustment.amount.currency, adjustment.amount.micros),
        reason=adjustment.reason,
        original_transaction_id=str(adjustment.original_id or ""),
        author_subject=adjustment.author.subject,
        author_name=adjustment.author.name,
        reviewer_subject=adjustment.reviewer.subject,
        reviewer_name=adjustment.reviewer.name,
        review_note=adjustment.review_note,
        transaction_id=str(adjustment.transaction_id or ""),
    )
    message.created_at.FromDatetime(adjustment.created_at)
    if adjustment.ended_at is not None:
        message.ended_at.FromDatetime(adjustment.ended_at)
    return message

"""Hold <-> farthing.wallet.v1.Hold."""

from datetime import timedelta
from uuid import UUID

from farthing.wallet.v1 import holds_pb2 as pb

from wallet.convert.ledger import refusal_to_message
from wallet.domain.holds import Hold, Portion, Wanted
from wallet.domain.ledger import Refusal


def wanted_from_message(request: pb.CreateHoldRequest, root_id: UUID) -> Wanted:
    """What a service asks to set aside, in the root of the purchaser."""
    return Wanted(
        root_id=root_id,
        currency=request.currency,
        portions=tuple(Portion(UUID(tier.organization_id), tier.amount_micros) for tier in request.tiers),
        ttl=timedelta(seconds=request.ttl.seconds, microseconds=request.ttl.nanos // 1000),
        item=request.item,
        order_id=UUID(request.order_id) if request.order_id else None,
        order_number=request.order_number,
        cloud_phone_id=request.cloud_phone_id,
    )


def hold_to_message(hold: Hold) -> pb.Hold:
    """Writes a hold with the amounts that were read."""
    message = pb.Hold(
        id=str(hold.id),
        state=pb.Hold.State.ValueType(hold.state),
        organization_id=str(hold.organization_id),
        currency=hold.currency,
        item=hold.item,
        order_id=str(hold.order_id or ""),
        order_number=hold.order_number,
        cloud_phone_id=hold.cloud_phone_id,
    )
    for amount in hold.amounts:
        message.amounts.add(
            organization_id=str(amount.organization_id),
            wallet_id=str(amount.wallet_id),
            held_micros=amount.held_micros,
            captured_micros=amount.captured_micros,
        )
    message.created_at.FromDatetime(hold.created_at)
    message.expires_at.FromDatetime(hold.expires_at)
    if hold.ended_at is not None:
        message.ended_at.FromDatetime(hold.ended_at)
    return message


def created_to_message(outcome: Hold | Refusal) -> pb.CreateHoldResponse:
    """What became of CreateHold."""
    if isinstance(outcome, Refusal):
        return pb.CreateHoldResponse(refusal=refusal_to_message(outcome))
    return pb.CreateHoldResponse(hold=hold_to_message(outcome))

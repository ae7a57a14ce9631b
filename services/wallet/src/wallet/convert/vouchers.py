"""VoucherLot -> farthing.wallet.v1.VoucherLot."""

from farthing.wallet.v1 import vouchers_pb2
from money.messages import money_to_message

from wallet.domain.vouchers import VoucherLot


def lot_to_message(lot: VoucherLot) -> vouchers_pb2.VoucherLot:
    """Writes a lot, without its codes."""
    message = vouchers_pb2.VoucherLot(
        id=str(lot.id),
        seller_id=str(lot.seller_id),
        name=lot.name,
        amount=money_to_message(lot.amount.currency, lot.amount.micros),
        count=lot.count,
        redeemed_count=lot.redeemed_count,
        created_by_name=lot.created_by_name,
    )
    message.created_at.FromDatetime(lot.created_at)
    message.expires_at.FromDatetime(lot.expires_at)
    if lot.voided_at is not None:
        message.voided_at.FromDatetime(lot.voided_at)
    return message

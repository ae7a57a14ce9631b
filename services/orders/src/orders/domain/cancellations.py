"""Why an order was canceled, in words: each reader hears what is its to hear."""

from datetime import UTC
from uuid import UUID

from money import format_money

from orders.domain.orders import CancelCause, Cancellation, Order, PaymentMethod, Refusal

CANNOT_SELL = (
    "This purchase cannot be made at the moment: your seller cannot sell it right now. "
    "Nothing was charged. Try again later, or ask your seller."
)
"""All that a buyer learns where something is wrong above its own tier."""

CANNOT_SELL_WHEN_PAID = (
    "Your seller could not sell this any more when the payment arrived. The money is on the purchaser's balance. "
    "Order again later from it, or ask your seller."
)
"""The same, of an order whose payment came from outside."""

CHAIN_CHANGED = (
    "Your place among your sellers changed while the order was being paid. "
    "Nothing was charged. Place the order again in a moment."
)

CHAIN_CHANGED_WHEN_PAID = (
    "Your place among your sellers changed while the order was being paid. "
    "The money is on the purchaser's balance. Order again from it."
)
"""The same, of an order whose payment came from outside."""

_WAYS = {PaymentMethod.BANK_TRANSFER: "by bank transfer", PaymentMethod.SANDBOX: "in the sandbox"}


def told_reason(refusal: Refusal) -> str:
    """The reason code for a reader: a name of farthing.errors.v1.ErrorReason without its prefix.

    The refusal is as that reader may see it: without organization and wallet where they are not its to see.
    """
    if refusal.reason == "CHAIN_MISMATCH":
        return refusal.reason
    if refusal.reason == "INSUFFICIENT_CREDIT" and refusal.organization_id is not None:
        return refusal.reason
    return "SELLER_CANNOT_SELL"


def cancel_reason(order: Order) -> str:
    """The reason code of a refused order for its reader; empty where it was not refused."""
    if order.refusal is None:
        return ""
    return order.refusal.reason if order.cancellation else told_reason(order.refusal)


def told_text(order: Order, refusal: Refusal, viewer_id: UUID | None) -> str:
    """Why the order was refused, in words for a member of `viewer_id` (None: one of our services)."""
    arrived = order.payment is not None and order.payment.received_at is not None
    match told_reason(refusal):
        case "INSUFFICIENT_CREDIT":
            kept = "The money that arrived is on the purchaser's balance." if arrived else "Nothing was charged."
            return (
                f"{_whose_wallet(order, refusal, viewer_id)} lacks credit: "
                f"{format_money(refusal.needed_micros, order.currency)} needed, "
                f"{format_money(refusal.available_micros, order.currency)} available. "
                f"{kept} Top it up, then order again."
            )
        case "CHAIN_MISMATCH":
            return CHAIN_CHANGED if not arrived else CHAIN_CHANGED_WHEN_PAID
        case _:
            return CANNOT_SELL if not arrived else CANNOT_SELL_WHEN_PAID


def cancel_text(order: Order, viewer_id: UUID | None) -> str:
    """Why the order was canceled, in words for a member of `viewer_id`; empty where it was not."""
    if order.cancellation is not None:
        return _ended_text(order, order.cancellation)
    return told_text(order, order.refusal, viewer_id) if order.refusal is not None else ""


def _ended_text(order: Order, ended: Cancellation) -> str:
    match ended.cause:
        case CancelCause.PURCHASER:
            return _called_off_text(ended.person_name or "a member of the purchaser", ended.note)
        case CancelCause.SELLER:
            return _called_off_text("the seller", ended.note)
        case CancelCause.SERVICE:
            return f"Canceled automatically: {ended.note}" if ended.note else "Canceled automatically."
        case CancelCause.NOT_PAID:
            due_at = order.payment.due_at.astimezone(UTC) if order.payment else order.created_at
            return f"Not paid by {due_at.day} {due_at:%B %Y, %H:%M} UTC."
        case CancelCause.PAYMENT_FAILED:
            return f"The payment failed: {ended.note}" if ended.note else "The payment failed."
        case CancelCause.PAYMENT_NOT_OFFERED:
            way = _WAYS.get(order.payment_method, "through a payment provider")
            return (
                f"The seller takes no payment {way} for this order at the moment. "
                "Nothing was charged. Order again and pay another way, or ask the seller."
            )


def _called_off_text(by: str, note: str) -> str:
    return f"Canceled by {by}: {note}" if note else f"Canceled by {by}."


def _whose_wallet(order: Order, refusal: Refusal, viewer_id: UUID | None) -> str:
    if refusal.organization_id == viewer_id:
        return "Your wallet"
    return "The purchaser's wallet" if refusal.organization_id == order.organization_id else "A reseller's wallet"

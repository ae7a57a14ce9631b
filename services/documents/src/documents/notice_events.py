"""Events to notices, and notices to what their mails say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import wallets_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from servicekit.ids import id_in

from documents.convert import exact_money
from documents.domain import Audience, Notice, NoticeKind
from documents.notice_causes import Cause
from documents.views import NoticeView

_Ended = orders_pb2.OrderCancellation
_CAUSES = {
    _Ended.CAUSE_PURCHASER: Cause.CALLED_OFF,
    _Ended.CAUSE_SELLER: Cause.CALLED_OFF_BY_SELLER,
    _Ended.CAUSE_SERVICE: Cause.CALLED_OFF_BY_SERVICE,
    _Ended.CAUSE_NOT_PAID: Cause.NOT_PAID,
    _Ended.CAUSE_PAYMENT_FAILED: Cause.PAYMENT_FAILED,
    _Ended.CAUSE_PAYMENT_NOT_OFFERED: Cause.PAYMENT_NOT_OFFERED,
    _Ended.CAUSE_INSUFFICIENT_CREDIT: Cause.INSUFFICIENT_CREDIT,
    _Ended.CAUSE_CHAIN_CHANGED: Cause.CHAIN_CHANGED,
    _Ended.CAUSE_SELLER_CANNOT_SELL: Cause.CANNOT_SELL,
}
_FAILURES = {
    wallets_pb2.TOP_UP_FAILURE_DECLINED: Cause.DECLINED,
    wallets_pb2.TOP_UP_FAILURE_INSUFFICIENT_FUNDS: Cause.INSUFFICIENT_FUNDS,
    wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED: Cause.CARD_EXPIRED,
    wallets_pb2.TOP_UP_FAILURE_AUTHENTICATION_REQUIRED: Cause.AUTHENTICATION_REQUIRED,
    wallets_pb2.TOP_UP_FAILURE_CHECKOUT_ABANDONED: Cause.CHECKOUT_ABANDONED,
    wallets_pb2.TOP_UP_FAILURE_METHOD_UNUSABLE: Cause.METHOD_UNUSABLE,
    wallets_pb2.TOP_UP_FAILURE_SELLER_CHANGED: Cause.SELLER_CHANGED,
    wallets_pb2.TOP_UP_FAILURE_CANCELED: Cause.PAYMENT_CALLED_OFF,
}


def notices_of_wallet(event: WalletEvent, event_id: UUID, published_at: datetime) -> tuple[Notice, ...]:
    """Whom the event is to be told; nobody, for most. ValueError where it names nobody.

    `published_at` stands in where the event itself has no instant.
    """
    match event.WhichOneof("event"):
        case "balance_low":
            low = event.balance_low
            kind, root_id, at = NoticeKind.BALANCE_LOW, id_in(low, "root_id"), low.fell_at
            recipient_id, issuer_id = id_in(low, "organization_id"), id_in(low, "seller_id")
        case "top_up_failed":
            failed = event.top_up_failed
            if failed.top_up.order_id:
                # OrderCanceled tells of it.
                return ()
            kind, root_id, at = NoticeKind.TOP_UP_FAILED, id_in(failed, "root_id"), failed.failed_at
            recipient_id, issuer_id = id_in(failed.top_up, "organization_id"), id_in(failed, "seller_id")
        case "adjustment_posted":
            posted = event.adjustment_posted
            kind, root_id, at = NoticeKind.ADJUSTMENT_POSTED, id_in(posted, "root_id"), posted.posted_at
            recipient_id, issuer_id = id_in(posted.adjustment, "organization_id"), id_in(posted.adjustment, "seller_id")
        case _:
            return ()
    top_up = event.top_up_failed.top_up
    return (
        Notice(
            kind=kind,
            audience=Audience.BUYER,
            root_id=root_id,
            event_id=event_id,
            recipient_id=recipient_id,
            issuer_id=issuer_id,
            occurred_at=_time(at) or published_at,
            event=event.SerializeToString(deterministic=True),
            order_id=_id(top_up, "order_id"),
            order_number=top_up.order_number,
            top_up_id=_id(top_up, "id"),
        ),
    )


def notices_of_orders(event: OrdersEvent, event_id: UUID, published_at: datetime) -> tuple[Notice, ...]:
    """Whom the event is to be told; nobody, for most. ValueError where it names nobody.

    `published_at` stands in where the event itself has no instant.
    """
    match event.WhichOneof("event"):
        case "order_refunded":
            refunded = event.order_refunded
            kind, root_id, order = NoticeKind.ORDER_REFUNDED, id_in(refunded, "root_id"), refunded.order
            at = refunded.refund.posted_at
        case "order_canceled":
            canceled = event.order_canceled
            if canceled.order.payment.HasField("received_at"):
                # OrderPaymentKept tells of it.
                return ()
            kind, root_id, order = NoticeKind.ORDER_CANCELED, id_in(canceled, "root_id"), canceled.order
            at = order.canceled_at
        case "order_payment_kept":
            kept = event.order_payment_kept
            kind, root_id, order = NoticeKind.ORDER_PAYMENT_KEPT, id_in(kept, "root_id"), kept.order
            at = kept.received_at
        case _:
            return ()
    to_buyer = Notice(
        kind=kind,
        audience=Audience.BUYER,
        root_id=root_id,
        event_id=event_id,
        recipient_id=id_in(order, "organization_id"),
        issuer_id=id_in(order, "seller_id"),
        occurred_at=_time(at) or published_at,
        event=event.SerializeToString(deterministic=True),
        order_id=id_in(order, "id"),
        order_number=order.number,
        top_up_id=_id(event.order_payment_kept, "top_up_id"),
    )
    if kind is not NoticeKind.ORDER_PAYMENT_KEPT:
        return (to_buyer,)
    # In the seller's own name: who buys from it does not see what it is told.
    return to_buyer, replace(to_buyer, audience=Audience.SELLER, recipient_id=to_buyer.issuer_id)


def notice_view(kind: NoticeKind, audience: Audience, event: bytes) -> NoticeView:
    """What a notice says. ValueError where its amounts are none."""
    match kind:
        case NoticeKind.BALANCE_LOW:
            low = WalletEvent.FromString(event).balance_low
            currency = low.threshold.currency_code
            threshold = exact_money(low.threshold)
            view = _view(kind, audience, low.available, currency)
            return replace(view, threshold_micros=threshold.micros)
        case NoticeKind.TOP_UP_FAILED:
            failed = WalletEvent.FromString(event).top_up_failed
            cause = _FAILURES.get(failed.top_up.failure)
            return replace(
                _view(kind, audience, failed.top_up.amount),
                person_name=failed.top_up.created_by_name,
                person_email=failed.top_up.created_by_email,
                order_number=failed.top_up.order_number,
                cause=cause,
                reason="" if cause else failed.top_up.failure_reason,
                automatic=failed.top_up.automatic,
                next_attempt_at=_time(failed.next_attempt_at),
            )
        case NoticeKind.ADJUSTMENT_POSTED:
            adjustment = WalletEvent.FromString(event).adjustment_posted.adjustment
            return replace(_view(kind, audience, adjustment.amount), reason=adjustment.reason)
        case NoticeKind.ORDER_REFUNDED:
            refunded = OrdersEvent.FromString(event).order_refunded
            view = _view_of_order(kind, audience, refunded.order, refunded.refund.total)
            items = tuple(_item(line) for line in refunded.refund.lines)
            return replace(view, items=items, reason=refunded.refund.reason)
        case NoticeKind.ORDER_CANCELED:
            order = OrdersEvent.FromString(event).order_canceled.order
            return _with_cause(_view_of_order(kind, audience, order, order.total), order)
        case NoticeKind.ORDER_PAYMENT_KEPT:
            kept = OrdersEvent.FromString(event).order_payment_kept
            return _with_cause(_view_of_order(kind, audience, kept.order, kept.amount), kept.order)


def _view(kind: NoticeKind, audience: Audience, amount: MoneyMessage, currency: str = "") -> NoticeView:
    money = exact_money(amount, currency)
    return NoticeView(kind, audience, money.currency, money.micros)


def _view_of_order(kind: NoticeKind, audience: Audience, order: orders_pb2.Order, amount: MoneyMessage) -> NoticeView:
    return replace(
        _view(kind, audience, amount, order.total.currency_code),
        person_name=order.paying_user_name,
        person_email=order.paying_user_email,
        order_number=order.number,
    )


def _with_cause(view: NoticeView, order: orders_pb2.Order) -> NoticeView:
    ended = order.cancellation
    cause = _CAUSES.get(ended.cause)
    if cause is None:
        return replace(view, reason=order.cancel_reason)
    if cause is Cause.CALLED_OFF and not ended.person_name:
        cause = Cause.CALLED_OFF_BY_BUYER
    if cause is Cause.PAYMENT_FAILED:
        cause = _FAILURES.get(ended.payment_failure, cause)
    if cause is Cause.CANNOT_SELL and view.audience is Audience.SELLER:
        cause = Cause.COULD_NOT_SELL
    return replace(
        view,
        cause=cause,
        reason=ended.note,
        canceler_name=ended.person_name,
        due_at=_time(order.payment.due_at),
        needed_micros=exact_money(ended.needed, view.currency).micros,
        available_micros=exact_money(ended.available, view.currency).micros,
    )


def _item(line: orders_pb2.RefundedLine) -> str:
    return f"{line.quantity} × {line.product_name}" if line.quantity else line.product_name


def _id(message: Message, field: str) -> UUID | None:
    return id_in(message, field) if getattr(message, field) else None


def _time(at: Timestamp) -> datetime | None:
    if at.seconds < 0:
        raise ValueError(f"{at.ToJsonString()} is before 1970; nothing that a notice tells of was then")
    return at.ToDatetime(tzinfo=UTC) if at.seconds else None

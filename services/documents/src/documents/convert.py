"""Events to receipts, receipts to views, rows to messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from directory.domain import Organization
from farthing.documents.v1 import documents_pb2 as messages
from farthing.orders.events.v1.events_pb2 import OrderCompleted
from farthing.orders.v1 import orders_pb2
from farthing.wallet.events.v1.events_pb2 import TopUpSettled
from farthing.wallet.v1 import wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from money import Money
from money.messages import money_from_message, money_to_message
from servicekit.ids import id_in

from documents.domain import MEDIA_TYPE, DocumentType, Source, file_name
from documents.languages import supported_language
from documents.letters import LETTERS
from documents.views import IssuerView, LineView, ReceiptKind, ReceiptView, RecipientView

_PAYMENT_METHODS = {
    orders_pb2.PAYMENT_METHOD_UNSPECIFIED: "BALANCE",
    orders_pb2.PAYMENT_METHOD_BALANCE: "BALANCE",
    orders_pb2.PAYMENT_METHOD_BANK_TRANSFER: "BANK_TRANSFER",
    orders_pb2.PAYMENT_METHOD_PROVIDER: "CARD",
    orders_pb2.PAYMENT_METHOD_SANDBOX: "CARD",
}
_TOP_UP_METHODS = {
    wallets_pb2.TOP_UP_METHOD_MANUAL: "BANK_TRANSFER",
    wallets_pb2.TOP_UP_METHOD_SANDBOX: "CARD",
    wallets_pb2.TOP_UP_METHOD_PROVIDER: "CARD",
    wallets_pb2.TOP_UP_METHOD_VOUCHER: "VOUCHER",
}


def source_of_order(event: OrderCompleted) -> Source:
    """What the receipt of a purchase is made from. ValueError where the event cannot be one."""
    order = event.order
    return Source(
        type=DocumentType.PURCHASE_RECEIPT,
        root_id=id_in(event, "root_id"),
        source_id=id_in(order, "id"),
        issuer_id=id_in(order, "seller_id"),
        recipient_id=id_in(order, "organization_id"),
        order_number=order.number,
        total_micros=exact_money(order.total).micros,
        currency=order.total.currency_code,
        issued_at=_instant(order.paid_at, f"order {order.number}: paid_at"),
        payload=order.SerializeToString(deterministic=True),
    )


def source_of_top_up(event: TopUpSettled) -> Source:
    """What the receipt of a top-up is made from. ValueError where the event cannot be one."""
    top_up = event.top_up
    return Source(
        type=DocumentType.TOP_UP_RECEIPT,
        root_id=id_in(event, "root_id"),
        source_id=id_in(top_up, "id"),
        issuer_id=id_in(event, "seller_id"),
        recipient_id=id_in(top_up, "organization_id"),
        order_number="",
        total_micros=exact_money(top_up.amount).micros,
        currency=top_up.amount.currency_code,
        issued_at=_instant(event.posted_at, f"top-up {top_up.id}: posted_at"),
        payload=top_up.SerializeToString(deterministic=True),
    )


def receipt_view(
    document_type: DocumentType,
    payload: bytes,
    *,
    number: str,
    issued_at: datetime,
    issuer: Organization,
    recipient: Organization,
) -> ReceiptView:
    """What the receipt shows. ValueError where its amounts do not add up."""
    if document_type is DocumentType.PURCHASE_RECEIPT:
        order = orders_pb2.Order.FromString(payload)
        return ReceiptView(
            kind=ReceiptKind.PURCHASE,
            number=number,
            issued_at=issued_at,
            language=issuer.language,
            issuer=_issuer(issuer),
            recipient=_recipient(recipient, order.paying_user_name, order.paying_user_email),
            paid_at=issued_at,
            payment_method=_PAYMENT_METHODS.get(order.payment_method, ""),
            currency=order.total.currency_code,
            lines=tuple(_order_line(item, order.total.currency_code) for item in order.items),
            net_micros=exact_money(order.net, order.total.currency_code).micros,
            tax_micros=exact_money(order.tax, order.total.currency_code).micros,
            total_micros=exact_money(order.total).micros,
            ledger_transaction_id=order.transaction_id,
            order_number=order.number,
        )
    top_up = wallets_pb2.TopUp.FromString(payload)
    amount_micros = exact_money(top_up.amount).micros
    letter = LETTERS[supported_language(issuer.language)]
    line = LineView(
        description=letter.top_up_line,
        quantity=1,
        unit_price_micros=amount_micros,
        net_micros=amount_micros,
        details=(top_up.reference,) if top_up.reference else (),
    )
    return ReceiptView(
        kind=ReceiptKind.TOP_UP,
        number=number,
        issued_at=issued_at,
        language=issuer.language,
        issuer=_issuer(issuer),
        recipient=_recipient(recipient, top_up.created_by_name, top_up.created_by_email),
        paid_at=issued_at,
        payment_method=_TOP_UP_METHODS.get(top_up.method, ""),
        currency=top_up.amount.currency_code,
        lines=(line,),
        net_micros=amount_micros,
        tax_micros=0,
        total_micros=amount_micros,
        ledger_transaction_id=top_up.transaction_id,
    )


def purchaser_of(document_type: DocumentType, payload: bytes) -> tuple[str, str]:
    """Name and mailbox of the person who paid; either may be empty."""
    if document_type is DocumentType.PURCHASE_RECEIPT:
        order = orders_pb2.Order.FromString(payload)
        return order.paying_user_name, order.paying_user_email
    top_up = wallets_pb2.TopUp.FromString(payload)
    return top_up.created_by_name, top_up.created_by_email


def document_message(row: Mapping[str, Any]) -> messages.Document:
    """A row of documents with its delivery as the API shows it."""
    purchase = row["type"] == DocumentType.PURCHASE_RECEIPT
    return messages.Document(
        id=str(row["id"]),
        type=messages.DocumentType.Value(f"DOCUMENT_TYPE_{row['type']}"),
        state=messages.Document.State.Value(f"STATE_{row['state']}"),
        number=row["number"],
        issuer_id=str(row["issuer_id"]),
        issuer_name=row["issuer_name"],
        recipient_id=str(row["recipient_id"]),
        recipient_name=row["recipient_name"],
        order_id=str(row["source_id"]) if purchase else "",
        order_number=row["order_number"],
        top_up_id="" if purchase else str(row["source_id"]),
        total=money_to_message(row["currency"], row["total_micros"]),
        issued_at=_timestamp(row["issued_at"]),
        file_name=file_name(row["number"]),
        media_type=MEDIA_TYPE,
        size_bytes=row["size_bytes"] or 0,
        sha256=row["sha256"] or b"",
        object_key=row["object_key"] if row["object_version"] else "",
        object_version=row["object_version"] or "",
        retained_until=_timestamp(row["retained_until"]),
        delivery=_delivery_message(row) if row["delivery_state"] else None,
    )


def notice_to_message(row: Mapping[str, Any]) -> messages.Notice:
    """A row of notices with its delivery as the API shows it."""
    return messages.Notice(
        id=str(row["id"]),
        kind=messages.NoticeKind.Value(f"NOTICE_KIND_{row['kind']}"),
        organization_id=str(row["organization_id"]),
        issuer_id=str(row["issuer_id"]),
        subject=row["subject"],
        order_id=str(row["order_id"] or ""),
        order_number=row["order_number"],
        top_up_id=str(row["top_up_id"] or ""),
        occurred_at=_timestamp(row["occurred_at"]),
        delivery=_delivery_message(row),
    )


def _delivery_message(row: Mapping[str, Any]) -> messages.Delivery:
    return messages.Delivery(
        state=messages.Delivery.State.Value(f"STATE_{row['delivery_state']}"),
        recipients=row["recipients"],
        message_id=row["message_id"],
        attempts=row["delivery_attempts"],
        last_error=row["delivery_error"],
        next_attempt_at=_timestamp(row["delivery_next_attempt_at"]),
        sent_at=_timestamp(row["sent_at"]),
    )


def _order_line(item: orders_pb2.OrderItem, currency: str) -> LineView:
    name = " · ".join(part for part in (item.product_name, item.sku_name) if part)
    return LineView(
        description=name,
        quantity=item.quantity,
        unit_price_micros=exact_money(item.unit_price, currency).micros,
        net_micros=exact_money(item.net, currency).micros,
        tax_rate_ppm=item.tax_rate_ppm,
        tax_micros=exact_money(item.tax, currency).micros,
        tax_name=item.tax_name,
        details=(*item.contents, *(_proxy(proxy) for proxy in item.proxies)),
    )


def _proxy(proxy: orders_pb2.Proxy) -> str:
    address = f"[{proxy.address}]" if ":" in proxy.address else proxy.address
    parts = [f"{address}:{proxy.port}", proxy.location]
    if proxy.HasField("expires_at"):
        parts.append(f"→ {proxy.expires_at.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M} UTC")
    return " · ".join(part for part in parts if part)


def _issuer(issuer: Organization) -> IssuerView:
    return IssuerView(
        name=issuer.name,
        address_lines=issuer.address_lines,
        tax_id=issuer.tax_id,
        logo=issuer.logo or None,
        primary_colour=issuer.primary_color,
        accent_colour=issuer.accent_color,
        email=issuer.boss.email if issuer.boss else "",
        website=issuer.footer or issuer.domain,
    )


def _recipient(recipient: Organization, purchaser_name: str, purchaser_email: str) -> RecipientView:
    return RecipientView(
        name=recipient.name,
        address_lines=recipient.address_lines,
        tax_id=recipient.tax_id,
        purchaser_name=purchaser_name,
        purchaser_email=purchaser_email,
    )


def exact_money(message: MoneyMessage, currency: str = "") -> Money:
    """Exact micros; in `currency` where it is given (a zero amount may come without its code)."""
    if currency and message.currency_code not in ("", currency):
        raise ValueError(f"an amount is in {message.currency_code}, its document in {currency}: they must agree")
    return Money(message.currency_code or currency, money_from_message(message).micros)


def _instant(timestamp: Timestamp, what: str) -> datetime:
    if timestamp.seconds <= 0:
        raise ValueError(f"{what} is not set, or before 1970: a receipt needs the time of its payment")
    return timestamp.ToDatetime(tzinfo=UTC)


def _timestamp(instant: datetime | None) -> Timestamp | None:
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message

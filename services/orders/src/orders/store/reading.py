"""Rows of orders, read whole: with items, tiers, and what was given back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.catalogue import ProductType, Sku
from orders.domain.orders import (
    CancelCause,
    Cancellation,
    CloudPhone,
    Order,
    OrderItem,
    OrderState,
    Payer,
    Payment,
    PaymentMethod,
    Proxy,
    Refusal,
)
from orders.domain.pricing import NO_TAX, TaxRate, Tier, TierLine

COLUMNS = """
    root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name, payer_email,
    payment_method, currency, created_at, transaction_id, paid_at, canceled_at, refusal_reason, refusal_message,
    refusal_organization_id, refusal_wallet_id, refusal_available_micros, refusal_needed_micros,
    refusal_organization_id IS NOT NULL AND sees(refusal_organization_id) AS refusal_seen,
    refunded_micros, payment_token, payment_due_at, top_up_id, checkout_url, payment_received_at, received_micros,
    hold_id, payment_kept_at, top_up_ended_at, cancel_cause, canceled_by, cancel_note, cancel_failure,
    cloud_phone_id, cloud_phone_name, powered_up_at, powered_down_at, fee_count
"""
"""What `read_orders` needs of each row of `orders`.

What the reader's scope does not hold is not read: of a refusal, the wallet it was about.
"""
KEYS = "unnest(CAST(:root_ids AS uuid[]), CAST(:order_ids AS uuid[]))"
"""Keys of orders, as a FROM item of two columns: each is looked up, and nothing else."""
_ITEMS = text(f"""
    SELECT order_id, product_id, product_name, sku_id, sku_code, sku_name, unit, contents, quantity, proxies
    FROM {KEYS} AS k (root_id, order_id) JOIN order_items USING (root_id, order_id) ORDER BY order_id, position
""")  # noqa: S608
_LINES = text(f"""
    SELECT order_id, tier, position, buyer_id, seller_id, unit_price_micros, net_micros, tax_name, tax_rate_ppm,
           tax_micros
    FROM {KEYS} AS k (root_id, order_id) JOIN order_item_tiers USING (root_id, order_id)
    ORDER BY order_id, tier, position
""")  # noqa: S608
_REFUNDED = text(f"""
    SELECT r.order_id, r.tier, r.position, r.net_micros, r.tax_micros, r.quantity
    FROM {KEYS} AS k (root_id, order_id) CROSS JOIN LATERAL (
        SELECT * FROM refunded_lines WHERE root_id = k.root_id AND order_id = k.order_id
    ) AS r
""")  # noqa: S608
_FEES = text(f"""
    SELECT order_id, tier, buyer_id, seller_id,
           sum(net_micros)::bigint AS net_micros, sum(tax_micros)::bigint AS tax_micros
    FROM {KEYS} AS k (root_id, order_id) JOIN order_fee_tiers USING (root_id, order_id)
    GROUP BY order_id, tier, buyer_id, seller_id ORDER BY order_id, tier
""")  # noqa: S608


async def read_orders(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Order]:
    """The orders of `rows`, which have COLUMNS, in their order; with those tiers that the reader's scope holds."""
    if not rows:
        return []
    heads = [row._mapping for row in rows]
    key = {"root_ids": [head["root_id"] for head in heads], "order_ids": [head["id"] for head in heads]}
    items: dict[UUID, list[OrderItem]] = {head["id"]: [] for head in heads}
    for row in (await connection.execute(_ITEMS, key)).all():
        items[row.order_id].append(_item(row))
    tiers = await _tiers(connection, heads, key)
    return [_order(head, tuple(items[head["id"]]), tiers[head["id"]]) for head in heads]


_TierKey = tuple[int, UUID, UUID]


async def _tiers(
    connection: AsyncConnection, heads: Sequence[RowMapping], key: Mapping[str, object]
) -> dict[UUID, tuple[Tier, ...]]:
    refunded: dict[tuple[UUID, int, int], tuple[int, int, int]] = {}
    if any(head["refunded_micros"] for head in heads):
        for row in (await connection.execute(_REFUNDED, key)).all():
            refunded[row.order_id, row.tier, row.position] = (row.net_micros, row.tax_micros, row.quantity)
    lines: dict[UUID, dict[_TierKey, list[TierLine]]] = {head["id"]: {} for head in heads}
    for row in (await connection.execute(_LINES, key)).all():
        back = refunded.get((row.order_id, row.tier, row.position), (0, 0, 0))
        tax = TaxRate(row.tax_name, row.tax_rate_ppm)
        line = TierLine(row.unit_price_micros, row.net_micros, tax, row.tax_micros, *back)
        lines[row.order_id].setdefault((row.tier, row.buyer_id, row.seller_id), []).append(line)
    phones = [head for head in heads if head["cloud_phone_id"] is not None]
    if phones:
        # Of phones alone: the others have their lines.
        of_phones = {"root_ids": [each["root_id"] for each in phones], "order_ids": [each["id"] for each in phones]}
        for row in (await connection.execute(_FEES, of_phones)).all():
            line = TierLine(0, row.net_micros, NO_TAX, row.tax_micros)
            lines[row.order_id][row.tier, row.buyer_id, row.seller_id] = [line]
        for head in phones:
            # Before its first fee nothing is known of the tiers above.
            own = (1, head["organization_id"], head["seller_id"])
            lines[head["id"]] = lines[head["id"]] or {own: [TierLine(0, 0, NO_TAX, 0)]}
    return {
        order_id: tuple(Tier(*tier, tuple(of_tier)) for tier, of_tier in of_order.items())
        for order_id, of_order in lines.items()
    }


def _order(head: RowMapping, items: tuple[OrderItem, ...], tiers: tuple[Tier, ...]) -> Order:
    return Order(
        root_id=head["root_id"],
        id=head["id"],
        number=head["number"],
        state=OrderState(head["state"]),
        type=ProductType(head["type"]),
        organization_id=head["organization_id"],
        seller_id=head["seller_id"],
        payer=Payer(head["payer_subject"], head["payer_name"], head["payer_email"]),
        currency=head["currency"],
        items=items,
        tiers=tiers,
        created_at=head["created_at"],
        transaction_id=head["transaction_id"],
        paid_at=head["paid_at"],
        canceled_at=head["canceled_at"],
        refusal=_refusal(head),
        payment_method=PaymentMethod(head["payment_method"]),
        payment=_payment(head),
        phone=_phone(head),
        cancellation=_cancellation(head),
    )


def _payment(head: RowMapping) -> Payment | None:
    if head["payment_due_at"] is None:
        return None
    return Payment(
        due_at=head["payment_due_at"],
        token=head["payment_token"],
        top_up_id=head["top_up_id"],
        checkout_url=head["checkout_url"],
        received_at=head["payment_received_at"],
        received_micros=head["received_micros"] or 0,
        hold_id=head["hold_id"],
        kept_at=head["payment_kept_at"],
        top_up_ended_at=head["top_up_ended_at"],
    )


def _phone(head: RowMapping) -> CloudPhone | None:
    if head["cloud_phone_id"] is None:
        return None
    return CloudPhone(
        id=head["cloud_phone_id"],
        name=head["cloud_phone_name"],
        powered_up_at=head["powered_up_at"],
        powered_down_at=head["powered_down_at"],
        fee_count=head["fee_count"],
    )


def _cancellation(head: RowMapping) -> Cancellation | None:
    if head["cancel_cause"] is None:
        return None
    cause = CancelCause(head["cancel_cause"])
    return Cancellation(cause, head["canceled_by"], head["cancel_note"], head["cancel_failure"])


def _refusal(head: RowMapping) -> Refusal | None:
    if head["refusal_reason"] is None:
        return None
    if not head["refusal_seen"]:
        return Refusal(head["refusal_reason"])
    return Refusal(
        reason=head["refusal_reason"],
        message=head["refusal_message"],
        organization_id=head["refusal_organization_id"],
        wallet_id=head["refusal_wallet_id"],
        available_micros=head["refusal_available_micros"],
        needed_micros=head["refusal_needed_micros"],
    )


def _item(row: Row[tuple[object, ...]]) -> OrderItem:
    found = row._mapping
    sku = Sku(
        found["sku_id"],
        found["product_id"],
        found["sku_code"],
        found["sku_name"],
        found["unit"],
        tuple(found["contents"]),
    )
    proxies = tuple(_proxy(proxy) for proxy in found["proxies"])
    return OrderItem(sku, found["product_name"], found["quantity"], proxies)


def _proxy(found: Mapping[str, Any]) -> Proxy:
    expires_at = datetime.fromisoformat(found["expires_at"]) if found["expires_at"] else None
    return Proxy(found["address"], found["port"], found["location"], expires_at)

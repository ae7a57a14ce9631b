"""Orders in SQL."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from servicekit.scope import Scope
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.domain.orders import Order, Proxy
from orders.store.names import add_search
from orders.store.reading import COLUMNS, read_orders
from orders.store.scopes import within

# A number that is taken writes nothing: the caller draws another one.
_ADD_ORDER = text("""
    INSERT INTO orders (root_id, id, number, state, type, organization_id, seller_id, payer_subject, payer_name,
                        payer_email, payment_method, payment_token, payment_due_at, currency, total_micros,
                        cloud_phone_id, cloud_phone_name, powered_up_at, charge_lease_until, created_at)
    VALUES (:root_id, :id, :number, :state, :type, :organization_id, :seller_id, :payer_subject, :payer_name,
            :payer_email, :payment_method, :payment_token, :payment_due_at, :currency, :total_micros,
            :cloud_phone_id, :cloud_phone_name, :powered_up_at, farthing_now() + :lease, :created_at)
    ON CONFLICT (root_id, number) DO NOTHING
""")
_ADD_ITEM = text("""
    INSERT INTO order_items (root_id, order_id, position, organization_id, product_id, product_name, sku_id,
                             sku_code, sku_name, unit, contents, quantity, proxies)
    VALUES (:root_id, :order_id, :position, :organization_id, :product_id, :product_name, :sku_id,
            :sku_code, :sku_name, :unit, :contents, :quantity, CAST(:proxies AS jsonb))
""")
_ADD_LINE = text("""
    INSERT INTO order_item_tiers (root_id, order_id, tier, position, buyer_id, seller_id, unit_price_micros,
                                  net_micros, tax_name, tax_rate_ppm, tax_micros)
    VALUES (:root_id, :order_id, :tier, :position, :buyer_id, :seller_id, :unit_price_micros,
            :net_micros, :tax_name, :tax_rate_ppm, :tax_micros)
""")

_SELECT = f"SELECT {COLUMNS} FROM orders WHERE "  # noqa: S608 - our own names
_WHOLE = text(_SELECT + " root_id = :root_id AND id = :id")
_LOCKED = text(_SELECT + " root_id = :root_id AND id = :id FOR UPDATE")
# The condition is that of the index orders_waiting, word for word.
_WAITING = """(
    (state = 'PENDING_PAYMENT'
     AND (payment_method = 'BALANCE' OR top_up_id IS NULL OR payment_received_at IS NOT NULL))
    OR (state = 'CANCELED' AND payment_received_at IS NOT NULL AND payment_kept_at IS NULL)
    OR (state = 'CANCELED' AND payment_due_at IS NOT NULL AND refusal_reason IS NULL
        AND payment_received_at IS NULL AND top_up_ended_at IS NULL)
)"""
_LEASE = text(
    "UPDATE orders SET charge_lease_until = farthing_now() + :lease "  # noqa: S608 - our own words
    f"WHERE root_id = :root_id AND id = :id AND charge_lease_until <= farthing_now() AND {_WAITING}"
)
_UNLEASED = text(
    f"SELECT root_id, id FROM orders WHERE charge_lease_until <= farthing_now() AND {_WAITING} "  # noqa: S608 - our own words
    "ORDER BY charge_lease_until LIMIT :count"
)
_OVERDUE = text("""
    SELECT root_id, id FROM orders
    WHERE state = 'PENDING_PAYMENT' AND payment_due_at IS NOT NULL AND payment_received_at IS NULL
      AND payment_due_at <= :now
    ORDER BY payment_due_at LIMIT :count
""")
_FINISH = text("""
    UPDATE orders SET state = :state, transaction_id = :transaction_id, paid_at = :paid_at,
           canceled_at = :canceled_at, refusal_reason = :refusal_reason, refusal_message = :refusal_message,
           refusal_organization_id = :refusal_organization_id, refusal_wallet_id = :refusal_wallet_id,
           refusal_available_micros = :refusal_available_micros, refusal_needed_micros = :refusal_needed_micros,
           cancel_cause = :cancel_cause, canceled_by = :canceled_by, cancel_note = :cancel_note,
           cancel_failure = :cancel_failure
    WHERE root_id = :root_id AND id = :id AND state = 'PENDING_PAYMENT'
""")
# The question is answered, and its lease over.
_NOTE_TOP_UP = text("""
    UPDATE orders SET top_up_id = :top_up_id, checkout_url = :checkout_url, charge_lease_until = farthing_now()
    WHERE root_id = :root_id AND id = :id AND payment_due_at IS NOT NULL
""")
# Whatever lease there is was for another question.
_RECEIVE = text("""
    UPDATE orders SET payment_received_at = :received_at, received_micros = :received_micros, hold_id = :hold_id,
           top_up_id = :top_up_id, charge_lease_until = farthing_now()
    WHERE root_id = :root_id AND id = :id AND payment_received_at IS NULL
""")
_NOTE_ENDED = text("""
    UPDATE orders SET top_up_id = coalesce(top_up_id, :top_up_id), top_up_ended_at = :ended_at
    WHERE root_id = :root_id AND id = :id AND state = 'CANCELED' AND top_up_ended_at IS NULL
""")
_KEEP = text("""
    UPDATE orders SET payment_kept_at = :kept_at
    WHERE root_id = :root_id AND id = :id AND payment_received_at IS NOT NULL AND payment_kept_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class OrderKey:
    """Where an order lives."""

    root_id: UUID
    id: UUID


async def add_order(connection: AsyncConnection, order: Order, lease: timedelta) -> bool:
    """Writes a new order; False, and nothing written, where its number is taken.

    Whoever places it asks the wallet: for the time of `lease` nobody else does. A cloud phone's tiers come by its fees.
    """
    row = {
        "root_id": order.root_id,
        "id": order.id,
        "number": order.number,
        "state": order.state.value,
        "type": order.type.value,
        "organization_id": order.organization_id,
        "seller_id": order.seller_id,
        "payer_subject": order.payer.subject,
        "payer_name": order.payer.name,
        "payer_email": order.payer.email,
        "payment_method": order.payment_method.value,
        "payment_token": order.payment.token if order.payment else "",
        "payment_due_at": order.payment.due_at if order.payment else None,
        "currency": order.currency,
        "total_micros": order.own_tier.gross_micros,
        "cloud_phone_id": order.phone.id if order.phone else None,
        "cloud_phone_name": order.phone.name if order.phone else None,
        "powered_up_at": order.phone.powered_up_at if order.phone else None,
        "lease": lease,
        "created_at": order.created_at,
    }
    if (await connection.execute(_ADD_ORDER, row)).rowcount == 0:
        return False
    await connection.execute(_ADD_ITEM, _item_rows(order))
    if order.phone is None:
        await connection.execute(_ADD_LINE, _line_rows(order))
    await add_search(connection, order)
    return True


def _item_rows(order: Order) -> list[dict[str, object]]:
    return [
        {
            "root_id": order.root_id,
            "order_id": order.id,
            "position": position,
            "organization_id": order.organization_id,
            "product_id": item.sku.product_id,
            "product_name": item.product_name,
            "sku_id": item.sku.id,
            "sku_code": item.sku.code,
            "sku_name": item.sku.name,
            "unit": item.sku.unit,
            "contents": list(item.sku.contents),
            "quantity": item.quantity,
            "proxies": json.dumps([_proxy_json(proxy) for proxy in item.proxies]),
        }
        for position, item in enumerate(order.items, start=1)
    ]


def _line_rows(order: Order) -> list[dict[str, object]]:
    return [
        {
            "root_id": order.root_id,
            "order_id": order.id,
            "tier": tier.number,
            "position": position,
            "buyer_id": tier.buyer_id,
            "seller_id": tier.seller_id,
            "unit_price_micros": line.unit_price_micros,
            "net_micros": line.net_micros,
            "tax_name": line.tax.name,
            "tax_rate_ppm": line.tax.rate_ppm,
            "tax_micros": line.tax_micros,
        }
        for tier in order.tiers
        for position, line in enumerate(tier.lines, start=1)
    ]


async def find_order(
    connection: AsyncConnection, scope: Scope, *, order_id: UUID | None = None, number: str | None = None
) -> Order | None:
    """The order of that id or number, or None where there is none in the scope."""
    conditions, parameters = within(scope, "organization_id")
    conditions.append("id = :order_id" if order_id is not None else "number = :number")
    query = text(_SELECT + " AND ".join(conditions) + " ORDER BY created_at DESC LIMIT 1")
    parameters |= {"order_id": order_id} if order_id is not None else {"number": number}
    found = await read_orders(connection, (await connection.execute(query, parameters)).all())
    return found[0] if found else None


async def lock_found(connection: AsyncConnection, key: OrderKey) -> Order | None:
    """As `lock_order`, but None where there is none: events name orders of other services, too."""
    rows = (await connection.execute(_LOCKED, {"root_id": key.root_id, "id": key.id})).all()
    found = await read_orders(connection, rows)
    return found[0] if found else None


async def lock_order(connection: AsyncConnection, key: OrderKey) -> Order:
    """The whole order, held until the transaction ends; LookupError where there is none. Needs EVERYTHING."""
    return await _one(connection, _LOCKED, key)


async def get_order(connection: AsyncConnection, key: OrderKey) -> Order:
    """The order, with the tiers of the connection's scope; LookupError where there is none."""
    return await _one(connection, _WHOLE, key)


async def _one(connection: AsyncConnection, query: TextClause, key: OrderKey) -> Order:
    rows = (await connection.execute(query, {"root_id": key.root_id, "id": key.id})).all()
    if not rows:
        raise LookupError(f"order {key.id} of root {key.root_id} is not in the database")
    return (await read_orders(connection, rows))[0]


async def lease_order(connection: AsyncConnection, key: OrderKey, lease: timedelta) -> bool:
    """True if the caller may now ask the wallet about the waiting order; nobody else may until the lease is over."""
    row = {"root_id": key.root_id, "id": key.id, "lease": lease}
    return (await connection.execute(_LEASE, row)).rowcount == 1


async def unleased_orders(connection: AsyncConnection, count: int) -> list[OrderKey]:
    """Orders that wait for wallet to be asked while nobody asks, the longest waiting first."""
    rows = (await connection.execute(_UNLEASED, {"count": count})).all()
    return [OrderKey(row.root_id, row.id) for row in rows]


async def overdue_orders(connection: AsyncConnection, now: datetime, count: int) -> list[OrderKey]:
    """Orders whose payment from outside is due and has not arrived, the longest due first."""
    rows = (await connection.execute(_OVERDUE, {"now": now, "count": count})).all()
    return [OrderKey(row.root_id, row.id) for row in rows]


async def note_top_up(connection: AsyncConnection, key: OrderKey, top_up_id: UUID, checkout_url: str) -> None:
    """Writes which top-up pays the order, whatever became of the order meanwhile."""
    row = {"root_id": key.root_id, "id": key.id, "top_up_id": top_up_id, "checkout_url": checkout_url}
    await connection.execute(_NOTE_TOP_UP, row)


async def receive_payment(connection: AsyncConnection, order: Order) -> None:
    """Writes what arrived for the order, once; wallet may be asked at once what follows from it."""
    if order.payment is None:
        raise ValueError(f"order {order.number} has no payment from outside")
    row = {
        "root_id": order.root_id,
        "id": order.id,
        "received_at": order.payment.received_at,
        "received_micros": order.payment.received_micros,
        "hold_id": order.payment.hold_id,
        "top_up_id": order.payment.top_up_id,
    }
    await connection.execute(_RECEIVE, row)


async def note_top_up_ended(
    connection: AsyncConnection, key: OrderKey, top_up_id: UUID | None, ended_at: datetime
) -> None:
    """Writes that wallet knows: nobody is to pay the canceled order any more."""
    row = {"root_id": key.root_id, "id": key.id, "top_up_id": top_up_id, "ended_at": ended_at}
    await connection.execute(_NOTE_ENDED, row)


async def keep_payment(connection: AsyncConnection, key: OrderKey, kept_at: datetime) -> bool:
    """Writes that the money stays on the balance; False where it was written before."""
    row = {"root_id": key.root_id, "id": key.id, "kept_at": kept_at}
    return (await connection.execute(_KEEP, row)).rowcount == 1


async def finish_order(connection: AsyncConnection, order: Order) -> bool:
    """Writes that the order is completed or canceled; False where it was one of them before."""
    refusal, ended = order.refusal, order.cancellation
    row = {
        "root_id": order.root_id,
        "id": order.id,
        "state": order.state.value,
        "transaction_id": order.transaction_id,
        "paid_at": order.paid_at,
        "canceled_at": order.canceled_at,
        "refusal_reason": refusal.reason if refusal else None,
        "refusal_message": refusal.message if refusal else None,
        "refusal_organization_id": refusal.organization_id if refusal else None,
        "refusal_wallet_id": refusal.wallet_id if refusal else None,
        "refusal_available_micros": refusal.available_micros if refusal else None,
        "refusal_needed_micros": refusal.needed_micros if refusal else None,
        "cancel_cause": ended.cause.value if ended else None,
        "canceled_by": ended.person_name if ended else "",
        "cancel_note": ended.note if ended else "",
        "cancel_failure": ended.payment_failure if ended else 0,
    }
    return (await connection.execute(_FINISH, row)).rowcount == 1


def _proxy_json(proxy: Proxy) -> dict[str, object]:
    expires_at = proxy.expires_at.isoformat() if proxy.expires_at else None
    return {"address": proxy.address, "port": proxy.port, "location": proxy.location, "expires_at": expires_at}

"""Money from outside arrives for an order, or will not: what wallet's events change. No remote call here."""

from farthing.wallet.events.v1.events_pb2 import TopUpFailed, TopUpSettled
from servicekit import outbox
from servicekit.clock import Clock
from servicekit.ids import id_in
from sqlalchemy.ext.asyncio import AsyncConnection

from orders import events
from orders.commands.paying import count_finished
from orders.convert.wallet import arrival_from_message, payment_failure
from orders.domain.orders import Refusal, cancel
from orders.domain.payments import may_be_called_off, receive
from orders.store import orders as store
from orders.store.orders import OrderKey


async def payment_settled(connection: AsyncConnection, event: TopUpSettled) -> None:
    """Notes that the money of an order is here; a job asks wallet what follows from it (`Paying.resolve_pending`)."""
    if not event.top_up.order_id:
        return
    order = await store.lock_found(connection, OrderKey(id_in(event, "root_id"), id_in(event.top_up, "order_id")))
    if order is not None:
        await store.receive_payment(connection, receive(order, arrival_from_message(event)))


async def payment_failed(connection: AsyncConnection, event: TopUpFailed, clock: Clock) -> None:
    """Cancels the order that a failed top-up was to pay."""
    if not event.top_up.order_id:
        return
    order = await store.lock_found(connection, OrderKey(id_in(event, "root_id"), id_in(event.top_up, "order_id")))
    if order is None or not may_be_called_off(order):
        return
    why = payment_failure(event.top_up)
    order = cancel(order, Refusal("PAYMENT_REFUSED", why.note), clock.now(), why)
    await store.finish_order(connection, order)
    await outbox.add(connection, [events.order_canceled(order)])
    count_finished(order)

"""Cloud phones' orders, as usage tells of them. Events come twice and in any order: each can open the order.

Nothing is published of them: the fees are in the ledger already, and a receipt is for a purchase.
"""

from datetime import timedelta

from farthing.usage.events.v1.events_pb2 import PhonePoweredDown, PhonePoweredUp, PhoneSession, RunningFeeCharged
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.convert.phones import fee_from_message, order_from_session
from orders.convert.values import instant_from_message
from orders.domain.orders import Order
from orders.domain.phones import PhoneMismatchError, check_fee, check_session, power_down
from orders.store import orders as store
from orders.store import phones as phone_store
from orders.store.orders import OrderKey

# Nobody asks wallet about it.
_NO_LEASE = timedelta()


async def phone_powered_up(connection: AsyncConnection, event: PhonePoweredUp) -> None:
    """Opens the order."""
    await _opened(connection, event.session)


async def running_fee_charged(connection: AsyncConnection, event: RunningFeeCharged) -> None:
    """Adds a fee to the order, also where the phone is off already."""
    order = await _opened(connection, event.session)
    fee = fee_from_message(event)
    check_fee(order, fee)
    await phone_store.add_fee(connection, order, fee)


async def phone_powered_down(connection: AsyncConnection, event: PhonePoweredDown) -> None:
    """Completes the order."""
    order = await _opened(connection, event.session)
    off = power_down(order, instant_from_message(event.powered_down_at))
    await phone_store.write_power_down(connection, off)


async def _opened(connection: AsyncConnection, session: PhoneSession) -> Order:
    """The session's order, locked; written where it is not there yet. ValueError where it is another's."""
    wanted = order_from_session(session)
    key = OrderKey(wanted.root_id, wanted.id)
    order = await store.lock_found(connection, key)
    if order is None:
        if not await store.add_order(connection, wanted, _NO_LEASE):
            raise PhoneMismatchError(f"the number {wanted.number} is another order's")
        order = wanted
    check_session(order, wanted)
    return order

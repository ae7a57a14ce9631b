"""Cloud phones' orders, as usage tells of them. Events come twice and in any order: each can open the order.

Nothing is published of them: the fees are in the ledger already, and a receipt is for a purchase.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from farthing.usage.events.v1.events_pb2 import PhonePoweredDown, PhonePoweredUp, PhoneSession, RunningFeeCharged
from servicekit.consumers import NotYet
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.convert.phones import fee_from_message, order_from_session
from orders.convert.values import instant_from_message
from orders.domain.orders import Order
from orders.domain.phones import (
    PhoneMismatchError,
    Roots,
    check_fee,
    check_numbers,
    check_purchaser,
    check_sellers,
    check_session,
    power_down,
)
from orders.store import orders as store
from orders.store import phones as phone_store
from orders.store.orders import OrderKey

# Nobody asks wallet about it.
_NO_LEASE = timedelta()


async def phone_powered_up(connection: AsyncConnection, event: PhonePoweredUp, root_id: UUID) -> None:
    """Opens the order."""
    await _opened(connection, event.session, root_id)


async def running_fee_charged(connection: AsyncConnection, event: RunningFeeCharged, root_id: UUID) -> None:
    """Adds a fee to the order, also where the phone is off already. NotYet while a seller has not arrived."""
    order = await _opened(connection, event.session, root_id)
    fee = fee_from_message(event)
    check_numbers(fee)
    check_fee(order, fee)
    check_sellers(order, fee, await _known(connection, dict.fromkeys(fee.seller_ids, "seller_id")))
    await phone_store.add_fee(connection, order, fee)


async def phone_powered_down(connection: AsyncConnection, event: PhonePoweredDown, root_id: UUID) -> None:
    """Completes the order."""
    order = await _opened(connection, event.session, root_id)
    off = power_down(order, instant_from_message(event.powered_down_at))
    await phone_store.write_power_down(connection, off)


async def _opened(connection: AsyncConnection, session: PhoneSession, root_id: UUID) -> Order:
    """The session's order, locked; written where it is not there yet. `root_id` is the one beside the event.

    ValueError where it is another's or cannot be, NotYet while its purchaser or seller has not arrived.
    """
    wanted = order_from_session(session)
    if wanted.root_id != root_id:
        raise PhoneMismatchError(f"root_id '{wanted.root_id}' is not the event's, '{root_id}'")
    key = OrderKey(wanted.root_id, wanted.id)
    order = await store.lock_found(connection, key)
    if order is None:
        parties = {wanted.seller_id: "seller_id", wanted.organization_id: "organization_id"}
        check_purchaser(wanted, await _known(connection, parties))
        if not await store.add_order(connection, wanted, _NO_LEASE):
            raise PhoneMismatchError(f"order_number '{wanted.number}' is another order's")
        order = wanted
    check_session(order, wanted)
    return order


async def _known(connection: AsyncConnection, fields: Mapping[UUID, str]) -> Roots:
    """The roots of the organizations, each beside the field that names it. NotYet while one has not arrived."""
    roots = await phone_store.find_roots(connection, fields.keys())
    for organization_id, field in fields.items():
        if organization_id not in roots:
            raise NotYet(f"{field} '{organization_id}' is not known here yet")
    return roots

"""The life of an order: placed, charged, completed or canceled, whatever dies on the way.

The order is written first, waiting for its payment. Then wallet is asked, outside of any transaction, with the
order's id as request id, so that asking again is safe. Then its answer is written. Whoever asks holds a lease on the
order; where the answer is lost, `resolve_pending` or a repeat of the request asks again once the lease is over.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import grpc
import structlog
from farthing.orders.v1 import orders_pb2 as pb
from prometheus_client import Counter
from servicekit import outbox
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.problems import Problem, denied, precondition
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from orders import events
from orders.clients import Charged, WalletClient, WalletUnansweredError
from orders.commands.placing import check_size, draft_order, find_chain
from orders.domain.numbers import RANDOM_BITS, order_number
from orders.domain.orders import (
    Order,
    OrderState,
    Payer,
    Refusal,
    as_seen_by_purchaser,
    cancel,
    complete,
    told_reason,
    told_text,
)
from orders.store import orders as store
from orders.store.orders import OrderKey

log = structlog.get_logger()

_FINISHED = Counter("farthing_orders_finished", "Orders that became completed or canceled", ["state"])
_UNANSWERED = Counter("farthing_orders_unanswered_charges", "Questions to wallet that got no answer")
_CHARGED_AFTER_CANCEL = Counter(
    "farthing_orders_charged_after_cancel", "Canceled orders that wallet has charged; must stay 0"
)

# A day's numbers have 40 random bits: even the second draw is all but never needed.
NUMBER_DRAWS = 8
POLL_S = 0.1
POLLS = 20
RESOLVE_BATCH = 64
RESOLVE_AT_ONCE = 8
# What an answer needs after wallet's, within the caller's deadline.
ANSWER_S = 0.25


def _no_deadline() -> float | None:
    return None


def _draw_bits() -> int:
    return secrets.randbits(RANDOM_BITS)


@dataclass(frozen=True, slots=True)
class Orders:
    """What placing and paying orders needs. `lease` bounds for how long one asker holds an order."""

    database: Database
    clock: Clock
    wallet: WalletClient
    lease: timedelta
    draw_bits: Callable[[], int] = field(default=_draw_bits)

    async def place(
        self, request: pb.PlaceOrderRequest, time_left_s: Callable[[], float | None] = _no_deadline
    ) -> Order:
        """Buys for the caller's organization; returns the completed order as its purchaser may see it.

        `time_left_s` tells for how long the caller still waits. Raises Problem: for what cannot be ordered nothing
        is written; a refused order stands canceled, and its repeat is refused in the same words; an order whose
        payment is unknown stays pending, and its repeat or the job resolves it.
        """
        call = current_call()
        root_id, organization_id = call.scope.root_id, call.principal.organization_id
        if root_id is None or organization_id is None:
            raise denied("The platform has no seller to buy from; orders are placed by the organizations below it.")
        payer = Payer(call.principal.subject, call.principal.name, call.principal.email)
        placed: list[Order] = []

        async def change(connection: AsyncConnection) -> pb.Order:
            chain = await find_chain(connection, organization_id)
            if chain is None:
                raise LookupError(f"organization {organization_id} has a root, but no seller")
            order = await draft_order(connection, chain, request, payer, self.clock.now())
            placed.append(await self._add(connection, order))
            return pb.Order(id=str(placed[0].id))

        reply = await once(self.database, root_id, request, pb.Order, change)
        await fault_point("orders.after_place_commit")
        if placed:
            order = await self._pay(placed[0], time_left_s())
        else:
            order = await self._pay_again(OrderKey(root_id, UUID(reply.id)), time_left_s)
        order = as_seen_by_purchaser(order)
        if order.refusal is not None:
            raise refused(order, order.refusal)
        return order

    async def resolve_pending(self) -> int:
        """Asks wallet again about orders whose answer was lost; returns how many of them are settled now."""
        async with self.database.transaction(EVERYTHING) as connection:
            keys = await store.unleased_orders(connection, RESOLVE_BATCH)
        settled = 0
        for start in range(0, len(keys), RESOLVE_AT_ONCE):
            at_once = keys[start : start + RESOLVE_AT_ONCE]
            settled += sum(await asyncio.gather(*(self._resolve(key) for key in at_once)))
        return settled

    async def _add(self, connection: AsyncConnection, draft: Order) -> Order:
        for _ in range(NUMBER_DRAWS):
            order = replace(draft, number=order_number(draft.created_at, self.draw_bits()))
            event = events.order_placed(order)
            check_size(event.message.ByteSize())
            if await store.add_order(connection, order, self.lease):
                await outbox.add(connection, [event])
                return order
        raise RuntimeError(f"{NUMBER_DRAWS} order numbers in a row were taken; the source of randomness is broken")

    async def _pay(self, order: Order, time_left_s: float | None) -> Order:
        """Asks wallet and writes its answer. The caller holds the lease. Problem where no answer comes."""
        await fault_point("orders.before_charge")
        try:
            answer = await self.wallet.charge(order, None if time_left_s is None else max(time_left_s - ANSWER_S, 0.0))
        except WalletUnansweredError as error:
            _UNANSWERED.inc()
            log.warning("the payment of an order is unknown", order=order.number, error=str(error))
            raise unpaid_yet(order) from error
        await fault_point("orders.after_charge")
        return await self._finish(OrderKey(order.root_id, order.id), answer)

    async def _finish(self, key: OrderKey, answer: Charged | Refusal) -> Order:
        """Writes wallet's answer, once: an order that is completed or canceled already stays as it is."""
        async with self.database.transaction(EVERYTHING) as connection:
            order = await store.lock_order(connection, key)
            if order.final:
                _check_agreement(order, answer)
                return order
            if isinstance(answer, Charged):
                order = complete(order, answer.transaction_id, answer.posted_at)
                event = events.order_completed(order)
            else:
                order = cancel(order, answer, self.clock.now())
                event = events.order_canceled(order)
            await store.finish_order(connection, order)
            await outbox.add(connection, [event])
            await fault_point("orders.before_complete_commit")
        await fault_point("orders.after_complete_commit")
        _FINISHED.labels(order.state.value).inc()
        return order

    async def _pay_again(self, key: OrderKey, time_left_s: Callable[[], float | None]) -> Order:
        """The finished order of a repeated request; waits a moment for whoever is asking wallet just now."""
        for _ in range(POLLS):
            order, leased = await self._lease(key)
            if order.final:
                return order
            if leased:
                return await self._pay(order, time_left_s())
            await asyncio.sleep(POLL_S)
        raise Problem(
            grpc.StatusCode.ABORTED,
            "REQUEST_IN_PROGRESS",
            f"Order {order.number} is being paid right now; repeat in a moment with the same request id.",
            _named(order),
        )

    async def _lease(self, key: OrderKey) -> tuple[Order, bool]:
        async with self.database.transaction(EVERYTHING) as connection:
            leased = await store.lease_order(connection, key, self.lease)
            return await store.get_order(connection, key), leased

    async def _resolve(self, key: OrderKey) -> bool:
        order, leased = await self._lease(key)
        if not leased:
            return False
        try:
            await self._pay(order, None)
        except Problem:
            return False
        return True


def _check_agreement(order: Order, answer: Charged | Refusal) -> None:
    if isinstance(answer, Charged) and order.state is OrderState.CANCELED:
        _CHARGED_AFTER_CANCEL.inc()
        log.error(
            "a canceled order is charged: refund it",
            order=order.number,
            order_id=str(order.id),
            transaction_id=str(answer.transaction_id),
        )


def refused(order: Order, refusal: Refusal) -> Problem:
    """What the purchaser is told; `order` is as the purchaser may see it."""
    reason = told_reason(refusal)
    metadata = _named(order)
    if reason == "INSUFFICIENT_CREDIT":
        metadata |= {
            "wallet_id": str(refusal.wallet_id or ""),
            "available_micros": str(refusal.available_micros),
            "needed_micros": str(refusal.needed_micros),
        }
    return precondition(reason, told_text(order, refusal, order.organization_id), **metadata)


def unpaid_yet(order: Order) -> Problem:
    """What the purchaser is told where wallet gave no answer."""
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        f"Whether order {order.number} could be paid is not known yet. It will be completed or canceled by itself, "
        "and charged once at most; repeat in a moment with the same request id to learn which.",
        _named(order),
    )


def _named(order: Order) -> dict[str, str]:
    return {"order_id": str(order.id), "order_number": order.number}

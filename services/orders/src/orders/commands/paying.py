"""What wallet is asked for an order, and what its answers make of it, whatever dies on the way.

Wallet is asked outside of any transaction, with the order's id as request id, so that asking again is safe; then its
answer is written. Whoever asks holds a lease on the order; where the answer is lost, `resolve_pending` or a repeat of
the request asks again once the lease is over.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import Counter
from servicekit import audit, outbox
from servicekit.call import service_call, serving
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.scope import EVERYTHING

from orders import events
from orders.clients import Charged, TopUpMade, WalletClient, WalletUnansweredError
from orders.domain.cancellations import cancel_text
from orders.domain.orders import CancelCause, Cancellation, Order, OrderState, Refusal, cancel, complete
from orders.domain.payments import Step, call_off, may_be_called_off, next_step
from orders.store import orders as store
from orders.store.orders import OrderKey

log = structlog.get_logger()

_FINISHED = Counter("farthing_orders_finished", "Orders that became completed or canceled", ["state"])
_UNANSWERED = Counter("farthing_orders_unanswered_charges", "Questions to wallet that got no answer")
_CHARGED_AFTER_CANCEL = Counter(
    "farthing_orders_charged_after_cancel", "Canceled orders that wallet has charged; must stay 0"
)
_KEPT = Counter("farthing_orders_payments_kept", "Payments that stay on the balance: their order is canceled")

RESOLVE_BATCH = 64
RESOLVE_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Paying:
    """What paying orders needs. `lease` bounds for how long one asker holds an order."""

    database: Database
    clock: Clock
    wallet: WalletClient
    lease: timedelta

    async def take(self, key: OrderKey) -> tuple[Order, bool]:
        """The order, and whether the caller may now ask wallet about it."""
        async with self.database.transaction(EVERYTHING) as connection:
            leased = await store.lease_order(connection, key, self.lease)
            return await store.get_order(connection, key), leased

    async def ask(self, order: Order, time_left_s: float | None = None) -> Order:
        """Asks wallet what is next for the order, and writes its answer. The caller holds the lease.

        Raises WalletUnansweredError; the order then waits for the next who asks.
        """
        try:
            match next_step(order):
                case Step.CHARGE:
                    return await self._charge(order, time_left_s)
                case Step.START:
                    return await self._start(order, time_left_s)
                case Step.CAPTURE:
                    return await self._capture(order)
                case Step.KEEP:
                    return await self._keep(order)
                case Step.END:
                    return await self._end(order)
                case None:
                    return order
        except WalletUnansweredError as error:
            _UNANSWERED.inc()
            log.warning("wallet's answer about an order is unknown", order=order.number, error=str(error))
            raise

    async def resolve_pending(self) -> int:
        """Asks wallet about orders that wait for it: whose answer was lost, whose money has arrived, or that were
        called off.

        Returns of how many the answer is known now.
        """
        async with self.database.transaction(EVERYTHING) as connection:
            keys = await store.unleased_orders(connection, RESOLVE_BATCH)
        settled = 0
        for start in range(0, len(keys), RESOLVE_AT_ONCE):
            at_once = keys[start : start + RESOLVE_AT_ONCE]
            settled += sum(await asyncio.gather(*(self._resolve(key) for key in at_once)))
        return settled

    async def cancel_overdue(self) -> int:
        """Cancels orders whose payment has not arrived in time; returns how many."""
        async with self.database.transaction(EVERYTHING) as connection:
            keys = await store.overdue_orders(connection, self.clock.now(), RESOLVE_BATCH)
        return sum([await self._cancel_overdue(key) for key in keys])

    async def finish(self, key: OrderKey, answer: Charged | Refusal, why: Cancellation | None = None) -> Order:
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
                order = cancel(order, answer, self.clock.now(), why)
                event = events.order_canceled(order)
            await store.finish_order(connection, order)
            await outbox.add(connection, [event])
            await fault_point("orders.before_complete_commit")
        await fault_point("orders.after_complete_commit")
        count_finished(order)
        return order

    async def _charge(self, order: Order, time_left_s: float | None) -> Order:
        await fault_point("orders.before_charge")
        answer = await self.wallet.charge(order, time_left_s)
        await fault_point("orders.after_charge")
        return await self.finish(_key(order), answer)

    async def _start(self, order: Order, time_left_s: float | None) -> Order:
        await fault_point("orders.before_top_up")
        answer = await self.wallet.start_top_up(order, time_left_s)
        await fault_point("orders.after_top_up")
        if isinstance(answer, TopUpMade):
            async with self.database.transaction(EVERYTHING) as connection:
                await store.note_top_up(connection, _key(order), answer.id, answer.checkout_url)
                return await store.get_order(connection, _key(order))
        if isinstance(answer, Cancellation):
            return await self.finish(_key(order), Refusal("PAYMENT_REFUSED", answer.note), answer)
        log.info("an order cannot be paid this way", order=order.number, reason=answer.reason, message=answer.message)
        return await self.finish(_key(order), answer, Cancellation(CancelCause.PAYMENT_NOT_OFFERED))

    async def _capture(self, order: Order) -> Order:
        """Completes an order whose money is here; where it cannot be, the order is canceled and the money stays."""
        hold_id = order.payment.hold_id if order.payment else None
        await fault_point("orders.before_capture")
        answer = await (self.wallet.charge(order) if hold_id is None else self.wallet.capture(order, hold_id))
        await fault_point("orders.after_capture")
        finished = await self.finish(_key(order), answer)
        return await self._keep(finished) if next_step(finished) is Step.KEEP else finished

    async def _keep(self, order: Order) -> Order:
        if order.payment is None:
            raise ValueError(f"order {order.number} has no payment to keep")
        await fault_point("orders.before_release")
        if order.payment.hold_id is not None:
            await self.wallet.release(order, order.payment.hold_id)
        await fault_point("orders.after_release")
        async with self.database.transaction(EVERYTHING) as connection:
            if await store.keep_payment(connection, _key(order), self.clock.now()):
                await outbox.add(connection, [events.order_payment_kept(order, order.payment)])
                _KEPT.inc()
            return await store.get_order(connection, _key(order))

    async def _end(self, order: Order) -> Order:
        await fault_point("orders.before_end")
        top_up_id = await self.wallet.end_top_up(order)
        await fault_point("orders.after_end")
        async with self.database.transaction(EVERYTHING) as connection:
            await store.note_top_up_ended(connection, _key(order), top_up_id, self.clock.now())
            return await store.get_order(connection, _key(order))

    async def _resolve(self, key: OrderKey) -> bool:
        order, leased = await self.take(key)
        if not leased:
            return False
        try:
            await self.ask(order)
        except WalletUnansweredError:
            return False
        return True

    async def _cancel_overdue(self, key: OrderKey) -> bool:
        async with self.database.transaction(EVERYTHING) as connection:
            order = await store.lock_order(connection, key)
            now = self.clock.now()
            # Paid or canceled since it was listed.
            if order.payment is None or not may_be_called_off(order) or order.payment.due_at > now:
                return False
            canceled = call_off(order, Cancellation(CancelCause.NOT_PAID), now)
            await store.finish_order(connection, canceled)
            await outbox.add(connection, [events.order_canceled(canceled)])
            # Nobody called: the service itself did it.
            with serving(service_call("orders", "cancel_overdue_orders")):
                await audit.record(connection, cancellation(order, cancel_text(canceled, None)))
        count_finished(canceled)
        return True


def cancellation(before: Order, reason: str, request_id: str = "") -> audit.Change:
    """That an order is called off, for the audit trail."""
    return audit.Change(
        root_id=before.root_id,
        organization_id=before.organization_id,
        action="ORDER_CANCELED",
        target_type="order",
        target_id=str(before.id),
        before={"state": before.state.value},
        after={"state": OrderState.CANCELED.value, "reason": reason},
        request_id=request_id,
    )


def count_finished(order: Order) -> None:
    """Counts an order that has become completed or canceled."""
    _FINISHED.labels(order.state.value).inc()


def _key(order: Order) -> OrderKey:
    return OrderKey(order.root_id, order.id)


def _check_agreement(order: Order, answer: Charged | Refusal) -> None:
    if isinstance(answer, Charged) and order.state is OrderState.CANCELED:
        _CHARGED_AFTER_CANCEL.inc()
        log.error(
            "a canceled order is charged: refund it",
            order=order.number,
            order_id=str(order.id),
            transaction_id=str(answer.transaction_id),
        )

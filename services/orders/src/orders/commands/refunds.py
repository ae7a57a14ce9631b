"""Gives back lines of paid orders, at every tier.

The refund is written first; then wallet is asked, outside of any transaction, with the refund's id as request id, so
that asking again is safe; then its answer is written. At most one refund of an order is under way, so what is left to
give back is known. Whoever asks holds a lease; a lost answer is asked for again by the job or a repeat of the request.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import grpc
import structlog
from farthing.orders.v1 import orders_pb2 as pb
from money import MoneyError, check_currency, format_exact
from money.messages import money_from_message
from prometheus_client import Counter
from servicekit import audit, outbox
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.faults import fault_point
from servicekit.ids import new_id
from servicekit.problems import Problem, denied, invalid, precondition
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from orders import events
from orders.clients import Charged, WalletClient, WalletUnansweredError
from orders.commands.orders import find_key, named
from orders.domain.orders import Order, OrderStateError, Refusal
from orders.domain.refunds import (
    NoSuchLine,
    NothingToRefund,
    Refund,
    RefundedLine,
    RefundState,
    RefundTooLarge,
    Wish,
    plan_refund,
    with_refund,
)
from orders.store import orders as store
from orders.store import refunds as refund_store
from orders.store.orders import OrderKey

log = structlog.get_logger()

_FINISHED = Counter("farthing_orders_refunds", "Refunds that became posted or refused", ["state"])
RESOLVE_BATCH = 32
POLL_S = 0.1
POLLS = 20


@dataclass(frozen=True, slots=True)
class Refunds:
    """What giving back needs. `lease` bounds for how long one asker holds a refund."""

    database: Database
    clock: Clock
    wallet: WalletClient
    lease: timedelta

    async def refund(self, request: pb.RefundOrderRequest) -> tuple[OrderKey, UUID]:
        """Gives back what is asked of an order that one of the caller's buyers, or of theirs, has bought.

        Returns where order and refund are: the refund is posted or refused. Raises Problem; where wallet's answer is
        lost, the refund stays pending, and its repeat or the job resolves it.
        """
        key = await find_key(self.database, request.id)
        wishes = _wishes(request)
        made: list[Refund] = []

        async def change(connection: AsyncConnection) -> pb.Refund:
            order = await store.lock_order(connection, key)
            if current_call().principal.organization_id == order.organization_id:
                raise denied("An order is refunded by its seller; ask it.")
            made.append(await self._add(connection, order, wishes, request))
            return pb.Refund(id=str(made[0].id))

        reply = await once(self.database, key.root_id, request, pb.Refund, change)
        await fault_point("orders.after_refund_commit")
        refund_id = UUID(reply.id)
        try:
            if made:
                await self._ask(key, made[0])
            else:
                await self._ask_again(key, refund_id)
        except WalletUnansweredError as error:
            text = (
                "Whether the refund is posted is not known yet. It will be posted or refused by itself, and once at "
                "most; repeat in a moment with the same request id to learn which."
            )
            raise Problem(grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", text) from error
        return key, refund_id

    async def resolve_pending(self) -> int:
        """Asks wallet again about refunds whose answer was lost; returns how many of them are settled now."""
        async with self.database.transaction(EVERYTHING) as connection:
            found = await refund_store.unleased_refunds(connection, RESOLVE_BATCH)
        return sum([await self._resolve(key, refund_id) for key, refund_id in found])

    async def _add(
        self, connection: AsyncConnection, order: Order, wishes: Sequence[Wish], request: pb.RefundOrderRequest
    ) -> Refund:
        key = OrderKey(order.root_id, order.id)
        if await refund_store.any_pending(connection, key):
            text = f"Another refund of order {order.number} is under way; repeat in a moment."
            raise precondition("ORDER_STATE", text, **named(order))
        lines = _planned(order, _in_currency(order, wishes, request))
        principal = current_call().principal
        refund = Refund(
            root_id=order.root_id,
            id=new_id(),
            order_id=order.id,
            organization_id=order.organization_id,
            state=RefundState.PENDING,
            reason=request.reason.strip(),
            created_by_name=principal.name or principal.service or "",
            created_at=self.clock.now(),
            lines=lines,
        )
        await refund_store.add_refund(connection, refund, self.lease)
        amount = sum(line.net_micros + line.tax_micros for line in refund.own_lines)
        trail = audit.Change(
            root_id=order.root_id,
            organization_id=order.organization_id,
            action="ORDER_REFUNDED",
            target_type="order",
            target_id=str(order.id),
            before={"state": order.state.value, "refunded": _amount(order, order.own_tier.refunded_micros)},
            after={"refund_id": str(refund.id), "amount": _amount(order, amount), "reason": refund.reason},
            request_id=request.request_id,
        )
        await audit.record(connection, trail)
        return refund

    async def _ask(self, key: OrderKey, refund: Refund) -> None:
        """Asks wallet and writes its answer. The caller holds the lease. Raises WalletUnansweredError."""
        async with self.database.transaction(EVERYTHING) as connection:
            order = await store.get_order(connection, key)
        await fault_point("orders.before_refund")
        answer = await self.wallet.refund(refund, order)
        await fault_point("orders.after_refund")
        await self._finish(key, refund.id, answer)

    async def _ask_again(self, key: OrderKey, refund_id: UUID) -> None:
        """Waits a moment for whoever is asking wallet just now."""
        for _ in range(POLLS):
            refund, leased = await self._take(key, refund_id)
            if leased:
                return await self._ask(key, refund)
            if refund.state is not RefundState.PENDING:
                return None
            await asyncio.sleep(POLL_S)
        text = "The refund is being made right now; repeat in a moment with the same request id."
        raise Problem(grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS", text)

    async def _take(self, key: OrderKey, refund_id: UUID) -> tuple[Refund, bool]:
        async with self.database.transaction(EVERYTHING) as connection:
            leased = await refund_store.lease_refund(connection, key.root_id, refund_id, self.lease)
            return await refund_store.get_refund(connection, key.root_id, refund_id), leased

    async def _finish(self, key: OrderKey, refund_id: UUID, answer: Charged | Refusal) -> None:
        """Writes wallet's answer, once."""
        async with self.database.transaction(EVERYTHING) as connection:
            order = await store.lock_order(connection, key)
            refund = await refund_store.get_refund(connection, key.root_id, refund_id, lock=True)
            if refund.state is not RefundState.PENDING:
                return
            if isinstance(answer, Charged):
                refund = replace(
                    refund,
                    state=RefundState.POSTED,
                    transaction_id=answer.transaction_id,
                    posted_at=answer.posted_at,
                )
                order = with_refund(order, refund.lines)
                await outbox.add(connection, [events.order_refunded(order, refund)])
            else:
                log.warning("wallet refused a refund", order=order.number, reason=answer.reason, said=answer.message)
                refund = replace(refund, state=RefundState.REFUSED, refusal_reason=answer.reason)
            await refund_store.finish_refund(connection, refund, order)
            await fault_point("orders.before_refunded_commit")
        _FINISHED.labels(refund.state.value).inc()

    async def _resolve(self, key: OrderKey, refund_id: UUID) -> bool:
        refund, leased = await self._take(key, refund_id)
        if not leased:
            return False
        try:
            await self._ask(key, refund)
        except WalletUnansweredError as error:
            log.warning("wallet's answer about a refund is unknown", refund_id=str(refund_id), error=str(error))
            return False
        return True


def _wishes(request: pb.RefundOrderRequest) -> list[Wish]:
    """Problem for lines that contradict themselves or each other."""
    if not request.reason.strip():
        raise _bad("reason", "say why: purchaser and boss read it")
    wishes: list[Wish] = []
    for index, line in enumerate(request.lines):
        field = f"lines[{index}]"
        if line.quantity and line.HasField("amount"):
            raise _bad(field, "give a quantity or an amount, not both")
        if any(line.position == wish.position for wish in wishes):
            raise _bad(f"{field}.position", f"line {line.position} is named twice")
        amount = 0
        if line.HasField("amount"):
            amount = _amount_in(line, field)
        wishes.append(Wish(line.position, line.quantity, amount))
    return wishes


def _amount_in(line: pb.RefundLine, field: str) -> int:
    try:
        check_currency(line.amount.currency_code)
    except MoneyError as error:
        raise _bad(f"{field}.amount.currency_code", str(error)) from None
    try:
        amount = money_from_message(line.amount).micros
    except MoneyError as error:
        raise _bad(f"{field}.amount", str(error), "AMOUNT_OUT_OF_RANGE") from None
    if amount <= 0:
        raise _bad(f"{field}.amount", "is not more than zero", "AMOUNT_OUT_OF_RANGE")
    return amount


def _in_currency(order: Order, wishes: Sequence[Wish], request: pb.RefundOrderRequest) -> Sequence[Wish]:
    for index, line in enumerate(request.lines):
        if line.HasField("amount") and line.amount.currency_code != order.currency:
            text = f"is in {line.amount.currency_code}; the order was paid in {order.currency}"
            raise _bad(f"lines[{index}].amount.currency_code", text, "CURRENCY_MISMATCH")
    return wishes


def _planned(order: Order, wishes: Sequence[Wish]) -> tuple[RefundedLine, ...]:
    try:
        return plan_refund(order, wishes)
    except OrderStateError as error:
        raise precondition("ORDER_STATE", str(error), **named(order)) from None
    except NoSuchLine as error:
        raise _bad("lines", f"order {order.number} has no line {error.position}") from None
    except NothingToRefund as error:
        text = f"Order {order.number}: {error}."
        raise precondition("NOTHING_TO_REFUND", text, **named(order)) from None
    except RefundTooLarge as error:
        text = (
            f"Of line {error.position} of order {order.number} {_amount(order, error.left_micros)} and "
            f"{error.left_quantity} units are left to give back, and this is more; ask for less."
        )
        metadata = {**named(order), "left_micros": str(error.left_micros)}
        raise precondition("REFUND_EXCEEDS_CHARGE", text, **metadata) from None


def _amount(order: Order, micros: int) -> str:
    return f"{format_exact(micros)} {order.currency}"


def _bad(field: str, text: str, reason: str = "INVALID_ARGUMENT") -> Problem:
    return invalid(f"{field}: {text}", fields={field: text}, reason=reason)

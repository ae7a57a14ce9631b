"""Wallet, as orders needs it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import grpc
from farthing.wallet.v1 import holds_pb2_grpc, wallets_pb2, wallets_pb2_grpc
from servicekit.problems import problem_of

from orders.convert.refunds import refund_of
from orders.convert.values import instant_from_message
from orders.convert.wallet import (
    cancel_of,
    capture_of,
    charge_of,
    payment_failure,
    refusal_from_message,
    release_of,
    top_up_of,
)
from orders.domain.orders import Cancellation, Order, Refusal
from orders.domain.refunds import Refund

# Answers that are refusals, though they came as errors: the same question never fares better.
_REFUSALS = frozenset({
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
})  # fmt: skip

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Charged:
    """The charge, or the refund, is posted: now, or by an earlier question."""

    transaction_id: UUID
    posted_at: datetime


@dataclass(frozen=True, slots=True)
class TopUpMade:
    """A top-up waits for its payment, or has it already; `checkout_url` is where it is paid, if anywhere."""

    id: UUID
    checkout_url: str


class WalletUnansweredError(Exception):
    """No answer: whether it was done is unknown. Asking again is safe."""


class WalletClient:
    """Asks wallet over `channel`; each question takes `timeout_s` at most.

    Whatever is asked here may be asked again, and is done once. All raise WalletUnansweredError.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._wallets = wallets_pb2_grpc.WalletServiceStub(channel)
        self._holds = holds_pb2_grpc.HoldServiceStub(channel)
        self._timeout_s = timeout_s

    async def charge(self, order: Order, time_left_s: float | None = None) -> Charged | Refusal:
        """Charges the order. `time_left_s` is what the caller has left, if it is bounded."""
        request = wallets_pb2.PostChargeRequest(charge=charge_of(order))
        answer = await self._ask(self._wallets.PostCharge, request, time_left_s)
        return answer if isinstance(answer, Refusal) else _charged(answer.result)

    async def start_top_up(self, order: Order, time_left_s: float | None = None) -> TopUpMade | Refusal | Cancellation:
        """Makes the top-up that pays the order; a Cancellation where its payment failed at once."""
        wanted = wallets_pb2.ListWalletsRequest(organization_id=str(order.organization_id))
        found = await self._ask(self._wallets.ListWallets, wanted, time_left_s)
        if isinstance(found, Refusal):
            return found
        held = (wallet for wallet in found.wallets if wallet.currency == order.currency)
        wallet = next((wallet for wallet in held if wallet.seller_id == str(order.seller_id)), None)
        if wallet is None:
            return Refusal("WALLET_UNKNOWN", f"no wallet in {order.currency} with the order's seller")
        answer = await self._ask(self._wallets.CreateTopUp, top_up_of(order, wallet.id), time_left_s)
        if isinstance(answer, Refusal):
            return answer
        if answer.state == wallets_pb2.TopUp.STATE_FAILED:
            return payment_failure(answer)
        return TopUpMade(UUID(answer.id), answer.checkout_url)

    async def end_top_up(self, order: Order) -> UUID | None:
        """Sees to it that nobody pays the order any more; gives its top-up, or None where none was made.

        Where the answer to making one was lost, making it again tells which it is.
        """
        top_up_id = order.payment.top_up_id if order.payment else None
        if top_up_id is None:
            made = await self.start_top_up(order)
            if not isinstance(made, TopUpMade):
                return None
            top_up_id = made.id
        await self._ask(self._wallets.CancelTopUp, cancel_of(order, top_up_id))
        return top_up_id

    async def capture(self, order: Order, hold_id: UUID) -> Charged | Refusal:
        """Charges the order from what the hold sets aside; from the balance, where the hold has ended."""
        answer = await self._ask(self._holds.CaptureHold, capture_of(order, hold_id))
        refusal = answer if isinstance(answer, Refusal) else _charged(answer.result)
        if isinstance(refusal, Refusal) and refusal.reason == "HOLD_NOT_ACTIVE":
            return await self.charge(order)
        return refusal

    async def release(self, order: Order, hold_id: UUID) -> None:
        """Gives what the hold sets aside back to the balance. One that is gone, is gone."""
        await self._ask(self._holds.ReleaseHold, release_of(order, hold_id))

    async def refund(self, refund: Refund, order: Order) -> Charged | Refusal:
        """Takes back what the refund gives back of the order's charge."""
        request = wallets_pb2.PostRefundRequest(refund=refund_of(refund, order))
        answer = await self._ask(self._wallets.PostRefund, request)
        return answer if isinstance(answer, Refusal) else _charged(answer.result)

    async def _ask(
        self, question: Callable[..., Awaitable[R]], request: Any, time_left_s: float | None = None
    ) -> R | Refusal:
        timeout_s = self._timeout_s if time_left_s is None else min(self._timeout_s, time_left_s)
        try:
            return await question(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            problem = problem_of(error)
            if problem is not None and error.code() in _REFUSALS:
                return Refusal(problem.reason, problem.message)
            raise WalletUnansweredError(f"wallet did not answer: {error.code().name} {error.details()}") from error


def _charged(result: wallets_pb2.ChargeResult) -> Charged | Refusal:
    if result.HasField("refusal"):
        return refusal_from_message(result.refusal)
    return Charged(UUID(result.transaction_id), instant_from_message(result.posted_at))

"""Wallet, as orders needs it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import grpc
from farthing.wallet.v1 import wallets_pb2, wallets_pb2_grpc
from servicekit.problems import problem_of

from orders.convert.values import instant_from_message
from orders.convert.wallet import charge_of, refusal_from_message
from orders.domain.orders import Order, Refusal

# Answers that are refusals, though they came as errors: the same charge never fares better.
_REFUSALS = frozenset({
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Charged:
    """The charge is posted: now, or by an earlier question."""

    transaction_id: UUID
    posted_at: datetime


class WalletUnansweredError(Exception):
    """No answer: whether the charge is posted is unknown. Asking again is safe."""


class WalletClient:
    """Asks wallet over `channel`; each question takes `timeout_s` at most."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = wallets_pb2_grpc.WalletServiceStub(channel)
        self._timeout_s = timeout_s

    async def charge(self, order: Order, time_left_s: float | None = None) -> Charged | Refusal:
        """Charges the order once, however often it is asked. Raises WalletUnansweredError.

        `time_left_s` is what the caller has left, if it is bounded.
        """
        timeout_s = self._timeout_s if time_left_s is None else min(self._timeout_s, time_left_s)
        request = wallets_pb2.PostChargeRequest(charge=charge_of(order))
        try:
            response = await self._stub.PostCharge(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            problem = problem_of(error)
            if problem is not None and error.code() in _REFUSALS:
                return Refusal(problem.reason, problem.message)
            raise WalletUnansweredError(f"wallet did not answer: {error.code().name} {error.details()}") from error
        result = response.result
        if result.HasField("refusal"):
            return refusal_from_message(result.refusal)
        return Charged(UUID(result.transaction_id), instant_from_message(result.posted_at))

"""A wallet that does as it is told, over real gRPC."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid4, uuid5

import grpc
from farthing.wallet.events.v1.events_pb2 import TopUpFailed, TopUpSettled
from farthing.wallet.v1 import holds_pb2, holds_pb2_grpc, wallets_pb2, wallets_pb2_grpc
from servicekit.problems import precondition

CHARGE_TIMEOUT_S = 0.15
POSTED_AT = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
Ended = holds_pb2.Hold.State.ValueType


@dataclass
class ScriptedWallet(wallets_pb2_grpc.WalletServiceServicer, holds_pb2_grpc.HoldServiceServicer):
    """Does each thing once; `script` holds what it does to the next questions instead of answering plainly.

    `refuse:<organization>` lacks credit there, `refused:<REASON>` refuses for that reason, `hang` neither posts nor
    answers, `lose` posts but does not answer, `drop` does it and breaks off at once, `error:<CODE>` aborts, `slow`
    answers within the time.
    """

    script: list[str] = field(default_factory=list)
    asked: list[wallets_pb2.Charge] = field(default_factory=list)
    posted: dict[str, wallets_pb2.ChargeResult] = field(default_factory=dict)
    top_ups_asked: list[wallets_pb2.CreateTopUpRequest] = field(default_factory=list)
    top_ups: dict[str, wallets_pb2.TopUp] = field(default_factory=dict)
    cancels_asked: list[wallets_pb2.CancelTopUpRequest] = field(default_factory=list)
    holds: dict[str, Ended] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)
    captures: int = 0
    refunds_asked: list[wallets_pb2.Refund] = field(default_factory=list)
    # Which organization's wallet is with whom, in which currency.
    sellers: dict[str, tuple[str, str]] = field(default_factory=dict)

    def serve(self, server: grpc.aio.Server) -> None:
        wallets_pb2_grpc.add_WalletServiceServicer_to_server(self, server)
        holds_pb2_grpc.add_HoldServiceServicer_to_server(self, server)

    async def PostCharge(
        self, request: wallets_pb2.PostChargeRequest, context: grpc.aio.ServicerContext
    ) -> wallets_pb2.PostChargeResponse:
        self.asked.append(request.charge)
        return wallets_pb2.PostChargeResponse(result=await self._post(request.charge.request_id, context))

    async def PostRefund(
        self, request: wallets_pb2.PostRefundRequest, context: grpc.aio.ServicerContext
    ) -> wallets_pb2.PostRefundResponse:
        self.refunds_asked.append(request.refund)
        return wallets_pb2.PostRefundResponse(result=await self._post(request.refund.request_id, context))

    async def CaptureHold(
        self, request: holds_pb2.CaptureHoldRequest, context: grpc.aio.ServicerContext
    ) -> holds_pb2.CaptureHoldResponse:
        assert request.final
        self.captures += 1
        self.asked.append(request.charge)
        request_id = request.charge.request_id
        if self.holds[request.hold_id] != holds_pb2.Hold.STATE_ACTIVE and request_id not in self.posted:
            refusal = wallets_pb2.ChargeRefusal(reason="HOLD_NOT_ACTIVE")
            return holds_pb2.CaptureHoldResponse(result=wallets_pb2.ChargeResult(refusal=refusal))
        result = await self._post(request_id, context, captured=request.hold_id)
        return holds_pb2.CaptureHoldResponse(result=result)

    async def ReleaseHold(
        self, request: holds_pb2.ReleaseHoldRequest, context: grpc.aio.ServicerContext
    ) -> holds_pb2.Hold:
        verb, _ = await self._verb(context)
        if self.holds[request.id] == holds_pb2.Hold.STATE_ACTIVE:
            self.holds[request.id] = holds_pb2.Hold.STATE_RELEASED
            self.released.append(request.id)
        if verb == "drop":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        return holds_pb2.Hold(id=request.id, state=self.holds[request.id])

    async def ListWallets(
        self, request: wallets_pb2.ListWalletsRequest, context: grpc.aio.ServicerContext
    ) -> wallets_pb2.ListWalletsResponse:
        seller_id, currency = self.sellers[request.organization_id]
        closed = wallets_pb2.Wallet(id=str(uuid4()), currency=currency, seller_id=str(uuid4()))
        other = wallets_pb2.Wallet(id=str(uuid4()), currency="JPY", seller_id=seller_id)
        mine = wallets_pb2.Wallet(id=wallet_id(request.organization_id), currency=currency, seller_id=seller_id)
        return wallets_pb2.ListWalletsResponse(wallets=[closed, other, mine])

    async def CreateTopUp(
        self, request: wallets_pb2.CreateTopUpRequest, context: grpc.aio.ServicerContext
    ) -> wallets_pb2.TopUp:
        self.top_ups_asked.append(request)
        verb, what = await self._verb(context)
        if request.request_id not in self.top_ups:
            if verb == "refused":
                await context.abort_with_status(precondition(what, "as told").status())
            self.top_ups[request.request_id] = wallets_pb2.TopUp(
                id=str(uuid4()),
                wallet_id=request.wallet_id,
                amount=request.amount,
                method=request.method,
                state=wallets_pb2.TopUp.STATE_PENDING,
                order_id=request.order_id,
                order_number=request.order_number,
            )
            if verb == "fail":
                self.fail(request.request_id, "", what)
            if request.method == wallets_pb2.TOP_UP_METHOD_PROVIDER:
                self.top_ups[request.request_id].checkout_url = f"https://pay.example/{request.order_number}"
        if verb == "drop":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        if verb == "lose":
            await asyncio.sleep(10)
        return self.top_ups[request.request_id]

    async def CancelTopUp(
        self, request: wallets_pb2.CancelTopUpRequest, context: grpc.aio.ServicerContext
    ) -> wallets_pb2.TopUp:
        self.cancels_asked.append(request)
        verb, _ = await self._verb(context)
        [top_up] = [each for each in self.top_ups.values() if each.id == request.id]
        if top_up.state == wallets_pb2.TopUp.STATE_PENDING:
            top_up.state, top_up.failure_reason = wallets_pb2.TopUp.STATE_FAILED, request.reason
        if verb == "drop":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        return top_up

    def settle(self, order_id: str, root_id: object) -> TopUpSettled:
        """The money of an order is here, and held."""
        top_up = self.top_ups[order_id]
        top_up.state, top_up.hold_id = wallets_pb2.TopUp.STATE_SETTLED, str(uuid4())
        self.holds[top_up.hold_id] = holds_pb2.Hold.STATE_ACTIVE
        event = TopUpSettled(root_id=str(root_id), top_up=top_up)
        event.posted_at.FromDatetime(POSTED_AT)
        return event

    def fail(self, order_id: str, root_id: object, why: str) -> TopUpFailed:
        """The money of an order will not come: its card has expired."""
        top_up = self.top_ups[order_id]
        top_up.state, top_up.failure_reason = wallets_pb2.TopUp.STATE_FAILED, why
        top_up.failure = wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED
        return TopUpFailed(root_id=str(root_id), top_up=top_up)

    async def _verb(self, context: Any) -> tuple[str, str]:
        verb, _, what = (self.script.pop(0) if self.script else "post").partition(":")
        if verb == "error":
            await context.abort(grpc.StatusCode[what], "as told")
        if verb == "hang":
            await asyncio.sleep(10)
        return verb, what

    async def _post(self, request_id: str, context: Any, captured: str = "") -> wallets_pb2.ChargeResult:
        verb, what = await self._verb(context)
        if request_id in self.posted:
            return self.posted[request_id]
        result = wallets_pb2.ChargeResult(request_id=request_id)
        if verb in ("refuse", "refused"):
            result.refusal.CopyFrom(lacking(what) if verb == "refuse" else wallets_pb2.ChargeRefusal(reason=what))
            return result
        result.transaction_id = str(uuid4())
        result.posted_at.FromDatetime(POSTED_AT)
        self.posted[request_id] = result
        if captured:
            self.holds[captured] = holds_pb2.Hold.STATE_CAPTURED
        if verb == "drop":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as told")
        if verb == "lose":
            await asyncio.sleep(10)
        if verb == "slow":
            await asyncio.sleep(CHARGE_TIMEOUT_S / 3)
        return result


def lacking(organization_id: str) -> wallets_pb2.ChargeRefusal:
    """1.23 there, and 4.56 needed."""
    return wallets_pb2.ChargeRefusal(
        reason="INSUFFICIENT_CREDIT",
        message=f"wallet of {organization_id} has 1.23",
        organization_id=organization_id,
        wallet_id=str(uuid4()),
        available_micros=1_230_000,
        needed_micros=4_560_000,
    )


def wallet_id(organization_id: str) -> str:
    """Of an organization's wallet with its seller."""
    return str(uuid5(NAMESPACE_OID, organization_id))

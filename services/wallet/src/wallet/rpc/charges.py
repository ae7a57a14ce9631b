"""Charges: the way in for our own services."""

from collections.abc import AsyncIterator, Sequence

from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.call import current_call
from servicekit.problems import unavailable
from servicekit.server import Context
from servicekit.telemetry import current_traceparent

from wallet.convert.ledger import charge_from_message, fill_result
from wallet.domain.ledger import Outcome, Refusal
from wallet.engine import Asked, Engine, LedgerUnavailableError


class ChargesRpc:
    """PostCharge and PostCharges."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def PostCharge(self, request: pb.PostChargeRequest, _context: Context) -> pb.PostChargeResponse:
        charge = charge_from_message(request.charge, _service())
        if isinstance(charge, Refusal):
            outcome: Outcome = charge
        else:
            try:
                outcome = await self._engine.post(Asked(charge, current_traceparent()))
            except LedgerUnavailableError as error:
                raise _not_now(error) from error
        response = pb.PostChargeResponse()
        fill_result(response.result, request.charge.request_id, outcome)
        return response

    async def PostCharges(
        self, requests: AsyncIterator[pb.PostChargesRequest], _context: Context
    ) -> AsyncIterator[pb.PostChargesResponse]:
        service, traceparent = _service(), current_traceparent()
        async for request in requests:
            outcomes = await self._post(request.charges, service, traceparent)
            response = pb.PostChargesResponse()
            for charge, outcome in zip(request.charges, outcomes, strict=True):
                fill_result(response.results.add(), charge.request_id, outcome)
            yield response

    async def _post(self, messages: Sequence[pb.Charge], service: str, traceparent: str | None) -> list[Outcome]:
        charges = [charge_from_message(message, service) for message in messages]
        batch = [Asked(charge, traceparent) for charge in charges if not isinstance(charge, Refusal)]
        try:
            posted = iter(await self._engine.post_batch(batch))
        except LedgerUnavailableError as error:
            raise _not_now(error) from error
        return [charge if isinstance(charge, Refusal) else next(posted) for charge in charges]


def _service() -> str:
    return current_call().principal.service or ""


def _not_now(error: LedgerUnavailableError) -> Exception:
    return unavailable(f"The charge may or may not be posted: {error}. Send it again with the same request_id.")

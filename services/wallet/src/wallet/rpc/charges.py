"""Charges: the way in for our own services."""

from collections.abc import AsyncIterator, Sequence

from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.call import current_call
from servicekit.problems import unavailable
from servicekit.server import Context
from servicekit.telemetry import current_traceparent

from wallet.convert.ledger import charge_from_message, result_to_message
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
        return pb.PostChargeResponse(result=result_to_message(request.charge.request_id, outcome))

    async def PostCharges(
        self, requests: AsyncIterator[pb.PostChargesRequest], _context: Context
    ) -> AsyncIterator[pb.PostChargesResponse]:
        service, traceparent = _service(), current_traceparent()
        async for request in requests:
            outcomes = await self._post(request.charges, service, traceparent)
            yield pb.PostChargesResponse(
                results=[
                    result_to_message(charge.request_id, outcome)
                    for charge, outcome in zip(request.charges, outcomes, strict=True)
                ]
            )

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

"""Draws receipts in worker processes, never on the event loop. A worker that dies or hangs is replaced."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime

from directory.convert import organization_from_message
from farthing.wallet.v1.organizations_pb2 import Organization

from documents.convert import receipt_view
from documents.domain import DocumentType
from documents.render import render_receipt
from documents.views import IssuerView, LineView, ReceiptKind, ReceiptView, RecipientView

RENDER_TIMEOUT_S = 60.0


class RenderingFailed(Exception):  # noqa: N818
    """A worker died or took too long over this receipt; another try may succeed."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that a receipt is drawn from, as it was when it was issued: the same drawing gives the same bytes."""

    type: DocumentType
    payload: bytes
    number: str
    issued_at: datetime
    issuer: bytes
    recipient: bytes


def draw(drawing: Drawing) -> bytes:
    """The receipt as PDF. Runs in a worker."""
    issuer, recipient = (
        organization_from_message(Organization.FromString(resource)) for resource in (drawing.issuer, drawing.recipient)
    )
    view = receipt_view(
        drawing.type,
        drawing.payload,
        number=drawing.number,
        issued_at=drawing.issued_at,
        issuer=issuer,
        recipient=recipient,
    )
    return render_receipt(view)


class Renderer:
    """`processes` workers. Enter it to have them warm: fonts read, a first page drawn."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    async def __aenter__(self) -> Renderer:
        self._pool = self._new_pool()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            self._kill(self._pool)

    async def warm(self) -> None:
        """Starts the workers and lets each draw a page, so that the first receipt need not wait for it."""
        await asyncio.gather(*(self._run(draw_sample) for _ in range(self._processes)))

    async def render(self, drawing: Drawing) -> bytes:
        """The receipt as PDF. Raises RenderingFailed where its worker died twice or took longer than a minute."""
        try:
            return await self._run(draw, drawing)
        except BrokenProcessPool:
            # Maybe it was another receipt that took the worker down: once more, in a new one.
            try:
                return await self._run(draw, drawing)
            except BrokenProcessPool as error:
                raise RenderingFailed(f"the worker died over receipt {drawing.number}") from error

    async def _run(self, function: Callable[..., bytes], *arguments: Drawing) -> bytes:
        pool = self._pool = self._pool or self._new_pool()
        try:
            future = asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
            async with asyncio.timeout(RENDER_TIMEOUT_S):
                drawn = await future
        except BrokenProcessPool:
            self._replace(pool)
            raise
        except TimeoutError as error:
            self._replace(pool)
            raise RenderingFailed(f"a receipt took longer than {RENDER_TIMEOUT_S:.0f} s to draw") from error
        return drawn

    def _new_pool(self) -> ProcessPoolExecutor:
        # Neither gRPC nor an event loop survives a fork.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_start_worker)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._pool is broken:
            self._pool = None
            self._kill(broken)

    def _kill(self, pool: ProcessPoolExecutor) -> None:
        # A hung worker never reads the request to stop.
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def draw_sample() -> bytes:
    """A receipt of nobody, for warming up. Runs in a worker."""
    line = LineView("-", 1, 1_000_000, 1_000_000)
    view = ReceiptView(
        kind=ReceiptKind.PURCHASE,
        number="R-0000-000000",
        issued_at=datetime(2000, 1, 1, tzinfo=UTC),
        language="en",
        issuer=IssuerView("-"),
        recipient=RecipientView("-"),
        paid_at=datetime(2000, 1, 1, tzinfo=UTC),
        payment_method="BALANCE",
        currency="EUR",
        lines=(line,),
        net_micros=1_000_000,
        tax_micros=0,
        total_micros=1_000_000,
        ledger_transaction_id="-",
    )
    return render_receipt(view)


def _start_worker() -> None:
    # The service decides when its workers stop; and if it is killed, they must not outlive it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

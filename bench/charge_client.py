"""The program that asks for charges, in a process of its own; the same for both sides of a row.

Reads what to do as JSON on standard input, prints what came of it as JSON. Counts answers that arrive within the
measured seconds, after a warm-up; a refused charge ends the program.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from statistics import quantiles

import grpc.aio
import uvloop
from farthing.wallet.v1 import wallets_pb2 as pb
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceStub
from servicekit.garbage import collect_seldom

from bench.ledger_world import CURRENCY, CUSTOMERS, HOT, SPREAD, TIERS, Ground, chain

TIMEOUT_S = 30.0
ORDER_NUMBER = "ORD-2026-004512"
ITEM = "Cloud Phone Business, 12 months"


@dataclass(frozen=True, slots=True)
class Work:
    """`callers` at once: single calls, or streams if `batch` is more than one."""

    target: str
    token: str
    ground: str
    callers: int
    batch: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True, slots=True)
class Came:
    """Charges a second, and how long a call (or a batch) took."""

    charges_per_s: float
    p50_ms: float
    p99_ms: float


class Asker:
    """Makes charges of customers drawn by lot, no request id twice, and counts the answers."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._chains = [_texts(SPREAD if work.ground == SPREAD.name else HOT, each) for each in range(CUSTOMERS)]
        self._run = uuid.uuid4().hex
        self._number = 0
        self.answered = 0
        self.took_s: list[float] = []
        self.until_s = 0.0

    def charge(self) -> pb.Charge:
        self._number += 1
        buyers = random.choice(self._chains)
        return pb.Charge(
            request_id=f"{self._run}-{self._number}",
            currency=CURRENCY,
            tiers=[
                pb.ChargeTier(buyer_id=buyers[tier], seller_id=buyers[tier + 1], net_micros=net, tax_micros=tax)
                for tier, (net, tax) in enumerate(TIERS)
            ],
            order_id=str(uuid.uuid4()),
            order_number=ORDER_NUMBER,
            item=ITEM,
        )

    def answer(self, results: list[pb.ChargeResult], started_s: float) -> None:
        for result in results:
            if not result.transaction_id:
                raise SystemExit(f"a charge was refused: {result.refusal}")
        self.answered += len(results)
        self.took_s.append(time.perf_counter() - started_s)

    async def call(self, stub: WalletServiceStub, metadata: list[tuple[str, str]]) -> None:
        while time.perf_counter() < self.until_s:
            request = pb.PostChargeRequest(charge=self.charge())
            started_s = time.perf_counter()
            reply = await stub.PostCharge(request, metadata=metadata, timeout=TIMEOUT_S)
            self.answer([reply.result], started_s)

    async def stream(self, stub: WalletServiceStub, metadata: list[tuple[str, str]]) -> None:
        sent_s: list[float] = []
        arrived = asyncio.Event()

        async def requests() -> AsyncIterator[pb.PostChargesRequest]:
            while time.perf_counter() < self.until_s:
                request = pb.PostChargesRequest(charges=[self.charge() for _ in range(self._work.batch)])
                sent_s.append(time.perf_counter())
                yield request
                await arrived.wait()
                arrived.clear()

        async for reply in stub.PostCharges(requests(), metadata=metadata):
            self.answer(list(reply.results), sent_s[-1])
            arrived.set()


async def measure(work: Work) -> Came:
    asker = Asker(work)
    collect_seldom()
    metadata = [("authorization", f"Bearer {work.token}")] if work.token else []
    async with grpc.aio.insecure_channel(work.target) as channel:
        stub = WalletServiceStub(channel)
        asker.until_s = time.perf_counter() + work.warm_up_s + work.seconds
        one = asker.call if work.batch == 1 else asker.stream
        callers = [asyncio.create_task(one(stub, metadata)) for _ in range(work.callers)]
        await asyncio.sleep(work.warm_up_s)
        before, started_s = asker.answered, time.perf_counter()
        asker.took_s.clear()
        await asyncio.sleep(work.seconds)
        answered, elapsed_s, took_s = asker.answered - before, time.perf_counter() - started_s, list(asker.took_s)
        await asyncio.gather(*callers)
    hundredths = quantiles(took_s, n=100)
    return Came(answered / elapsed_s, hundredths[49] * 1000, hundredths[98] * 1000)


def _texts(ground: Ground, customer: int) -> tuple[str, ...]:
    return tuple(map(str, chain(ground, customer)))


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(measure(Work(**json.load(sys.stdin)))))))

"""Both sides of the charge rows: wallet asked over gRPC, and pgbench calling one SQL function."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from farthing_cli.tokens import TokenMaker
from google.protobuf.timestamp_pb2 import Timestamp
from local_stack.stack import Stack
from servicekit.clock import SYSTEM_CLOCK
from wallet.domain.ledger import Charge, Line, Posted, Tier
from wallet.events.ledger import charge_posted

from bench.charge_client import ITEM, ORDER_NUMBER, Work
from bench.harness import Figure, Progress
from bench.ledger_world import CURRENCY, SPREAD, TIERS, Ground, chain, pgbench_script, seed, settle
from bench.own_stack import own_stack, run, superuser_url

PGBENCH_CLIENTS = 16
STREAMS = 6
BATCH = 100
WARM_UP_S = 1.0
_FUNCTION = Path(__file__).with_name("ledger_function.sql")
_COUNTS = """
SELECT (SELECT count(*) FROM transactions) AS transactions, (SELECT count(*) FROM lines) AS lines,
       (SELECT count(*) FROM outbox) AS events, (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS waiting
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A seeded ledger with wallet running before it."""

    stack: Stack
    token: str

    def charges(self, ground: Ground, seconds: float, *, callers: int = STREAMS, batch: int = BATCH) -> Figure:
        """Charges a second through PostCharges, or PostCharge where `batch` is 1, over gRPC."""
        settle(self.stack)
        target = self.stack.env()["WALLET_GRPC"]
        figure = ask(Work(target, self.token, ground.name, callers, batch, seconds, WARM_UP_S))
        return Figure(figure.value, {**figure.details, "events_waiting": run(_waiting(self.stack))})

    def pgbench(self, ground: Ground, seconds: float) -> Figure:
        """Purchases a second by the SQL function, from 16 clients of pgbench."""
        settle(self.stack)
        env = self.stack.env()
        script = self.stack.folder / f"{ground.name}.sql"
        script.write_text(pgbench_script(ground))
        done = subprocess.run(
            [
                env["PGBENCH"],
                *("-n", "-M", "prepared", "-c", str(PGBENCH_CLIENTS), "-j", "2"),
                *("-T", str(max(1, round(seconds))), "-f", str(script), env["WALLET_DATABASE_URL"]),
            ],
            env={"PATH": os.defpath, "HOME": "/", "PGOPTIONS": "-c farthing.scope=all"},
            capture_output=True,
            text=True,
            check=False,
        )
        found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
        if done.returncode != 0 or found is None or "number of failed transactions: 0 " not in done.stdout:
            raise RuntimeError(f"pgbench did not run through:\n{done.stdout}{done.stderr}")
        return Figure(float(found[1]), {"events_waiting": run(_waiting(self.stack))})

    def checked(self) -> str:
        """A note on the rows that lie in the ledger. RuntimeError where one is missing."""
        settle(self.stack)
        counts = run(_counts(self.stack))
        transactions, lines, events = counts["transactions"], counts["lines"], counts["events"]
        if lines != 3 * transactions or events != transactions:
            raise RuntimeError(f"the rows do not match: {counts}")
        return f"afterwards {transactions:,} transactions with three lines and one published event each"


@contextmanager
def ledger(progress: Progress) -> Iterator[Ledger]:
    """A stack with wallet alone, its ledger seeded, the SQL function of the other side in the same database."""
    with own_stack(progress, ["wallet"]) as stack:
        progress("seeding 22,002 wallets")
        seed(stack)
        run(_add_function(stack))
        progress("starting wallet")
        stack.start("wallet")
        token = TokenMaker(stack.env()).of_operator(SYSTEM_CLOCK.now(), timedelta(hours=12))
        yield Ledger(stack, token)


def ask(work: Work) -> Figure:
    """Runs the client in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.charge_client"],
        input=json.dumps(asdict(work)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the client of the charges failed:\n{done.stdout}{done.stderr}")
    came = json.loads(done.stdout)
    return Figure(came["charges_per_s"], {key: round(came[key], 2) for key in ("p50_ms", "p99_ms")})


async def _counts(stack: Stack) -> dict[str, int]:
    connection = await asyncpg.connect(superuser_url(stack, "wallet"))
    try:
        return dict(await connection.fetchrow(_COUNTS) or {})
    finally:
        await connection.close()


async def _waiting(stack: Stack) -> int:
    connection = await asyncpg.connect(superuser_url(stack, "wallet"))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
    finally:
        await connection.close()


async def _add_function(stack: Stack) -> None:
    script = _FUNCTION.read_text().replace(":sha256", bytes(range(32)).hex()).replace(":payload", _event().hex())
    connection = await asyncpg.connect(stack.env()["WALLET_OWNER_DATABASE_URL"])
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def _event() -> bytes:
    """An event as wallet writes it for such a purchase."""
    chained = chain(SPREAD, 0)
    tiers = tuple(Tier(chained[at], chained[at + 1], net, tax) for at, (net, tax) in enumerate(TIERS))
    charge = Charge(f"orders:{uuid.uuid4()}", bytes(32), chained[2], CURRENCY, uuid.uuid4(), ORDER_NUMBER, ITEM, tiers)
    posted_at = datetime(2026, 1, 1, tzinfo=UTC)
    lines = tuple(
        Line(chained[2], buyer, buyer, buyer, seller, 1000, -1, 1, 0, 0, 0, -(10**10), 10**17, at, 2, 0, bytes(32))
        for at, (buyer, seller, _, _) in enumerate(tiers, 1)
    )
    posted = Posted(uuid.uuid4(), posted_at, -(10**10), bytes(32), lines)
    stamp = Timestamp()
    stamp.FromDatetime(posted_at)
    return charge_posted(charge, posted, stamp, None).payload

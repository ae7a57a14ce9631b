"""One charge a call from 64 callers, durable, beside a bare gRPC echo of the same messages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.charge_client import Work
from bench.harness import Effort, Figure, Measured, Progress, Row, interleave
from bench.ledger import WARM_UP_S, ask, ledger
from bench.ledger_world import SPREAD

CALLERS = 64
ROW = Row(
    name="charge_rpc",
    title=f"3-tier charge, one RPC each, {CALLERS} callers, durable",
    unit="charges/s",
    against="bare gRPC echo: the same server library, loop and messages, no interceptor, no database",
    target=0.7,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """The same client program asks wallet and the echo."""
    with ledger(progress) as ground, _echo() as target:
        rounds = interleave(
            effort,
            lambda: ground.charges(SPREAD, effort.seconds, callers=CALLERS, batch=1),
            lambda: _ask_echo(target, effort.seconds),
            progress,
        )
        return Measured(rounds, ["plaintext on both sides, wallet's calls carry a token", ground.checked()])


def _ask_echo(target: str, seconds: float) -> Figure:
    return ask(Work(target, "", SPREAD.name, CALLERS, 1, seconds, WARM_UP_S))


@contextmanager
def _echo() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "bench.echo_server"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()

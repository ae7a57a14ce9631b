"""Receipts drawn and archived under lock, beside Typst alone on the same cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from bench.harness import Effort, Figure, Measured, Progress, Row, interleave
from bench.own_stack import own_stack

RECEIPTS_PER_S = 60
ROW = Row(
    name="receipts",
    title="receipts drawn, archived under lock, recorded",
    unit="receipts/s",
    against="bare Typst, the same receipts, a process a core",
    target=0.8,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """Documents' own jobs against PostgreSQL and S3, and bare Typst."""
    count = max(100, round(effort.seconds * RECEIPTS_PER_S))
    with own_stack(progress, ["documents"]) as stack:
        environment = stack.service_env("documents")
        rounds = interleave(
            effort,
            lambda: _run("bench.receipts_archived", count, environment),
            lambda: _run("bench.receipts_bare", count, {}),
            progress,
        )
    notes = [
        f"{count} receipts a round, one issuer, a package and two proxies each; claim, draw, put with COMPLIANCE "
        "retention, commit with a manifest line; PostgreSQL and the S3 server run on the same cores",
        "the S3 server (versitygw) does not fsync",
    ]
    return Measured(rounds, notes)


def _run(module: str, count: int, environment: Mapping[str, str]) -> Figure:
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=str(count),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} failed:\n{done.stdout}{done.stderr}")
    return Figure(float(done.stdout.splitlines()[-1]))

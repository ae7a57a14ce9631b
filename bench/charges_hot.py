"""Charges in batches of 100, all customers under one partner, beside pgbench calling one SQL function."""

from bench.harness import Effort, Measured, Progress, Row, interleave
from bench.ledger import BATCH, PGBENCH_CLIENTS, STREAMS, ledger
from bench.ledger_world import HOT

ROW = Row(
    name="charges_hot",
    title="3-tier charges in batches of 100, one partner",
    unit="charges/s",
    against=f"pgbench, {PGBENCH_CLIENTS} clients, one SQL function that writes the same rows",
    target=6.0,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """PostCharges over gRPC, and pgbench, in the same database."""
    with ledger(progress) as ground:
        rounds = interleave(
            effort,
            lambda: ground.charges(HOT, effort.seconds),
            lambda: ground.pgbench(HOT, effort.seconds),
            progress,
        )
        return Measured(rounds, [f"{STREAMS} streams, batches of {BATCH}; fsync on, relay on", ground.checked()])

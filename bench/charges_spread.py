"""Charges in batches of 100, customers spread over 1,000 partners, beside pgbench calling one SQL function."""

from bench.harness import Effort, Measured, Progress, Row, interleave
from bench.ledger import BATCH, PGBENCH_CLIENTS, STREAMS, ledger
from bench.ledger_world import SPREAD

ROW = Row(
    name="charges_spread",
    title="3-tier charges in batches of 100, 1,000 partners",
    unit="charges/s",
    against=f"pgbench, {PGBENCH_CLIENTS} clients, one SQL function that writes the same rows",
    target=2.0,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """PostCharges over gRPC, and pgbench, in the same database."""
    with ledger(progress) as ground:
        rounds = interleave(
            effort,
            lambda: ground.charges(SPREAD, effort.seconds),
            lambda: ground.pgbench(SPREAD, effort.seconds),
            progress,
        )
        return Measured(rounds, [f"{STREAMS} streams, batches of {BATCH}; fsync on, relay on", ground.checked()])

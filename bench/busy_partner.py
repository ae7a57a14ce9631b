"""All customers under one partner, beside customers spread over 1,000: what a busy wallet costs."""

from bench.harness import Effort, Measured, Progress, Row, interleave
from bench.ledger import BATCH, STREAMS, ledger
from bench.ledger_world import HOT, SPREAD

ROW = Row(
    name="busy_partner",
    title="3-tier charges, all customers under one partner",
    unit="charges/s",
    against="the same with customers spread over 1,000 partners",
    target=0.9,
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """PostCharges on both grounds."""
    with ledger(progress) as ground:
        rounds = interleave(
            effort,
            lambda: ground.charges(HOT, effort.seconds),
            lambda: ground.charges(SPREAD, effort.seconds),
            progress,
        )
        return Measured(rounds, [f"{STREAMS} streams, batches of {BATCH}; fsync on, relay on", ground.checked()])

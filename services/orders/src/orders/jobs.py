"""What orders does by itself."""

from servicekit.jobs import Job

from orders.commands.paying import Paying
from orders.commands.refunds import Refunds

RESOLVE_EVERY_S = 1.0
CANCEL_EVERY_S = 5.0


def jobs(paying: Paying, refunds: Refunds) -> list[Job]:
    """Every replica runs them: an order is leased by one at a time, or changed under its row lock."""
    return [
        Job("resolve_pending_orders", RESOLVE_EVERY_S, paying.resolve_pending),
        Job("resolve_pending_refunds", RESOLVE_EVERY_S, refunds.resolve_pending),
        Job("cancel_overdue_orders", CANCEL_EVERY_S, paying.cancel_overdue),
    ]

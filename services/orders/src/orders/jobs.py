"""What orders does by itself."""

from servicekit.jobs import Job

from orders.commands.orders import Orders

RESOLVE_EVERY_S = 1.0


def jobs(orders: Orders) -> list[Job]:
    """Every replica runs them: an order is leased by one at a time."""
    return [Job("resolve_pending_orders", RESOLVE_EVERY_S, orders.resolve_pending)]

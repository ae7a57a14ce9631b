"""Filters, orders and sums of a wallet's lines: proto <-> domain."""

from farthing.wallet.v1 import wallets_pb2 as pb
from money.messages import money_to_message
from servicekit.folding import fold
from servicekit.instants import boundary
from servicekit.problems import invalid

from wallet.domain.search import EntryFilter, Order, Search, Totals, compact_number


def filter_from_message(message: pb.EntryFilter) -> EntryFilter:
    """Problem INVALID_ARGUMENT where an instant is none, or an order number nothing but dashes and spaces."""
    number = compact_number(message.order_number)
    if message.order_number and not number:
        # Every line would begin so, also those that are of no order.
        said = "has nothing but dashes and spaces; write a number, or its beginning: FA-261123-7K3M9Q2X, FA-2611"
        raise invalid(f"filter.order_number '{message.order_number}' {said}", fields={"filter.order_number": said})
    return EntryFilter(
        posted_from=boundary(message, "posted_from", "filter."),
        posted_to=boundary(message, "posted_to", "filter."),
        types=frozenset(message.types),
        items=tuple(dict.fromkeys(fold(part) for part in message.items)),
        number=number,
        cloud_phone_id=message.cloud_phone_id,
        search=Search.of(message.search),
    )


def order_from_message(number: int) -> Order:
    """The newest first where nothing is said."""
    return Order(number) if number else Order.NEWEST


def totals_to_message(currency: str, totals: Totals) -> pb.EntryTotals:
    """Sums only where they are of everything."""
    if totals.more:
        return pb.EntryTotals(count=totals.count, more=True)
    return pb.EntryTotals(
        count=totals.count,
        credits=money_to_message(currency, totals.credits_micros),
        debits=money_to_message(currency, totals.debits_micros),
    )

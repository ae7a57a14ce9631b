"""Filters, orders and sums of a wallet's lines: proto <-> domain."""

from datetime import UTC, datetime, timedelta

from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from money.messages import money_to_message
from servicekit.folding import fold
from servicekit.problems import invalid

from wallet.convert.ledger import instant
from wallet.domain.search import EntryFilter, Order, Search, Totals, compact_number

_NANOS_PER_MICRO = 1_000
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def filter_from_message(message: pb.EntryFilter) -> EntryFilter:
    """Problem INVALID_ARGUMENT where an instant is none."""
    return EntryFilter(
        posted_from=boundary(message, "posted_from", "filter."),
        posted_to=boundary(message, "posted_to", "filter."),
        types=frozenset(message.types),
        items=tuple(dict.fromkeys(fold(part) for part in message.items)),
        number=compact_number(message.order_number),
        cloud_phone_id=message.cloud_phone_id,
        search=Search.of(message.search),
    )


def boundary(message: Message, field: str, path: str = "") -> datetime | None:
    """Where a range of instants begins or ends: the first microsecond that is not before `field`; None where unset.

    The books count in microseconds, so what is in between belongs to the next. Problem INVALID_ARGUMENT where it is
    before year 1 or after 9999.
    """
    if not message.HasField(field):
        return None
    asked: Timestamp = getattr(message, field)
    try:
        found = instant(asked)
    except ValueError as error:
        raise invalid(f"{path}{field} is not an instant: {error}", fields={path + field: "not an instant"}) from error
    if asked.nanos % _NANOS_PER_MICRO:
        return _LAST_INSTANT if found >= _LAST_INSTANT else found + timedelta(microseconds=1)
    return found


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

"""A wallet's lines as the rows of a file, and the filter in words."""

from collections.abc import Sequence

from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.export import Column, Kind, Row

from wallet.domain.entries import EntryRow

COLUMNS = (
    Column("Time", Kind.INSTANT),
    Column("Type"),
    Column("Kind"),
    Column("Item"),
    Column("Order number"),
    Column("Cloud phone"),
    Column("Amount", Kind.AMOUNT, summed=True),
    Column("Balance after", Kind.AMOUNT),
    Column("Currency"),
    Column("Transaction"),
    Column("Original transaction"),
    Column("Line", Kind.INTEGER),
)
CURRENCY_COLUMN = "Currency"
_TYPES: dict[int, str] = {
    number: name.removeprefix("ENTRY_TYPE_").capitalize() for name, number in pb.EntryType.items()
}
_KINDS: dict[int, str] = {
    number: name.removeprefix("TRANSACTION_KIND_").replace("_", "-").capitalize() if number else ""
    for name, number in pb.TransactionKind.items()
}
_ORDERS: dict[int, str] = {
    pb.ENTRY_ORDER_UNSPECIFIED: "by time, the newest first",
    pb.ENTRY_ORDER_NEWEST: "by time, the newest first",
    pb.ENTRY_ORDER_OLDEST: "by time, the oldest first",
    pb.ENTRY_ORDER_AMOUNT_DESCENDING: "by amount, the largest credit first",
    pb.ENTRY_ORDER_AMOUNT_ASCENDING: "by amount, the largest debit first",
}


def export_rows(currency: str, entries: Sequence[EntryRow]) -> list[Row]:
    """A row of COLUMNS for each line."""
    return [
        (
            entry.posted_at,
            _TYPES[entry.type],
            _KINDS[entry.kind],
            entry.item,
            entry.order_number,
            entry.cloud_phone_id,
            entry.amount_micros,
            entry.balance_after_micros,
            currency,
            str(entry.transaction_id),
            "" if entry.original_id is None else str(entry.original_id),
            entry.sequence,
        )
        for entry in entries
    ]


def filter_facts(request: pb.ExportEntriesRequest) -> list[tuple[str, str]]:
    """What was asked for, for people; nothing that was not."""
    asked = request.filter
    facts = []
    if asked.HasField("posted_from"):
        facts.append(("From", asked.posted_from.ToJsonString()))
    if asked.HasField("posted_to"):
        facts.append(("Before", asked.posted_to.ToJsonString()))
    if asked.types:
        facts.append(("Types", ", ".join(_TYPES[type_] for type_ in sorted(set(asked.types)))))
    if asked.items:
        facts.append(("Items with", " | ".join(asked.items)))
    for label, text in (
        ("Order number", asked.order_number),
        ("Cloud phone", asked.cloud_phone_id),
        ("Search", asked.search),
    ):
        if text:
            facts.append((label, text))
    return [*facts, ("Sorted", _ORDERS[request.order])]

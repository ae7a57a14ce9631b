"""Lists of orders and their exports."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from directory import store as directory
from farthing.export.v1.export_pb2 import ExportChunk
from farthing.orders.v1 import orders_pb2
from money.messages import money_to_message
from servicekit.call import Call, current_call
from servicekit.export import Column, Kind, Row, export, file_name_stem
from servicekit.instants import boundary
from servicekit.paging import Cursor, page_size
from servicekit.scope import EVERYTHING

from orders.convert.orders import order_to_message
from orders.convert.search import filter_from_message, order_order_from_number
from orders.domain.cancellations import cancel_text
from orders.domain.orders import Order, OrderState
from orders.domain.search import OrderFilter, OrderOrder, Place
from orders.rpc.reads import Reads, without_page
from orders.store import listing, search, walks
from orders.store.listing import CurrencySum, ListTotals
from orders.store.walks import Key


@dataclass(frozen=True, slots=True)
class OrderLists:
    """ListOrders and ExportOrders."""

    reads: Reads

    async def list(self, request: orders_pb2.ListOrdersRequest) -> orders_pb2.ListOrdersResponse:
        """A page of the orders that the filter leaves, and their totals where they are asked for."""
        call = current_call()
        size, bound_to = page_size(request.page_size), without_page(request)
        order = order_order_from_number(request.order)
        after = _place(self.reads.pager.decode(request.page_token, bound_to=bound_to), order)
        wanted = _filter_in(request.filter)
        viewer_id = call.principal.organization_id
        totals = ListTotals(0, more=False)
        keys: list[Key] = []
        async with walks.walking(self.reads.database) as connection:
            found = await search.prepare(connection, call.scope, wanted, order)
            if found is not None:
                keys = await search.find_keys(connection, found, after, size + 1)
                if request.with_totals:
                    totals = await listing.find_totals(connection, found, viewer_id)
        orders: dict[UUID, Order] = {}
        if keys:
            async with self.reads.database.transaction(call.scope) as connection:
                orders = {order.id: order for order in await listing.read_found(connection, keys)}
        messages, token = self.reads.page(
            keys,
            size,
            lambda key: order_to_message(orders[key.place.id], viewer_id) if key.place.id in orders else None,
            lambda key: _cursor(key.place),
            bound_to,
        )
        response = orders_pb2.ListOrdersResponse(orders=messages, next_page_token=token)
        if request.with_totals:
            response.totals.CopyFrom(_totals_to_message(totals))
        return response

    async def export(self, request: orders_pb2.ExportOrdersRequest) -> AsyncGenerator[ExportChunk]:
        """A file of the orders that the filter leaves and that were there when it began."""
        call = current_call()
        now = self.reads.clock.now()
        order = order_order_from_number(request.order)
        wanted = _filter_in(request.filter)
        async with self.reads.database.transaction(EVERYTHING) as connection:
            viewer_id = call.principal.organization_id
            viewer = await directory.find(connection, viewer_id) if viewer_id is not None else None
            sells = viewer is not None and await listing.sells(connection, viewer.id)
        labels = await self._labels(call, wanted)
        of = viewer.name if viewer else "All organizations"
        asked_by = call.principal.name or call.principal.subject
        async with aclosing(
            export(
                request.format,
                file_stem=file_name_stem("orders", viewer.domain if viewer else "all", now),
                sheet_name="Orders",
                columns=(*_COLUMNS, *_SELLER_COLUMNS) if sells else _COLUMNS,
                batches=self._batches(call, until(wanted, now), order, sells),
                facts=_facts(wanted, order, now, of, asked_by, labels=labels),
                currency_column="Currency",
            )
        ) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _labels(self, call: Call, wanted: OrderFilter) -> dict[UUID, str]:
        """What the organizations of the filter are called, those that the caller may see."""
        ids = {each for each in (wanted.organization_id, wanted.seller_id) if each is not None}
        if not ids:
            return {}
        async with self.reads.database.transaction(call.scope) as connection:
            found = [await directory.find(connection, each) for each in ids]
        return {each.id: each.label for each in found if each is not None}

    async def _batches(
        self, call: Call, wanted: OrderFilter, order: OrderOrder, sells: bool
    ) -> AsyncIterator[Sequence[Row]]:
        """Each batch is a transaction of its own: none is open while the reader takes its time."""
        viewer_id, database = call.principal.organization_id, self.reads.database
        async with walks.walking(database) as connection:
            found = await search.prepare(connection, call.scope, wanted, order, whole=True)
        after: Place | None = None
        while found is not None:
            async with walks.walking(database) as connection:
                keys = await search.find_keys(connection, found, after, walks.BATCH)
                rows = await listing.read_exported(connection, call.scope, keys, viewer_id) if keys else []
            reasons = await self._cancel_reasons(call, keys, rows)
            yield [_row(row, reasons, sells) for row in rows]
            if len(keys) < walks.BATCH:
                return
            after = keys[-1].place

    async def _cancel_reasons(self, call: Call, keys: Sequence[Key], rows: Sequence[Any]) -> dict[UUID, str]:
        """What the caller may hear of why orders were canceled, by order; read as the caller reads orders."""
        canceled = {row.id for row in rows if row.state == OrderState.CANCELED}
        if not canceled:
            return {}
        async with self.reads.database.transaction(call.scope) as connection:
            wanted = [key for key in keys if key.place.id in canceled]
            orders = await listing.read_found(connection, wanted)
        return {order.id: cancel_text(order, call.principal.organization_id) for order in orders}


def until(wanted: OrderFilter, now: datetime) -> OrderFilter:
    """The filter, of the orders that are there at `now`."""
    end = now + timedelta(microseconds=1)
    return replace(wanted, created_to=end if wanted.created_to is None else min(end, wanted.created_to))


def _filter_in(message: orders_pb2.OrderFilter) -> OrderFilter:
    created = (boundary(message, bound, "filter.") for bound in ("created_from", "created_to"))
    return filter_from_message(message, *created)


# -- pages -----------------------------------------------------------------------------------------------------------


def _cursor(place: Place) -> Cursor:
    value = place.value if isinstance(place.value, int) else place.value.isoformat()
    return {"value": value, "id": str(place.id)}


def _place(cursor: dict[str, Any] | None, order: OrderOrder) -> Place | None:
    if cursor is None:
        return None
    value = cursor["value"] if order.by_amount else datetime.fromisoformat(cursor["value"])
    return Place(value, UUID(cursor["id"]))


def _totals_to_message(totals: ListTotals) -> orders_pb2.OrderTotals:
    return orders_pb2.OrderTotals(
        count=totals.count, more=totals.more, sums=[_sum_to_message(each) for each in totals.sums]
    )


def _sum_to_message(found: CurrencySum) -> orders_pb2.OrderSum:
    currency = found.currency
    message = orders_pb2.OrderSum(
        total=money_to_message(currency, found.total_micros), refunded=money_to_message(currency, found.refunded_micros)
    )
    if found.sells:
        message.margin.revenue.CopyFrom(money_to_message(currency, found.revenue_micros))
        message.margin.cost.CopyFrom(money_to_message(currency, found.cost_micros))
        message.margin.margin.CopyFrom(money_to_message(currency, found.revenue_micros - found.cost_micros))
    return message


# -- files -----------------------------------------------------------------------------------------------------------

_COLUMNS = (
    Column("Order number"),
    Column("Created", Kind.INSTANT),
    Column("Paid", Kind.INSTANT),
    Column("Type"),
    Column("Status"),
    Column("Organization"),
    Column("Seller"),
    Column("Paying user"),
    Column("E-mail"),
    Column("Payment method"),
    Column("Products"),
    Column("Quantity", Kind.INTEGER),
    Column("Currency"),
    Column("Net", Kind.AMOUNT, summed=True),
    Column("Tax", Kind.AMOUNT, summed=True),
    Column("Total", Kind.AMOUNT, summed=True),
    Column("Refunded", Kind.AMOUNT, summed=True),
    Column("Cloud phone"),
    Column("Cancel reason"),
)
# What the reader makes of those of the orders that it sells, less refunds.
_SELLER_COLUMNS = (
    Column("Revenue", Kind.AMOUNT, summed=True),
    Column("Cost", Kind.AMOUNT, summed=True),
    Column("Margin", Kind.AMOUNT, summed=True),
)


def _row(row: Any, reasons: dict[UUID, str], sells: bool) -> Row:
    found: list[object] = [
        row.number,
        row.created_at,
        row.paid_at,
        _words(row.type),
        _words(row.state),
        row.organization_name,
        row.seller_name,
        row.payer_name,
        row.payer_email,
        _words(row.payment_method),
        ", ".join(dict.fromkeys(row.products or ())),
        int(row.quantity or 0),
        row.currency,
        int(row.net or 0),
        int(row.tax or 0),
        row.total_micros,
        row.refunded_micros,
        row.cloud_phone_id,
        reasons.get(row.id),
    ]
    if sells and row.sells:
        found += [int(row.revenue), int(row.cost), int(row.revenue) - int(row.cost)]
    elif sells:
        found += [None, None, None]
    return found


def _words(name: str) -> str:
    """`PARTLY_REFUNDED` for people: `Partly refunded`."""
    return name.replace("_", " ").capitalize()


_SORTED = {
    OrderOrder.NEWEST: "by creation, the newest first",
    OrderOrder.OLDEST: "by creation, the oldest first",
    OrderOrder.LARGEST: "by total, the largest first",
    OrderOrder.SMALLEST: "by total, the smallest first",
}


def _facts(
    wanted: OrderFilter, order: OrderOrder, now: datetime, of: str, asked_by: str, *, labels: Mapping[UUID, str]
) -> list[tuple[str, str]]:
    """What this file is: for the sheet that says so. Organizations by their `labels`, else by id."""
    facts = [
        ("Orders of", of),
        ("As of (UTC)", f"{now:%Y-%m-%d %H:%M:%S}"),
        ("Exported by", asked_by),
        ("Sorted", _SORTED[order]),
    ]
    sets = (("Type", wanted.types), ("Status", wanted.states), ("Payment method", wanted.payment_methods))
    said = [(label, " or ".join(sorted(map(_words, values)))) for label, values in sets if values is not None]
    texts: list[tuple[str, object]] = [
        ("Created from (UTC)", wanted.created_from),
        ("Created before (UTC)", wanted.created_to),
        ("Product name with", " or ".join(wanted.product_names)),
        ("Order number", wanted.order_number),
        ("Cloud phone", wanted.cloud_phone_id),
        ("Search", wanted.search),
        ("Organization", wanted.organization_id),
        ("Seller", wanted.seller_id),
    ]
    said += [(label, _shown(value, labels)) for label, value in texts if value not in (None, "")]
    return facts + [(f"Filter: {label}", value) for label, value in (said or [("none", "all orders")])]


def _shown(value: object, labels: Mapping[UUID, str]) -> str:
    if isinstance(value, UUID):
        return labels.get(value, str(value))
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, datetime) else str(value)

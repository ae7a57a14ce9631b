"""`farthing orders`: the list of orders, filtered, on the terminal or as a file."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from farthing.orders.v1 import orders_pb2
from farthing.orders.v1.catalogue_pb2 import ProductType
from farthing.orders.v1.orders_pb2 import Order, OrderOrder, PaymentMethod
from google.protobuf.json_format import MessageToDict
from rich.table import Table

from farthing_cli.bearers import As, Bearer, run_as
from farthing_cli.calls import stream
from farthing_cli.downloads import Downloaded, download
from farthing_cli.options import (
    FromOption,
    NumberOption,
    Page,
    PhoneOption,
    SortOption,
    Target,
    ToOption,
    choice,
    choices,
    instant,
    money_text,
    shown,
    spread,
    time_text,
)
from farthing_cli.terminal import AsJson, cell, output, print_json

app = typer.Typer(add_completion=False, help="Orders: list and export them.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which orders, in which order."""

    from_: FromOption = ""
    to: ToOption = ""
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="proxy, package or cloud-phone; repeat for several."),
    ] = None
    status: Annotated[
        list[str] | None,
        typer.Option(help="pending-payment, completed, canceled, refunded ...; repeat for several."),
    ] = None
    product: Annotated[
        list[str] | None,
        typer.Option(help="Part of a product's name, in any case; repeat for several."),
    ] = None
    number: NumberOption = ""
    phone: PhoneOption = ""
    search: Annotated[
        str, typer.Option(help="The search box: part of a product's name, or an order number's beginning.")
    ] = ""
    payment: Annotated[
        list[str] | None,
        typer.Option(help="balance, bank-transfer, provider or sandbox; repeat for several."),
    ] = None
    buyer: Annotated[str, typer.Option(help="Of this organization only, by its domain.")] = ""
    seller: Annotated[str, typer.Option(help="Sold by this organization directly, by its domain.")] = ""
    sort: SortOption = "newest"

    @property
    def order(self) -> Any:
        return choice(OrderOrder, "ORDER_ORDER_", self.sort, "--sort")

    def filter(self) -> orders_pb2.OrderFilter:
        """All but buyer and seller, whose ids the domains do not say. Problem where an option says nothing that is."""
        return orders_pb2.OrderFilter(
            created_from=instant(self.from_, "--from"),
            created_to=instant(self.to, "--to"),
            types=choices(ProductType, "PRODUCT_TYPE_", self.type_, "--type"),
            states=choices(Order.State, "STATE_", self.status, "--status"),
            product_names=self.product,
            order_number=self.number,
            cloud_phone_id=self.phone,
            search=self.search,
            payment_methods=choices(PaymentMethod, "PAYMENT_METHOD_", self.payment, "--payment"),
        )

    async def resolve(self, chosen: orders_pb2.OrderFilter, bearer: Bearer) -> None:
        """Puts the organizations' ids into the filter."""
        if self.buyer:
            chosen.organization_id = await bearer.organization_id(self.buyer)
        if self.seller:
            chosen.seller_id = await bearer.organization_id(self.seller)


@app.command("list")
@spread
def list_(
    *,
    who: As,
    wanted: Wanted,
    page: Page,
    number_only: Annotated[bool, typer.Option("--number-only", help="Print numbers alone, for scripts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show orders of the organization and of those below it: all filters that are set hold."""
    request = orders_pb2.ListOrdersRequest(filter=wanted.filter(), order=wanted.order, **page.asked())

    async def work(bearer: Bearer) -> Any:
        await wanted.resolve(request.filter, bearer)
        return await bearer.ask(bearer.services.orders.ListOrders, request, "listing orders")

    found = run_as(who, work)
    if as_json:
        print_json(MessageToDict(found, preserving_proto_field_name=True))
    elif number_only:
        typer.echo("\n".join(order.number for order in found.orders))
    else:
        _show(found)


@app.command("export")
@spread
def export(*, who: As, wanted: Wanted, target: Target, as_json: AsJson = False) -> None:
    """Write all orders that the filters leave to a CSV or Excel file, whole or not at all."""
    request = orders_pb2.ExportOrdersRequest(filter=wanted.filter(), order=wanted.order, format=target.format)

    async def work(bearer: Bearer) -> Downloaded:
        await wanted.resolve(request.filter, bearer)
        count = orders_pb2.ListOrdersRequest(filter=request.filter, page_size=1, with_totals=True)
        totals = (await bearer.ask(bearer.services.orders.ListOrders, count, "counting orders")).totals
        chunks = stream(bearer.services.orders.ExportOrders, request, bearer.token)
        return await download(chunks, target.out, None if totals.more else totals.count)

    run_as(who, work).show(as_json=as_json)


def _show(found: orders_pb2.ListOrdersResponse) -> None:
    table = Table(box=None)
    for heading in ("number", "created (UTC)", "type", "status", "product", "payment"):
        table.add_column(heading)
    for heading in ("quantity", "total", "margin"):
        table.add_column(heading, justify="right")
    for order in found.orders:
        first = order.items[0] if order.items else None
        more = f" and {len(order.items) - 1} more" if len(order.items) > 1 else ""
        table.add_row(
            order.number,
            time_text(order.created_at),
            shown(ProductType.Name(order.type), "PRODUCT_TYPE_"),
            shown(Order.State.Name(order.state), "STATE_"),
            cell(f"{first.product_name}{more}" if first else order.cloud_phone.name),
            shown(PaymentMethod.Name(order.payment_method), "PAYMENT_METHOD_"),
            f"{sum(item.quantity for item in order.items)}",
            money_text(order.total),
            money_text(order.margin.margin),
        )
    output().print(table)
    if found.HasField("totals"):
        more = "more than " if found.totals.more else ""
        sums = "; ".join(
            f"{money_text(each.total)}, of it refunded {money_text(each.refunded)}" for each in found.totals.sums
        )
        output().print(f"{more}{found.totals.count:,} orders{': ' if sums else ''}{sums}")
    if found.next_page_token:
        output().print(f"more: --page {found.next_page_token}", soft_wrap=True)

"""`farthing orders`: the list of orders, filtered, on the terminal or as a file."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from farthing.orders.v1 import orders_pb2
from farthing.orders.v1.catalogue_pb2 import ProductType
from farthing.orders.v1.orders_pb2 import Order, OrderOrder, PaymentMethod
from google.protobuf.json_format import MessageToDict
from rich.table import Table

from farthing_cli.bearers import As, Bearer, OrgOption, RoleOption, TokenOption, run_as
from farthing_cli.calls import stream
from farthing_cli.downloads import Downloaded, download
from farthing_cli.options import (
    FormatOption,
    FromOption,
    LimitOption,
    NumberOption,
    OutOption,
    PageOption,
    PhoneOption,
    ToOption,
    TotalsOption,
    choice,
    choices,
    export_format,
    instant,
    money_text,
    shown,
    time_text,
)
from farthing_cli.terminal import AsJson, cell, output, print_json

app = typer.Typer(add_completion=False, help="Orders: list and export them.", no_args_is_help=True)

TypeOption = Annotated[list[str], typer.Option("--type", help="proxy, package or cloud-phone; repeat for several.")]
StatusOption = Annotated[
    list[str],
    typer.Option("--status", help="pending-payment, completed, canceled, refunded ...; repeat for several."),
]
ProductOption = Annotated[
    list[str], typer.Option("--product", help="Part of a product's name, in any case; repeat for several.")
]
SearchOption = Annotated[
    str, typer.Option("--search", help="The search box: part of a product's name, or an order number's beginning.")
]
PaymentOption = Annotated[
    list[str], typer.Option("--payment", help="balance, bank-transfer, provider or sandbox; repeat for several.")
]
BuyerOption = Annotated[str, typer.Option("--buyer", help="Of this organization only, by its domain.")]
SellerOption = Annotated[str, typer.Option("--seller", help="Sold by this organization directly, by its domain.")]
SortOption = Annotated[str, typer.Option("--sort", help="newest, oldest, amount-descending or amount-ascending.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A filter whose organizations are still domains."""

    filter: orders_pb2.OrderFilter
    order: Any
    buyer: str
    seller: str

    async def resolve(self, bearer: Bearer) -> None:
        """Puts the organizations' ids into the filter."""
        if self.buyer:
            self.filter.organization_id = await bearer.organization_id(self.buyer)
        if self.seller:
            self.filter.seller_id = await bearer.organization_id(self.seller)


def _asked(
    *,
    from_: str,
    to: str,
    type_: list[str],
    status: list[str],
    product: list[str],
    number: str,
    phone: str,
    search: str,
    payment: list[str],
    buyer: str,
    seller: str,
    sort: str,
) -> _Asked:
    chosen = orders_pb2.OrderFilter(
        created_from=instant(from_, "--from"),
        created_to=instant(to, "--to"),
        types=choices(ProductType, "PRODUCT_TYPE_", type_, "--type"),
        states=choices(Order.State, "STATE_", status, "--status"),
        product_names=product,
        order_number=number,
        cloud_phone_id=phone,
        search=search,
        payment_methods=choices(PaymentMethod, "PAYMENT_METHOD_", payment, "--payment"),
    )
    return _Asked(chosen, choice(OrderOrder, "ORDER_ORDER_", sort, "--sort"), buyer, seller)


@app.command("list")
def list_(
    *,
    org: OrgOption = "",
    role: RoleOption = "boss",
    token: TokenOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    type_: TypeOption = [],  # noqa: B006 - typer reads it
    status: StatusOption = [],  # noqa: B006
    product: ProductOption = [],  # noqa: B006
    number: NumberOption = "",
    phone: PhoneOption = "",
    search: SearchOption = "",
    payment: PaymentOption = [],  # noqa: B006
    buyer: BuyerOption = "",
    seller: SellerOption = "",
    sort: SortOption = "newest",
    limit: LimitOption = 50,
    page: PageOption = "",
    totals: TotalsOption = False,
    number_only: Annotated[bool, typer.Option("--number-only", help="Print numbers alone, for scripts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show orders of the organization and of those below it: all filters that are set hold."""
    asked = _asked(
        from_=from_,
        to=to,
        type_=type_,
        status=status,
        product=product,
        number=number,
        phone=phone,
        search=search,
        payment=payment,
        buyer=buyer,
        seller=seller,
        sort=sort,
    )

    async def work(bearer: Bearer) -> Any:
        await asked.resolve(bearer)
        request = orders_pb2.ListOrdersRequest(
            filter=asked.filter, order=asked.order, page_size=limit, page_token=page, with_totals=totals
        )
        return await bearer.ask(bearer.services.orders.ListOrders, request, "listing orders")

    found = run_as(As(org, role, token), work)
    if as_json:
        print_json(MessageToDict(found, preserving_proto_field_name=True))
    elif number_only:
        typer.echo("\n".join(order.number for order in found.orders))
    else:
        _show(found)


@app.command("export")
def export(
    *,
    org: OrgOption = "",
    role: RoleOption = "boss",
    token: TokenOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    type_: TypeOption = [],  # noqa: B006
    status: StatusOption = [],  # noqa: B006
    product: ProductOption = [],  # noqa: B006
    number: NumberOption = "",
    phone: PhoneOption = "",
    search: SearchOption = "",
    payment: PaymentOption = [],  # noqa: B006
    buyer: BuyerOption = "",
    seller: SellerOption = "",
    sort: SortOption = "newest",
    format_: FormatOption = "",
    out: OutOption = None,
    as_json: AsJson = False,
) -> None:
    """Write all orders that the filters leave to a CSV or Excel file, whole or not at all."""
    asked = _asked(
        from_=from_,
        to=to,
        type_=type_,
        status=status,
        product=product,
        number=number,
        phone=phone,
        search=search,
        payment=payment,
        buyer=buyer,
        seller=seller,
        sort=sort,
    )
    format_number = export_format(format_, out)

    async def work(bearer: Bearer) -> Downloaded:
        await asked.resolve(bearer)
        count = orders_pb2.ListOrdersRequest(filter=asked.filter, page_size=1, with_totals=True)
        totals = (await bearer.ask(bearer.services.orders.ListOrders, count, "counting orders")).totals
        request = orders_pb2.ExportOrdersRequest(filter=asked.filter, order=asked.order, format=format_number)
        chunks = stream(bearer.services.orders.ExportOrders, request, bearer.token)
        return await download(chunks, out, None if totals.more else totals.count)

    run_as(As(org, role, token), work).show(as_json=as_json)


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

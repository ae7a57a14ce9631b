"""`farthing wallet`: a wallet's lines, filtered, on the terminal or as a file; and its statements."""

from typing import Annotated, Any

import typer
from farthing.wallet.v1 import wallets_pb2
from farthing.wallet.v1.wallets_pb2 import EntryOrder, EntryType
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
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, cell, output, print_json

app = typer.Typer(
    add_completion=False, help="Wallets: list and export their lines, draw statements.", no_args_is_help=True
)

WalletOption = Annotated[str, typer.Option("--wallet", help="This wallet, by its id; else the organization's.")]
CurrencyOption = Annotated[str, typer.Option("--currency", help="Which of the organization's wallets: EUR.")]
TypeOption = Annotated[
    list[str], typer.Option("--type", help="recharge, expense, earnings or system; repeat for several.")
]
ProductOption = Annotated[
    list[str], typer.Option("--product", help="Part of what a line was for, in any case; repeat for several.")
]
SearchOption = Annotated[
    str,
    typer.Option("--search", help="The search box: part of the item, a type, or an order number's beginning."),
]
SortOption = Annotated[str, typer.Option("--sort", help="newest, oldest, amount-descending or amount-ascending.")]


def _filter(
    *, from_: str, to: str, type_: list[str], product: list[str], number: str, phone: str, search: str
) -> wallets_pb2.EntryFilter:
    return wallets_pb2.EntryFilter(
        posted_from=instant(from_, "--from"),
        posted_to=instant(to, "--to"),
        types=choices(EntryType, "ENTRY_TYPE_", type_, "--type"),
        items=product,
        order_number=number,
        cloud_phone_id=phone,
        search=search,
    )


def _order(sort: str) -> Any:
    return choice(EntryOrder, "ENTRY_ORDER_", sort, "--sort")


async def wallet_id(bearer: Bearer, wallet: str, currency: str) -> str:
    """`wallet` where one is named, else the organization's in that currency; Problem where there is not just one."""
    if wallet:
        return wallet
    if bearer.organization is None:
        raise Problem("say whose wallet: --org DOMAIN, or --wallet ID", 2)
    request = wallets_pb2.ListWalletsRequest(organization_id=bearer.organization.id)
    found = (await bearer.ask(bearer.services.wallets.ListWallets, request, "looking for the wallet")).wallets
    fitting = [each for each in found if not currency or each.currency == currency.upper()]
    if len(fitting) == 1:
        return str(fitting[0].id)
    there = ", ".join(each.currency for each in found) or "none"
    raise Problem(f"{bearer.organization.domain} has wallets in: {there}. Choose one: --currency EUR", 2)


@app.command("list")
def list_(
    *,
    org: OrgOption = "",
    role: RoleOption = "boss",
    token: TokenOption = "",
    wallet: WalletOption = "",
    currency: CurrencyOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    type_: TypeOption = [],  # noqa: B006 - typer reads it
    product: ProductOption = [],  # noqa: B006
    number: NumberOption = "",
    phone: PhoneOption = "",
    search: SearchOption = "",
    sort: SortOption = "newest",
    limit: LimitOption = 50,
    page: PageOption = "",
    totals: TotalsOption = False,
    as_json: AsJson = False,
) -> None:
    """Show a wallet's lines: all filters that are set hold."""
    chosen = _filter(from_=from_, to=to, type_=type_, product=product, number=number, phone=phone, search=search)
    order = _order(sort)

    async def work(bearer: Bearer) -> Any:
        request = wallets_pb2.ListEntriesRequest(
            wallet_id=await wallet_id(bearer, wallet, currency),
            filter=chosen,
            order=order,
            page_size=limit,
            page_token=page,
            with_totals=totals,
        )
        return await bearer.ask(bearer.services.wallets.ListEntries, request, "listing lines")

    found = run_as(As(org, role, token), work)
    if as_json:
        print_json(MessageToDict(found, preserving_proto_field_name=True))
        return
    output().print(_lines(found.entries))
    if found.HasField("totals"):
        sums = "" if found.totals.more else f": {_in_and_out(found.totals.credits, found.totals.debits)}"
        output().print(f"{'more than ' if found.totals.more else ''}{found.totals.count:,} lines{sums}")
    if found.next_page_token:
        output().print(f"more: --page {found.next_page_token}", soft_wrap=True)


@app.command("export")
def export(
    *,
    org: OrgOption = "",
    role: RoleOption = "boss",
    token: TokenOption = "",
    wallet: WalletOption = "",
    currency: CurrencyOption = "",
    from_: FromOption = "",
    to: ToOption = "",
    type_: TypeOption = [],  # noqa: B006
    product: ProductOption = [],  # noqa: B006
    number: NumberOption = "",
    phone: PhoneOption = "",
    search: SearchOption = "",
    sort: SortOption = "newest",
    format_: FormatOption = "",
    out: OutOption = None,
    as_json: AsJson = False,
) -> None:
    """Write all lines that the filters leave to a CSV or Excel file, whole or not at all."""
    chosen = _filter(from_=from_, to=to, type_=type_, product=product, number=number, phone=phone, search=search)
    order, format_number = _order(sort), export_format(format_, out)

    async def work(bearer: Bearer) -> Downloaded:
        its_id = await wallet_id(bearer, wallet, currency)
        count = wallets_pb2.ListEntriesRequest(wallet_id=its_id, filter=chosen, page_size=1, with_totals=True)
        totals = (await bearer.ask(bearer.services.wallets.ListEntries, count, "counting lines")).totals
        request = wallets_pb2.ExportEntriesRequest(wallet_id=its_id, filter=chosen, order=order, format=format_number)
        chunks = stream(bearer.services.wallets.ExportEntries, request, bearer.token)
        return await download(chunks, out, None if totals.more else totals.count)

    run_as(As(org, role, token), work).show(as_json=as_json)


@app.command()
def statement(
    *,
    from_: Annotated[str, typer.Option("--from", help="Its first instant: 2026-11-01 (UTC, or with its zone).")],
    to: Annotated[str, typer.Option("--to", help="The first instant after it.")],
    org: OrgOption = "",
    role: RoleOption = "boss",
    token: TokenOption = "",
    wallet: WalletOption = "",
    currency: CurrencyOption = "",
    as_json: AsJson = False,
) -> None:
    """Show a wallet's statement: opening balance, every line, closing balance."""
    begin, end = instant(from_, "--from"), instant(to, "--to")
    if begin is None or end is None:
        raise Problem("a statement has a first instant and one after it: --from 2026-11-01 --to 2026-12-01", 2)

    async def work(bearer: Bearer) -> Any:
        request = wallets_pb2.GetStatementRequest(
            wallet_id=await wallet_id(bearer, wallet, currency), to=end, page_size=1000
        )
        # A keyword of Python's, so it is no keyword argument.
        getattr(request, "from").CopyFrom(begin)
        whole = await bearer.ask(bearer.services.wallets.GetStatement, request, "drawing the statement")
        while whole.next_page_token:
            request.page_token = whole.next_page_token
            page = await bearer.ask(bearer.services.wallets.GetStatement, request, "drawing the statement")
            whole.lines.extend(page.lines)
            whole.next_page_token = page.next_page_token
        return whole

    found = run_as(As(org, role, token), work)
    if as_json:
        print_json(MessageToDict(found, preserving_proto_field_name=True))
        return
    output().print(f"opening {money_text(found.opening)} at {time_text(getattr(found, 'from'))} UTC")
    output().print(_lines(found.lines))
    output().print(f"{found.line_count:,} lines: {_in_and_out(found.credits, found.debits)}")
    output().print(f"closing {money_text(found.closing)} at {time_text(found.to)} UTC")


def _in_and_out(credits: Any, debits: Any) -> str:
    return f"in {money_text(credits)}, out {money_text(debits)}"


def _lines(entries: Any) -> Table:
    table = Table(box=None)
    for heading in ("#", "posted (UTC)", "type", "item", "order"):
        table.add_column(heading)
    for heading in ("amount", "balance"):
        table.add_column(heading, justify="right")
    for entry in entries:
        table.add_row(
            str(entry.sequence),
            time_text(entry.posted_at),
            shown(EntryType.Name(entry.type), "ENTRY_TYPE_"),
            cell(entry.item),
            cell(entry.order_number),
            money_text(entry.amount),
            money_text(entry.balance_after),
        )
    return table

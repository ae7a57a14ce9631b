"""`farthing wallet`: a wallet's lines, filtered, on the terminal or as a file; and its statements."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from farthing.wallet.v1 import wallets_pb2
from farthing.wallet.v1.wallets_pb2 import EntryOrder, EntryType
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
from farthing_cli.problems import Problem
from farthing_cli.terminal import AsJson, cell, output, print_json

app = typer.Typer(
    add_completion=False, help="Wallets: list and export their lines, draw statements.", no_args_is_help=True
)

CurrencyOption = Annotated[str, typer.Option("--currency", help="Which of the organization's wallets: EUR.")]


@dataclass(frozen=True, slots=True)
class Whose:
    """Which wallet."""

    wallet: Annotated[str, typer.Option(help="This wallet, by its id; else the organization's.")] = ""
    currency: CurrencyOption = ""

    async def id(self, bearer: Bearer) -> str:
        """Problem where there is not just one."""
        return await wallet_id(bearer, self.wallet, self.currency)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines, in which order."""

    from_: FromOption = ""
    to: ToOption = ""
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="recharge, expense, earnings or system; repeat for several."),
    ] = None
    product: Annotated[
        list[str] | None,
        typer.Option(help="Part of what a line was for, in any case; repeat for several."),
    ] = None
    number: NumberOption = ""
    phone: PhoneOption = ""
    search: Annotated[
        str, typer.Option(help="The search box: part of the item, a type, or an order number's beginning.")
    ] = ""
    sort: SortOption = "newest"

    @property
    def order(self) -> Any:
        return choice(EntryOrder, "ENTRY_ORDER_", self.sort, "--sort")

    def filter(self) -> wallets_pb2.EntryFilter:
        """Problem where an option says nothing that is."""
        return wallets_pb2.EntryFilter(
            posted_from=instant(self.from_, "--from"),
            posted_to=instant(self.to, "--to"),
            types=choices(EntryType, "ENTRY_TYPE_", self.type_, "--type"),
            items=self.product,
            order_number=self.number,
            cloud_phone_id=self.phone,
            search=self.search,
        )


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
@spread
def list_(*, who: As, whose: Whose, wanted: Wanted, page: Page, as_json: AsJson = False) -> None:
    """Show a wallet's lines: all filters that are set hold."""
    request = wallets_pb2.ListEntriesRequest(filter=wanted.filter(), order=wanted.order, **page.asked())

    async def work(bearer: Bearer) -> Any:
        request.wallet_id = await whose.id(bearer)
        return await bearer.ask(bearer.services.wallets.ListEntries, request, "listing lines")

    found = run_as(who, work)
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
@spread
def export(*, who: As, whose: Whose, wanted: Wanted, target: Target, as_json: AsJson = False) -> None:
    """Write all lines that the filters leave to a CSV or Excel file, whole or not at all."""
    request = wallets_pb2.ExportEntriesRequest(filter=wanted.filter(), order=wanted.order, format=target.format)

    async def work(bearer: Bearer) -> Downloaded:
        request.wallet_id = await whose.id(bearer)
        count = wallets_pb2.ListEntriesRequest(
            wallet_id=request.wallet_id, filter=request.filter, page_size=1, with_totals=True
        )
        totals = (await bearer.ask(bearer.services.wallets.ListEntries, count, "counting lines")).totals
        chunks = stream(bearer.services.wallets.ExportEntries, request, bearer.token)
        return await download(chunks, target.out, None if totals.more else totals.count)

    run_as(who, work).show(as_json=as_json)


@app.command()
@spread
def statement(
    *,
    from_: Annotated[str, typer.Option("--from", help="Its first instant: 2026-11-01 (UTC, or with its zone).")],
    to: Annotated[str, typer.Option(help="The first instant after it.")],
    who: As,
    whose: Whose,
    as_json: AsJson = False,
) -> None:
    """Show a wallet's statement: opening balance, every line, closing balance."""
    begin, end = instant(from_, "--from"), instant(to, "--to")
    if begin is None or end is None:
        raise Problem("a statement has a first instant and one after it: --from 2026-11-01 --to 2026-12-01", 2)

    async def work(bearer: Bearer) -> Any:
        request = wallets_pb2.GetStatementRequest(wallet_id=await whose.id(bearer), to=end, page_size=1000)
        # A keyword of Python's, so it is no keyword argument.
        getattr(request, "from").CopyFrom(begin)
        whole = await bearer.ask(bearer.services.wallets.GetStatement, request, "drawing the statement")
        while whole.next_page_token:
            request.page_token = whole.next_page_token
            page = await bearer.ask(bearer.services.wallets.GetStatement, request, "drawing the statement")
            whole.lines.extend(page.lines)
            whole.next_page_token = page.next_page_token
        return whole

    found = run_as(who, work)
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

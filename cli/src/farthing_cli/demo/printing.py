"""How the demo looks: one hundred columns, calm, the numbers right under each other."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from google.type.money_pb2 import Money
from money import format_money
from money.messages import money_from_message
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

from farthing_cli.demo import world

if TYPE_CHECKING:
    from farthing_cli.demo.afterwards import Afterwards
    from farthing_cli.demo.story import Purchase, Refusal

WIDTH = 100
_ACCOUNTS = {
    wallets_pb2.ACCOUNT_TYPE_WALLET: "wallet",
    wallets_pb2.ACCOUNT_TYPE_REVENUE: "revenue",
    wallets_pb2.ACCOUNT_TYPE_TAX_PAYABLE: "tax payable",
    wallets_pb2.ACCOUNT_TYPE_CASH: "cash",
    wallets_pb2.ACCOUNT_TYPE_CREDITS: "credits given",
}


def _plain(amount: Money) -> str:
    return format_money(money_from_message(amount).micros, amount.currency_code) if amount.currency_code else ""


def _signed(value: int, currency: str) -> str:
    colour = "red" if value < 0 else "green"
    return f"[{colour}]{'+' if value > 0 else ''}{format_money(value, currency)}[/]"


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return table


class Printer:
    """Prints on `console`, each thing as it happens."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def title(self) -> None:
        """The first lines."""
        self.console.print()
        self.console.print("  [bold]Farthing[/]  [dim]one purchase through the whole house[/]")

    def heading(self, text: str) -> None:
        """A chapter."""
        self.console.print()
        self.console.rule(f"[bold]{text}[/]", align="left", style="dim")

    def note(self, text: str) -> None:
        """A quiet line."""
        self.console.print(f"  [dim]{escape(text)}[/]")

    def done(self, text: str, took_s: float) -> None:
        """Something is there."""
        self._line("[green]✓[/]", text, f"{took_s:.1f} s")

    def _line(self, mark: str, text: str, right: str) -> None:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(width=3, justify="right")
        grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", no_wrap=True, style="dim")
        grid.add_row(mark, text, right)
        self.console.print(grid)

    def world(self) -> None:
        """The tree of organizations."""
        companies = {company.domain: company for company in world.COMPANIES}
        tree = Tree(f"[bold]{world.PLATFORM.name}[/] [dim]{world.NIMBUS}, the platform[/]", guide_style="dim")
        branches = {world.NIMBUS: tree}
        for seller in world.SELLERS:
            selling = world.SELLING[seller.domain]
            tax = f"{selling.tax_name} {selling.tax_ppm / 10_000:g} %"
            customers = [company for company in world.CUSTOMERS if company.seller == seller.domain]
            branch = branches[seller.seller].add(
                f"[bold {companies[seller.domain].primary}]■[/] [bold]{seller.name}[/] "
                f"[dim]{seller.domain} · {seller.currency} · {seller.language} · {tax}[/]"
            )
            names = ", ".join(company.name for company in customers[:3])
            branch.add(f"[dim]{len(customers)} customers: {names} ..[/]")
            branches[seller.domain] = branch
        self.console.print(tree)

    def top_up(self, name: str, how: str, top_up: wallets_pb2.TopUp, took_s: float) -> None:
        """Money that came, or did not."""
        declined = top_up.state == wallets_pb2.TopUp.STATE_FAILED
        mark = "[yellow]–[/]" if declined else "[green]+[/]"
        what = {"bank": "by bank, confirmed by its seller's finance", "card": "by card"}.get(how, "")
        text = f"declined: {top_up.failure_reason}" if declined else what
        amount = f"[bold]{_plain(top_up.amount):>10}[/]"
        self._line(mark, f"{amount}  {escape(name)}  [dim]{escape(text)}[/]", f"{took_s * 1000:.0f} ms")

    def purchase(self, name: str, order: orders_pb2.Order, took_s: float) -> None:
        """A completed order."""
        item = order.items[0]
        text = f"{item.quantity} x {item.product_name}, {item.sku_name}"
        left = f"[bold]{_plain(order.total):>10}[/]  {escape(name)}  [dim]{escape(text)}[/]"
        self._line("[green]✓[/]", left, f"{order.number}  {took_s * 1000:.0f} ms")

    def purchases(self, purchases: "list[Purchase]", name: Callable[[str], str]) -> None:
        """The orders, and their entries at each tier."""
        for purchase in purchases:
            order = purchase.order
            table = _table("", "quantity", "unit price", "net", "tax", right=("quantity", "unit price", "net", "tax"))
            for item in order.items:
                tax = f"{_plain(item.tax)} ({item.tax_rate_ppm / 10_000:g} %)"
                what = f"{item.product_name}, {item.sku_name}"
                table.add_row(what, str(item.quantity), _plain(item.unit_price), _plain(item.net), tax)
                for detail in (*item.contents, *(f"{proxy.address}:{proxy.port}" for proxy in item.proxies)):
                    table.add_row(f"[dim]  {escape(detail)}[/]")
            title = f"[bold]order {order.number}[/]  {escape(name(order.organization_id))}"
            subtitle = f"paid by {order.paying_user_name} from the balance: [bold]{_plain(order.total)}[/]"
            self.console.print(
                Panel(table, title=title, title_align="left", subtitle=subtitle, subtitle_align="right", style="none")
            )
            self._entries(purchase.transaction, name)

    def _entries(self, transaction: wallets_pb2.Transaction, name: Callable[[str], str]) -> None:
        table = _table("tier", "whose account", "account", "amount", right=("amount",))
        for posting in sorted(transaction.postings, key=lambda posting: (posting.tier, posting.account_type)):
            amount = _signed(money_from_message(posting.amount).micros, transaction.currency)
            account = _ACCOUNTS.get(posting.account_type, "other")
            table.add_row(str(posting.tier), name(posting.organization_id), account, amount)
        total = sum(money_from_message(posting.amount).micros for posting in transaction.postings)
        table.add_section()
        table.add_row("", "", "[bold]sum[/]", f"[bold]{format_money(total, transaction.currency)}[/]")
        self.console.print(f"  [bold]its ledger entries[/] [dim]transaction {transaction.id}[/]")
        self.console.print(table)

    def accounts(
        self,
        accounts: list[tuple[str, wallets_pb2.SellerAccounts]],
        purchases: "list[Purchase]",
        name: Callable[[str], str],
    ) -> None:
        """What each seller made, of these orders and in all."""
        numbers = ("revenue ", "cost ", "margin ", "revenue", "cost", "margin")
        table = _table("before tax, in GBP", *numbers, right=numbers)
        for seller, sums in accounts:
            tiers = [tier for purchase in purchases for tier in purchase.order.tiers]
            earned = sum(money_from_message(tier.net).micros for tier in tiers if name(tier.seller_id) == seller)
            paid = sum(money_from_message(tier.net).micros for tier in tiers if name(tier.buyer_id) == seller)
            revenue, cost = money_from_message(sums.revenue).micros, money_from_message(sums.cost).micros
            table.add_row(
                f"[bold]{seller}[/]",
                *(format_money(value, "GBP") for value in (earned, paid)),
                _signed(earned - paid, "GBP"),
                *(f"[dim]{format_money(value, 'GBP')}[/]" for value in (revenue, cost)),
                _signed(revenue - cost, "GBP"),
            )
        self.console.print("  [bold]what each seller made[/] [dim]of these two orders, and in all[/]")
        self.console.print(table)

    def receipts(self, purchases: "list[Purchase]") -> None:
        """Where the receipts lie."""
        table = _table("receipt", "in the archive, under lock")
        for purchase in purchases:
            receipt = purchase.receipt
            until = receipt.retained_until.ToDatetime()
            table.add_row(
                f"[bold]{receipt.number}[/]\n{escape(receipt.issuer_name)}\n{_plain(receipt.total)}",
                f"{receipt.object_key} [dim]{receipt.size_bytes:,} bytes[/]\n[dim]sha256[/] {receipt.sha256.hex()}\n"
                f"[dim]version[/] {receipt.object_version} [dim]locked until {until:%Y-%m-%d}[/]",
            )
        self.console.print(table)

    def mails(self, purchases: "list[Purchase]") -> None:
        """Who got which mail."""
        table = _table("mail to purchaser and boss", "what")
        for purchase in purchases:
            for letter in purchase.letters:
                same = letter.sha256 == purchase.receipt.sha256
                proof = "[green]the archived bytes[/]" if same else "[red]NOT the archived bytes[/]"
                table.add_row(
                    "\n".join(letter.recipients), f"{escape(letter.subject)}\n[dim]{letter.attachment}:[/] {proof}"
                )
        self.console.print(table)

    def refusal(self, refusal: "Refusal") -> None:
        """A purchase that was refused, from both sides."""
        self.heading("A purchase that is refused: the partner itself has no credit")
        table = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        table.add_row(f"{refusal.customer}, the customer, hears", f"{refusal.message} [dim]{refusal.reason}[/]")
        total, available = _plain(refusal.balance.total), _plain(refusal.balance.available)
        zero = format_money(0, refusal.currency)
        table.add_row(f"{refusal.partner}, its seller, sees", escape(refusal.partner_sees))
        table.add_row("its own wallet", f"total {total or zero}, available {available or zero}")
        self.console.print(table)

    def scene(self, what: str, amount: Money, text: str, took_s: float) -> None:
        """Something that happened after the purchases."""
        left = f"[bold]{_plain(amount):>10}[/]  {what:<8} [dim]{escape(text)}[/]"
        self._line("[green]✓[/]", left, f"{took_s * 1000:.0f} ms")

    def export(self, done: "Afterwards", rows: Sequence[Sequence[str]]) -> None:
        """The first lines of a spreadsheet, as another program reads them."""
        heading, *lines = rows
        table = _table(*heading)
        for line in lines:
            table.add_row(*(escape(cell) for cell in line))
        self.console.print()
        self.console.print(f"  [bold]{done.export}[/] [dim]{done.export_rows} rows, {done.export_bytes:,} bytes[/]")
        self.console.print(table)

    def addresses(self, environment: Mapping[str, str]) -> None:
        """Where everything listens, and lines to try."""
        self.heading("It keeps running: try it")
        table = _table("service", "gRPC", "metrics")
        for service in ("orders", "wallet", "subscriptions", "documents", "usage"):
            upper = service.upper()
            table.add_row(service, environment[f"{upper}_GRPC"], environment[f"{upper}_METRICS"])
        self.console.print(table)
        servers = (
            ("PostgreSQL", f"{environment['PGHOST']}:{environment['PGPORT']}"),
            ("Kafka", environment["KAFKA_BOOTSTRAP"]),
            ("S3", environment["S3_ENDPOINT"]),
            ("SMTP", f"{environment['SMTP_HOST']}:{environment['SMTP_PORT']}"),
            ("mail", environment["SMTP_MAILDIR"]),
        )
        for name, address in servers:
            self.console.print(f"  [dim]{name:<11}[/]{escape(address)}", soft_wrap=True)
        self.console.print("\n  [dim]In another terminal, in this folder:[/]")
        for line in (
            'eval "$(.venv/bin/farthing stack env)"',
            f"TOKEN=$(.venv/bin/farthing token --org {world.LANTERN} --role boss)",
            'grpcurl -plaintext -H "authorization: Bearer $TOKEN" $ORDERS_GRPC \\\n'
            "      farthing.orders.v1.OrderService/ListOrders",
            '"$PSQL" "$WALLET_DATABASE_URL" -c "SET farthing.scope = \'all\'" -c "SELECT * FROM postings LIMIT 9"',
            ".venv/bin/farthing verify",
        ):
            self.console.print(f"    {escape(line)}", soft_wrap=True)
        self.console.print("\n  [dim]Ctrl-C stops it.[/]")

"""What happens in the demo, step by step."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farthing.documents.v1 import documents_pb2
from farthing.orders.v1 import orders_pb2
from farthing.wallet.v1 import wallets_pb2
from money.messages import money_from_message

from farthing_cli.calls import Refused, Services, call
from farthing_cli.demo import world
from farthing_cli.demo.afterwards import Afterwards, play_afterwards
from farthing_cli.demo.mail import Letter, letters
from farthing_cli.demo.people import People, few_at_once
from farthing_cli.demo.printing import Printer
from farthing_cli.problems import Problem

RECEIPT_TIMEOUT_S = 60.0


@dataclass
class Purchase:
    """A purchase and what it left everywhere."""

    order: orders_pb2.Order
    transaction: wallets_pb2.Transaction
    receipt: documents_pb2.Document
    letters: list[Letter]


@dataclass
class Refusal:
    """A refused purchase: what its customer heard, and what its partner sees."""

    customer: str
    reason: str
    message: str
    partner: str
    partner_sees: str
    balance: wallets_pb2.Balance
    currency: str


@dataclass
class Outcome:
    """What the demo shows at the end."""

    purchases: list[Purchase] = field(default_factory=list)
    accounts: list[tuple[str, wallets_pb2.SellerAccounts]] = field(default_factory=list)
    refusal: Refusal | None = None
    afterwards: Afterwards | None = None
    orders: int = 0
    top_ups: int = 0


async def play(environment: Mapping[str, str], run: str, printer: Printer) -> Outcome:
    """Tells the story with new top-ups and purchases named after `run`. Problem where it goes otherwise."""
    outcome = Outcome()
    async with Services(environment) as services:
        people = People(environment, services, run)
        await _seed(people, printer)
        outcome.top_ups = await _top_ups(people, printer)
        outcome.orders = await _purchases(people, printer)
        printer.heading("One purchase, followed through the whole house")
        for serial, (code, quantity) in enumerate(world.SHOWCASE):
            outcome.purchases.append(await _showcase(people, environment, code, quantity, serial))
        for domain in (world.HARBOUR, world.NORTHWIND, world.NIMBUS):
            outcome.accounts.append((people.teams[domain].name, await _accounts(people, domain)))
        printer.purchases(outcome.purchases, people.name)
        printer.accounts(outcome.accounts, outcome.purchases, people.name)
        printer.receipts(outcome.purchases)
        printer.mails(outcome.purchases)
        outcome.refusal = await _refused(people)
        printer.refusal(outcome.refusal)
        outcome.afterwards = await play_afterwards(people, outcome.purchases[-1].order, printer)
    return outcome


async def _seed(people: People, printer: Printer) -> None:
    printer.heading("A world: the platform, its partners, their customers")
    started_s = time.monotonic()
    await people.found(world.PLATFORM)
    for seller in world.SELLERS:
        await people.found(seller)
    await few_at_once([people.found(company) for company in world.CUSTOMERS])
    await few_at_once([people.open_books(company.domain) for company in (*world.SELLERS, *world.CUSTOMERS)])
    printer.world()
    await people.stock()
    counts = await few_at_once([people.price_list(domain) for domain in world.SELLING])
    took_s = time.monotonic() - started_s
    printer.done(
        f"{len(people.teams)} organizations, {len(people.skus)} articles, {sum(counts)} prices at "
        f"{len(world.SELLING)} sellers, taxes 0 %, 19 %, 20 %",
        took_s,
    )


async def _top_ups(people: People, printer: Printer) -> int:
    printer.heading("Money comes in: each tops up with its own seller")
    for payment in world.PAYMENTS:
        started_s = time.monotonic()
        top_up = await people.top_up(payment)
        failed = top_up.state == wallets_pb2.TopUp.STATE_FAILED
        if failed != payment.how.startswith("declined"):
            raise Problem(
                f"the top-up of {payment.domain} is {top_up.State.Name(top_up.state)}: {top_up.failure_reason}"
            )
        printer.top_up(people.teams[payment.domain].name, payment.how, top_up, time.monotonic() - started_s)
    return len(world.PAYMENTS)


async def _purchases(people: People, printer: Printer) -> int:
    printer.heading("Purchases: every tier is charged at once, or nobody")

    async def one(domain: str, code: str, quantity: int, serial: int) -> None:
        started_s = time.monotonic()
        order = await people.buy(domain, code, quantity, serial)
        printer.purchase(people.teams[domain].name, order, time.monotonic() - started_s)

    await few_at_once(
        [one(domain, code, quantity, 10 + n) for n, (domain, code, quantity) in enumerate(world.PURCHASES)]
    )
    return len(world.PURCHASES)


async def _showcase(people: People, environment: Mapping[str, str], code: str, quantity: int, serial: int) -> Purchase:
    placed = await people.buy(world.LANTERN, code, quantity, serial)
    order = await call(people.services.orders.GetOrder, orders_pb2.GetOrderRequest(id=placed.id), people.operator())
    request = wallets_pb2.GetTransactionRequest(id=placed.transaction_id)
    transaction = await call(people.services.wallets.GetTransaction, request, people.operator())
    if sum(money_from_message(posting.amount).micros for posting in transaction.postings) != 0:
        raise Problem(f"the transaction {transaction.id} does not sum to zero")
    receipt = await _receipt(people, placed)
    kept = letters(environment, receipt.delivery.message_id)
    return Purchase(order, transaction, receipt, kept)


async def _receipt(people: People, order: orders_pb2.Order) -> documents_pb2.Document:
    """The receipt as its customer sees it, once it is archived and its mail is sent."""
    request = documents_pb2.ListDocumentsRequest(filter=documents_pb2.DocumentFilter(order_id=order.id))
    deadline_s = time.monotonic() + RECEIPT_TIMEOUT_S
    while time.monotonic() < deadline_s:
        reply = await call(people.services.documents.ListDocuments, request, people.token(world.LANTERN, "member"))
        for document in reply.documents:
            if (
                document.state == documents_pb2.Document.STATE_ARCHIVED
                and document.delivery.state == documents_pb2.Delivery.STATE_SENT
            ):
                return document  # type: ignore[no-any-return]
        await asyncio.sleep(0.1)
    raise Problem(f"order {order.number} has no mailed receipt after {RECEIPT_TIMEOUT_S:.0f} s")


async def _accounts(people: People, domain: str) -> wallets_pb2.SellerAccounts:
    request = wallets_pb2.GetSellerAccountsRequest(organization_id=people.teams[domain].id, currency="GBP")
    found: wallets_pb2.SellerAccounts = await call(
        people.services.wallets.GetSellerAccounts, request, people.token(domain, "finance")
    )
    return found


async def _refused(people: People) -> Refusal:
    customer, code, quantity = world.REFUSED
    try:
        order = await people.buy(customer, code, quantity)
    except Refused as refused:
        heard = refused
    else:
        raise Problem(f"order {order.number} of {customer} was sold, though its partner has no credit")
    token = people.token(world.PRAIRIE, "finance")
    seen = await _canceled(people, customer, token)
    request = wallets_pb2.GetBalanceRequest(wallet_id=people.wallets[world.PRAIRIE].id)
    balance = await call(people.services.wallets.GetBalance, request, token)
    return Refusal(
        customer=people.teams[customer].name,
        reason=heard.reason,
        message=heard.message,
        partner=people.teams[world.PRAIRIE].name,
        partner_sees=seen,
        balance=balance,
        currency=people.wallets[world.PRAIRIE].currency,
    )


async def _canceled(people: People, customer: str, token: str) -> str:
    """Why the customer's last order was canceled, as its partner reads it."""
    wanted: Any = orders_pb2.OrderFilter(
        organization_id=people.teams[customer].id, state=orders_pb2.Order.STATE_CANCELED
    )
    reply = await call(
        people.services.orders.ListOrders, orders_pb2.ListOrdersRequest(page_size=1, filter=wanted), token
    )
    return str(reply.orders[0].cancel_reason)

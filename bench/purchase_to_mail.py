"""50 purchases a second: from the call of PlaceOrder to the moment the SMTP server has taken the receipt."""

from __future__ import annotations

import asyncio
import mailbox
import time
from pathlib import Path
from statistics import quantiles

import asyncpg
from local_stack.stack import Stack
from servicekit.testing import eventually

from bench.harness import Effort, Figure, Measured, Progress, Round, Row
from bench.own_stack import own_stack, run, superuser_url
from tests.system.world import MICROS, Team, World

PURCHASES_PER_S = 50
SECONDS = 20.0
CUSTOMERS = 30
PARTNERS = 3
BOUND_S = 2.0
SERVICES = ("wallet", "orders", "documents")
ROW = Row(
    name="purchase_to_mail",
    title=f"purchase to accepted mail at {PURCHASES_PER_S} purchases a second, p99",
    unit="s",
    against="the bound itself",
    target=1.0,
    bound="at_most",
)
_SENT = """
SELECT documents.order_number, deliveries.message_id FROM documents
JOIN deliveries ON deliveries.root_id = documents.root_id AND deliveries.document_id = documents.id
WHERE deliveries.state = 'SENT'
"""


def measure(effort: Effort, progress: Progress) -> Measured:
    """The real services, nothing left out; a new round begins when every mail of the last is there."""
    with own_stack(progress, SERVICES) as stack:
        for name in SERVICES:
            progress(f"starting {name}")
            stack.start(name)
        figures = run(_rounds(stack, effort, progress))
    rounds = [Round(figure, Figure(BOUND_S)) for figure in figures]
    return Measured(rounds, [f"{SECONDS:.0f} s a round, {PARTNERS} partners, {CUSTOMERS} customers, open loop"])


async def _rounds(stack: Stack, effort: Effort, progress: Progress) -> list[Figure]:
    world = World(stack)
    progress(f"a platform, {PARTNERS} partners, {CUSTOMERS} customers with money")
    customers, sku_id = await _shop(world)
    await _purchases(world, customers, sku_id, 2.0)
    figures = []
    for number in range(1, effort.rounds + 1):
        figure = await _one_round(world, customers, sku_id)
        progress(f"round {number} of {effort.rounds}: p99 {figure.value:.2f} s; {dict(figure.details)}")
        figures.append(figure)
    await world.close()
    return figures


async def _shop(world: World) -> tuple[list[Team], str]:
    platform = await world.platform()
    partners = [await world.make("partner.example", parent=platform) for _ in range(PARTNERS)]
    customers = [await world.make("customer.example", parent=partners[each % PARTNERS]) for each in range(CUSTOMERS)]
    await world.known(platform, *partners, *customers)
    sku_id = await world.sku()
    await world.price(platform, sku_id, 6 * MICROS)
    for partner in partners:
        await world.price(partner, sku_id, 10 * MICROS)
        await world.tax(partner, 190_000)
    for team in (*partners, *customers):
        await world.top_up(team, 1_000_000 * MICROS)
    return customers, sku_id


async def _one_round(world: World, customers: list[Team], sku_id: str) -> Figure:
    started_s = time.time()
    begun_s = await _purchases(world, customers, sku_id, SECONDS)
    bought_s = time.time() - started_s
    accepted_s = await _accepted(world.stack, set(begun_s))
    took_s = [accepted_s[number] - begun for number, begun in begun_s.items()]
    hundredths = quantiles(took_s, n=100)
    details = {
        "purchases": len(took_s),
        "purchases_per_s": round(len(took_s) / bought_s, 1),
        "p50_s": round(hundredths[49], 3),
        "max_s": round(max(took_s), 3),
    }
    return Figure(hundredths[98], details)


async def _purchases(world: World, customers: list[Team], sku_id: str, seconds: float) -> dict[str, float]:
    """When each order was asked for, by its number; on time, however long the one before takes."""
    begun_s: dict[str, float] = {}

    async def buy(team: Team) -> None:
        asked_s = time.time()
        order = await world.buy(team, sku_id)
        begun_s[order.number] = asked_s

    loop = asyncio.get_running_loop()
    tasks = []
    start_s = loop.time()
    for number in range(round(seconds * PURCHASES_PER_S)):
        await asyncio.sleep(start_s + number / PURCHASES_PER_S - loop.time())
        tasks.append(asyncio.create_task(buy(customers[number % len(customers)])))
    await asyncio.gather(*tasks)
    return begun_s


async def _accepted(stack: Stack, numbers: set[str]) -> dict[str, float]:
    """When the mail of each order was on the SMTP server's disk, which is before it says 250."""
    connection = await asyncpg.connect(superuser_url(stack, "documents"))
    new = Path(stack.env()["SMTP_MAILDIR"]) / "new"
    orders: dict[str, str] = {}
    try:

        async def sent() -> bool:
            orders.update({row["message_id"]: row["order_number"] for row in await connection.fetch(_SENT)})
            return numbers <= set(orders.values())

        await eventually(sent, timeout_s=120, every_s=0.5)
    finally:
        await connection.close()
    accepted_s = {}
    for path in new.iterdir():
        with path.open("rb") as file:
            number = orders.get(str(mailbox.MaildirMessage(file)["Message-ID"] or "").strip(), "")
        if number in numbers:
            # Written elsewhere, synced, then moved here: the last change of the entry is the move.
            accepted_s[number] = path.stat().st_ctime
    if numbers - accepted_s.keys():
        raise RuntimeError(f"no mail for the orders {sorted(numbers - accepted_s.keys())[:5]} ...")
    return accepted_s

"""The first page of any filter combination over many balance lines, beside the same over ten thousand."""

from __future__ import annotations

import os
import random
from functools import partial

import grpc
from farthing.wallet.v1 import wallets_pb2
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceStub
from local_stack.stack import Stack

from bench import entries_world as world
from bench.first_pages import Bosses, Lists, Page, beside_few, first_pages
from bench.harness import Effort, Figure, Measured, Progress, Row
from bench.ledger_world import counted_id
from bench.orders_world import NAMES, name

# 30 million is the promise; FARTHING_BENCH_ENTRIES takes another count where time is short.
ENTRIES = int(os.environ.get("FARTHING_BENCH_ENTRIES", "30000000"))
FEW = 10_000

ROW = Row(
    name="entries_search",
    title=f"first page of any filter combination over {ENTRIES:,} balance lines, p99",
    unit="ms",
    against=f"the same over {FEW:,} lines",
    target=3.0,
    bound="at_most",
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """ListEntries over gRPC, one at a time, filters, wallets and viewers drawn by lot, the same on both sides."""
    return beside_few(Lists("wallet", "entries", world.seed, pages), ENTRIES, FEW, effort, progress)


def pages(stack: Stack, count: int, progress: Progress) -> Figure:
    """One round over a world of `count` lines."""
    with grpc.insecure_channel(stack.env()["WALLET_GRPC"]) as channel:
        asked = partial(drawn, count=count)
        return first_pages(WalletServiceStub(channel).ListEntries, asked, Bosses(stack), progress)


def drawn(draw: random.Random, count: int) -> Page:
    """Somebody who looks at a wallet: the busy one three times in seven."""
    customer = draw.randrange(world.CUSTOMERS)
    reseller = world.reseller_of(7 + draw.randrange(20) * 20)
    name_, viewer, owner = draw.choice(
        (
            ("platform at the busy wallet", world.PLATFORM, world.PARTNER),
            ("platform at a reseller's", world.PLATFORM, world.RESELLER + reseller),
            ("busy partner", world.PARTNER, world.PARTNER),
            ("busy partner", world.PARTNER, world.PARTNER),
            ("reseller", world.RESELLER + reseller, world.RESELLER + reseller),
            ("customer", world.CUSTOMER + customer, world.CUSTOMER + customer),
            ("small partner", world.PARTNER + 7, world.PARTNER + 7),
        )
    )
    request = wallets_pb2.ListEntriesRequest(
        wallet_id=str(counted_id(world.WALLET + owner)),
        filter=_filter(draw, count, customer),
        order=draw.choice([each for each in wallets_pb2.EntryOrder.values() if each]),
    )
    return Page(counted_id(viewer), request, name_)


def _filter(draw: random.Random, count: int, customer: int) -> wallets_pb2.EntryFilter:
    wanted = wallets_pb2.EntryFilter()
    dimensions = draw.sample(("dates", "types", "items", "number", "phone", "search"), draw.randint(0, 3))
    at = world.FIRST + world.SPAN * draw.random()
    for dimension in dimensions:
        match dimension:
            case "dates":
                wanted.posted_from.FromDatetime(at)
                wanted.posted_to.FromDatetime(at + world.SPAN * draw.random() / 4)
            case "types":
                types = [each for each in wallets_pb2.EntryType.values() if each]
                wanted.types.extend(draw.sample(types, draw.randint(1, 2)))
            case "items":
                wanted.items.extend(_part(draw) for _ in range(draw.randint(1, 3)))
            case "number":
                wanted.order_number = _number(draw, count)
            case "phone":
                wanted.cloud_phone_id = f"phone-{customer * world.PHONES + draw.randrange(world.PHONES)}"
            case "search":
                types_by_name = ("expense", "Earnings", "system", "recharge")
                wanted.search = draw.choice(
                    (_part(draw), _part(draw), _number(draw, count), draw.choice(types_by_name))
                )
    return wanted


def _part(draw: random.Random) -> str:
    text = name(draw.randrange(NAMES))
    start = draw.choice((0, 0, 4))
    return text[start : start + draw.choice((1, 2, 3, 6, 40))]


def _number(draw: random.Random, count: int) -> str:
    """Of a transaction: whole, its day, its month, its year."""
    whole = world.order_number(int(draw.random() * count / world.LINES_A_TRANSACTION), count)
    return whole[: draw.choice((18, 10, 7, 5))]

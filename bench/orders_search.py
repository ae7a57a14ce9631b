"""The first page of any filter combination over many orders, beside the same over ten thousand."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from functools import partial

import grpc
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.orders.v1.orders_pb2_grpc import OrderServiceStub
from local_stack.stack import Stack

from bench.first_pages import Bosses, Lists, Page, beside_few, first_pages
from bench.harness import Effort, Figure, Measured, Progress, Row
from bench.orders_world import NAMES, VIEWERS, name, seed

# 10 million is the promise; FARTHING_BENCH_ORDERS takes another count where time is short.
ORDERS = int(os.environ.get("FARTHING_BENCH_ORDERS", "10000000"))
FEW = 10_000
FIRST = datetime(2024, 12, 1, tzinfo=UTC)

ROW = Row(
    name="orders_search",
    title=f"first page of any filter combination over {ORDERS:,} orders, p99",
    unit="ms",
    against=f"the same over {FEW:,} orders",
    target=3.0,
    bound="at_most",
)


def measure(effort: Effort, progress: Progress) -> Measured:
    """ListOrders over gRPC, one at a time, filters and viewers drawn by lot, the same on both sides."""
    return beside_few(Lists("orders", "orders", seed, _pages), ORDERS, FEW, effort, progress)


def _pages(stack: Stack, count: int, progress: Progress) -> Figure:
    with grpc.insecure_channel(stack.env()["ORDERS_GRPC"]) as channel:
        drawn = partial(_drawn, count=count)
        return first_pages(OrderServiceStub(channel).ListOrders, drawn, Bosses(stack), progress)


def _drawn(draw: random.Random, count: int) -> Page:
    viewer = draw.choice(list(VIEWERS))
    return Page(VIEWERS[viewer], _request(draw, count), viewer)


def _request(draw: random.Random, count: int) -> orders_pb2.ListOrdersRequest:
    wanted = orders_pb2.OrderFilter()
    dimensions = draw.sample(
        ("dates", "types", "states", "names", "number", "phone", "search", "methods"), draw.randint(0, 3)
    )
    span = timedelta(seconds=6 * count)
    at = FIRST + span * draw.random()
    for dimension in dimensions:
        match dimension:
            case "dates":
                wanted.created_from.FromDatetime(at)
                wanted.created_to.FromDatetime(at + span * draw.random() / 4)
            case "types":
                types = [each for each in catalogue_pb2.ProductType.values() if each]
                wanted.types.extend(draw.sample(types, draw.randint(1, 2)))
            case "states":
                states = [each for each in orders_pb2.Order.State.values() if each]
                wanted.states.extend(draw.sample(states, draw.randint(1, 2)))
            case "names":
                wanted.product_names.extend(
                    name(draw.randrange(NAMES))[: draw.choice((3, 6, 30))] for _ in range(draw.randint(1, 3))
                )
            case "number":
                wanted.order_number = f"FA-{at:%y%m%d}-"[: draw.choice((5, 7, 10))]
            case "phone":
                wanted.cloud_phone_id = f"phone-{draw.randrange(50_000)}"
            case "search":
                wanted.search = name(draw.randrange(NAMES))[: draw.choice((2, 5, 30))]
            case "methods":
                methods = [each for each in orders_pb2.PaymentMethod.values() if each]
                wanted.payment_methods.extend(draw.sample(methods, draw.randint(1, 2)))
    order = draw.choice([each for each in orders_pb2.OrderOrder.values() if each])
    return orders_pb2.ListOrdersRequest(filter=wanted, order=order)

"""First pages of lists, asked for one at a time over gRPC: the requests drawn by lot, the same ones each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from statistics import quantiles
from typing import Any
from uuid import UUID

from farthing.wallet.v1.organizations_pb2 import MEMBER_ROLE_BOSS, Member, Organization
from farthing_cli.tokens import TokenMaker
from local_stack.stack import Stack
from servicekit.clock import SYSTEM_CLOCK

from bench.harness import Effort, Figure, Measured, Progress, interleave
from bench.own_stack import seeded_stack

QUERIES = 400
_FIRST = 20
_TIMEOUT_S = 60.0
_SEED = 20261125


@dataclass(frozen=True, slots=True)
class Page:
    """A request, as whom, and how it is called for a person."""

    viewer: UUID
    request: Any
    name: str


class Bosses:
    """Tokens of the bosses of organizations, made when they are asked for."""

    def __init__(self, stack: Stack) -> None:
        self._maker, self._now = TokenMaker(stack.env()), SYSTEM_CLOCK.now()
        self._tokens: dict[UUID, str] = {}

    def metadata(self, organization_id: UUID) -> tuple[tuple[str, str], ...]:
        """What a call in the name of that boss carries."""
        if organization_id not in self._tokens:
            boss = Member(id="boss", name="Bo Boss", email="boss@bench.example", role=MEMBER_ROLE_BOSS)
            organization = Organization(id=str(organization_id))
            self._tokens[organization_id] = self._maker.of_member(organization, boss, self._now, timedelta(hours=12))
        return (("authorization", f"Bearer {self._tokens[organization_id]}"),)


def first_pages(
    method: Callable[..., Any], drawn: Callable[[random.Random], Page], bosses: Bosses, progress: Progress
) -> Figure:
    """p99 in milliseconds of QUERIES calls of `method`, after some that are not counted."""
    draw = random.Random(_SEED)
    took: list[float] = []
    slowest = (0.0, "")
    for number in range(_FIRST + QUERIES):
        page = drawn(draw)
        metadata = bosses.metadata(page.viewer)
        started_s = time.perf_counter()
        method(page.request, metadata=metadata, timeout=_TIMEOUT_S)
        ms = (time.perf_counter() - started_s) * 1000
        if number < _FIRST:
            continue
        took.append(ms)
        slowest = max(slowest, (ms, f"{page.name}: {' '.join(str(page.request).split())}"))
    progress(f"slowest {slowest[0]:.0f} ms, {slowest[1][:300]}")
    cuts = quantiles(took, n=100)
    return Figure(cuts[98], {"p50_ms": round(cuts[49], 2), "p90_ms": round(cuts[89], 2), "max_ms": round(max(took), 2)})


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of a service, over worlds of any count of rows: what fills one, and a round of pages over it."""

    service: str
    world: str
    seed: Callable[[Stack, int, Progress], None]
    pages: Callable[[Stack, int, Progress], Figure]


def beside_few(lists: Lists, many: int, few: int, effort: Effort, progress: Progress) -> Measured:
    """Rounds over a world of `many` rows beside one of `few`."""
    with ExitStack() as both:
        sides = []
        for count in (many, few):
            world = seeded_stack(
                progress, lists.service, f"{lists.world}-{count}", partial(_fill, lists, count, progress)
            )
            stack = both.enter_context(world)
            stack.start(lists.service)
            sides.append(partial(lists.pages, stack, count))
            progress("asking everything once")
            sides[-1](lambda _: None)
        ours, against = (partial(side, progress) for side in sides)
        rounds = interleave(effort, ours, against, progress)
    worst = max(each.ours.value for each in rounds)
    notes = [
        f"{QUERIES} filters a round; the slowest round's p99 is {worst:.1f} ms, 30 ms is promised",
        "asked once before: it is the work that is measured, and not the disk",
    ]
    return Measured(rounds, notes)


def _fill(lists: Lists, count: int, progress: Progress, stack: Stack) -> None:
    lists.seed(stack, count, progress)

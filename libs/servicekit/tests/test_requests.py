"""Given a change that is asked for again, then it happens once and the answer is the same (AIP-155)."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.orders.v1.orders_pb2 import NewOrderItem, Order, PlaceOrderRequest
from servicekit.problems import Problem, precondition
from servicekit.requests import once
from servicekit.testing import as_caller, as_service
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ROOT = uuid4()
US, THEM = uuid4(), uuid4()


class Change:
    """A change that counts how often it ran, and leaves a row each time."""

    def __init__(self, fails: int = 0, lasts_s: float = 0.0) -> None:
        self.runs = 0
        self._fails = fails
        self._lasts_s = lasts_s

    async def __call__(self, connection: AsyncConnection) -> Order:
        self.runs += 1
        await connection.execute(
            text("INSERT INTO effects (root_id, event_id, body) VALUES (:root, :root, :body)"),
            {"root": ROOT, "body": f"run {self.runs}"},
        )
        await asyncio.sleep(self._lasts_s)
        if self.runs <= self._fails:
            raise precondition("ORDER_STATE", "not now")
        return Order(id=str(uuid4()), number=f"run {self.runs}")


def place(request_id: str = "r-1", quantity: int = 1) -> PlaceOrderRequest:
    return PlaceOrderRequest(request_id=request_id, items=[NewOrderItem(quantity=quantity)])


async def ask(base: Any, change: Change, request: PlaceOrderRequest, root_id: UUID = ROOT) -> Order:
    return await once(base.database, root_id, request, Order, change)


async def test_a_repeat_gets_the_stored_reply(base: Any) -> None:
    """Given a change that was made, When the same request comes again, Then it gets that reply and nothing runs."""
    change = Change()
    with as_caller(US, ROOT):
        first = await ask(base, change, place())
        second = await ask(base, change, place())

    assert first == second
    assert (change.runs, await base.effects()) == (1, ["run 1"])


async def test_another_body_is_refused(base: Any) -> None:
    """Given a used request id, When it comes with another body, Then it is refused and nothing runs."""
    change = Change()
    with as_caller(US, ROOT):
        await ask(base, change, place(quantity=1))
        with pytest.raises(Problem) as refused:
            await ask(base, change, place(quantity=2))

    assert (refused.value.code, refused.value.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert "r-1" in refused.value.message
    assert change.runs == 1


async def test_concurrent_repeats_run_once(base: Any) -> None:
    """Given ten of the same request at once, When they race, Then one runs and all get its reply."""
    change = Change(lasts_s=0.2)
    with as_caller(US, ROOT):
        replies = await asyncio.gather(*(ask(base, change, place()) for _ in range(10)))

    assert change.runs == 1
    assert len({reply.id for reply in replies}) == 1
    assert await base.effects() == ["run 1"]


async def test_different_requests_do_not_wait_for_each_other(base: Any) -> None:
    """Given a request under way, When another id comes, Then it is answered before the first one ends."""
    with as_caller(US, ROOT):
        slow = asyncio.ensure_future(ask(base, Change(lasts_s=2.0), place("slow")))
        await asyncio.sleep(0.2)
        await asyncio.wait_for(ask(base, Change(), place("quick")), 1.0)
        assert not slow.done()
        await slow


async def test_a_failure_stores_nothing(base: Any) -> None:
    """Given a change that fails at first, When it is asked for again, Then it runs again and only that one counts."""
    change = Change(fails=1)
    with as_caller(US, ROOT):
        with pytest.raises(Problem, match="not now"):
            await ask(base, change, place())
        assert await base.effects() == []
        reply = await ask(base, change, place())

    assert reply.number == "run 2"
    assert await base.effects() == ["run 2"]


async def test_request_ids_of_two_organizations_do_not_meet(base: Any) -> None:
    """Given two organizations with one request id and different bodies, When both ask, Then each gets its own."""
    change = Change()
    with as_caller(US, ROOT):
        ours = await ask(base, change, place(quantity=1))
    with as_caller(THEM, ROOT):
        theirs = await ask(base, change, place(quantity=2))
    with as_service("orders"):
        a_service_s = await ask(base, change, place(quantity=3))

    assert len({ours.id, theirs.id, a_service_s.id}) == 3


async def test_request_ids_of_two_methods_do_not_meet(base: Any) -> None:
    """Given one request id, When it is used for two methods, Then both run."""
    change = Change()
    with as_caller(US, ROOT, method="/a/A"):
        await ask(base, change, place())
    with as_caller(US, ROOT, method="/b/B"):
        await ask(base, change, place(quantity=7))

    assert change.runs == 2


async def test_the_order_of_unknown_fields_and_maps_does_not_matter(base: Any) -> None:
    """Given a request that was parsed from bytes, When it comes as an object, Then it is the same request."""
    change = Change()
    with as_caller(US, ROOT):
        first = await ask(base, change, place())
        again = PlaceOrderRequest.FromString(place().SerializeToString())
        assert await ask(base, change, again) == first

"""Adjustments on a real PostgreSQL: reasons, limits, a second person, and who may not."""

import asyncio
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import grpc
import pytest
from farthing.audit.v1 import audit_pb2
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import adjustments_pb2 as pb
from google.type.money_pb2 import Money
from servicekit.audit import AuditRpc
from servicekit.call import Call
from servicekit.database import Database
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_caller, as_service
from wallet.rpc.adjustments import AdjustmentsRpc

from .ledger_world import Chain, World
from .world import House, Tree, eur, member_of, refused

UNIT = 1_000_000
PENDING, POSTED, REJECTED = 1, 2, 3
Adjustments = AdjustmentsRpc


@pytest.fixture
def rpc(database: Database) -> Adjustments:
    """The handlers; above 100 units a second person is needed."""
    return AdjustmentsRpc(database, Pager("test"), 100)


def of(chain: Chain, tier: int, email: str = "frida@finance.example") -> AbstractContextManager[Call]:
    """Somebody of the buyer of `tier`; tier 4 is the platform."""
    root_id = None if tier == 4 else chain.root_id
    return as_caller(chain.organization_ids[tier - 1], root_id, roles=("finance",), name=email, email=email)


def creation(chain: Chain, amount: Money | int, **fields: Any) -> pb.CreateAdjustmentRequest:
    """CreateAdjustment of so many units on the customer's wallet."""
    asked: dict[str, Any] = {
        "request_id": str(uuid4()),
        "wallet_id": str(chain.wallet_ids[0]),
        "reason": "Goodwill after the outage",
        **fields,
    }
    return pb.CreateAdjustmentRequest(amount=eur(amount) if isinstance(amount, int) else amount, **asked)


def approval(adjustment: pb.Adjustment) -> pb.ApproveAdjustmentRequest:
    """ApproveAdjustment."""
    return pb.ApproveAdjustmentRequest(request_id=str(uuid4()), id=adjustment.id, note="Seen")


async def test_up_to_the_limit_it_is_posted_at_once(world: World, rpc: Adjustments) -> None:
    """Given a customer. When its reseller credits 100 and takes 40. Then lines, postings, events and audit say so."""
    chain = await world.chain()
    with of(chain, 2):
        first = await rpc.CreateAdjustment(creation(chain, 100), None)
        second = await rpc.CreateAdjustment(
            creation(chain, -40, original_transaction_id=first.transaction_id, reason="Too much"), None
        )
    assert (first.state, second.state) == (POSTED, POSTED)
    assert first.author_subject == "frida@finance.example"
    assert await world.balances(chain) == [60 * UNIT, 0, 0]
    rows = await world.pool.fetch(
        "SELECT type, kind, item, original_id::text FROM transactions WHERE root_id = $1 ORDER BY posted_at",
        chain.root_id,
    )
    assert [tuple(row) for row in rows] == [
        (4, 4, "Goodwill after the outage", None),
        (4, 4, "Too much", first.transaction_id),
    ]
    credits = await world.pool.fetch(
        "SELECT organization_id, sum(amount_micros) FROM postings WHERE root_id = $1 AND account = 'CREDITS'"
        " GROUP BY 1",
        chain.root_id,
    )
    assert [tuple(row) for row in credits] == [(chain.organization_ids[1], -60 * UNIT)]
    payloads = await world.pool.fetch("SELECT payload FROM outbox WHERE root_id = $1 ORDER BY id", chain.root_id)
    events = [WalletEvent.FromString(row["payload"]).adjustment_posted for row in payloads]
    assert [event.adjustment for event in events] == [first, second]
    assert [(event.sequence, event.balance_after_micros) for event in events] == [(1, 100 * UNIT), (2, 60 * UNIT)]
    await world.check(chain.root_id)


async def test_above_the_limit_a_second_person_is_needed(world: World, rpc: Adjustments, database: Database) -> None:
    """Given 101 asked for. When the author, the owner, a colleague approve. Then only the last; both are named."""
    chain = await world.chain()
    with of(chain, 2):
        waiting = await rpc.CreateAdjustment(creation(chain, 101), None)
        assert waiting.state == PENDING
        assert await world.balances(chain) == [0, 0, 0]
        with refused("SECOND_PERSON_NEEDED", grpc.StatusCode.PERMISSION_DENIED):
            await rpc.ApproveAdjustment(approval(waiting), None)
    with of(chain, 1, "cleo@customer.example"), refused("ROLE_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED):
        await rpc.ApproveAdjustment(approval(waiting), None)
    with of(chain, 2, "gus@finance.example"):
        posted = await rpc.ApproveAdjustment(approval(waiting), None)
        with refused("ADJUSTMENT_NOT_PENDING"):
            await rpc.ApproveAdjustment(approval(waiting), None)
        trail = await AuditRpc(database, Pager("test")).ListAuditEvents(
            audit_pb2.ListAuditEventsRequest(filter=audit_pb2.AuditFilter(target_id=waiting.id)), None
        )
    assert (posted.state, posted.reviewer_subject, posted.review_note) == (POSTED, "gus@finance.example", "Seen")
    assert await world.balances(chain) == [101 * UNIT, 0, 0]
    assert [(event.action, event.actor_subject) for event in trail.events] == [
        ("ADJUSTMENT_APPROVED", "gus@finance.example"),
        ("ADJUSTMENT_CREATED", "frida@finance.example"),
    ]
    assert trail.events[0].before["state"] == "PENDING_APPROVAL"
    assert trail.events[0].after["state"] == "POSTED"
    await world.check(chain.root_id)


async def test_two_approvals_and_a_rejection_race(world: World, rpc: Adjustments) -> None:
    """Given an adjustment that waits. When two approve and one rejects at once, often. Then one of them decides it."""
    for _ in range(10):
        chain = await world.chain()
        with of(chain, 2):
            waiting = await rpc.CreateAdjustment(creation(chain, 500), None)

        async def approve(email: str, chain: Chain = chain, waiting: pb.Adjustment = waiting) -> str:
            with of(chain, 3, email):
                try:
                    await rpc.ApproveAdjustment(approval(waiting), None)
                except Problem as problem:
                    return problem.reason
                return "POSTED"

        async def reject(chain: Chain = chain, waiting: pb.Adjustment = waiting) -> str:
            with of(chain, 2):
                try:
                    await rpc.RejectAdjustment(pb.RejectAdjustmentRequest(request_id=str(uuid4()), id=waiting.id), None)
                except Problem as problem:
                    return problem.reason
                return "REJECTED"

        answers = await asyncio.gather(approve("one@partner.example"), approve("two@partner.example"), reject())

        decided = [answer for answer in answers if answer != "ADJUSTMENT_NOT_PENDING"]
        assert len(decided) == 1, answers
        assert await world.balances(chain) == [500 * UNIT if decided == ["POSTED"] else 0, 0, 0]
        await world.check(chain.root_id)


async def test_the_author_may_reject(world: World, rpc: Adjustments) -> None:
    """Given an adjustment that waits. When its author rejects it. Then it has ended, unposted."""
    chain = await world.chain()
    with of(chain, 2):
        waiting = await rpc.CreateAdjustment(creation(chain, 500), None)
        rejected = await rpc.RejectAdjustment(
            pb.RejectAdjustmentRequest(request_id=str(uuid4()), id=waiting.id, note="Typo"), None
        )
    assert (rejected.state, rejected.review_note, rejected.transaction_id) == (REJECTED, "Typo", "")
    assert await world.balances(chain) == [0, 0, 0]


async def test_a_debit_takes_no_more_than_is_available(world: World, rpc: Adjustments) -> None:
    """Given 5 on a wallet with a limit of 2. When 8, then 7 are taken. Then the first is refused with the figures."""
    chain = await world.chain(money=(5 * UNIT, 0, 0), limits=(2 * UNIT, 0, 0))
    with of(chain, 3):
        with refused("INSUFFICIENT_CREDIT", grpc.StatusCode.FAILED_PRECONDITION) as caught:
            await rpc.CreateAdjustment(creation(chain, -8), None)
        assert caught.value.metadata["available_micros"] == str(7 * UNIT)
        await rpc.CreateAdjustment(creation(chain, -7), None)
    assert await world.balances(chain) == [-2 * UNIT, 0, 0]


async def test_what_cannot_be_adjusted(world: World, rpc: Adjustments) -> None:
    """Given a wallet. When zero, another currency, a strange original, a NUL or a closed one. Then refused with why."""
    chain, other = await world.chain(), await world.chain(money=(10, 0, 0))
    strange = await world.pool.fetchval("SELECT id::text FROM transactions WHERE root_id = $1", other.root_id)
    with of(chain, 2):
        for asked, reason in (
            (creation(chain, 0), "AMOUNT_OUT_OF_RANGE"),
            (creation(chain, eur(1, "USD")), "CURRENCY_MISMATCH"),
            (creation(chain, eur(1, "U" * 1000)), "INVALID_ARGUMENT"),
            (creation(chain, 1, original_transaction_id=strange), "INVALID_ARGUMENT"),
            (creation(chain, 1, reason="a\0b"), "INVALID_ARGUMENT"),
        ):
            with refused(reason):
                await rpc.CreateAdjustment(asked, None)
        await world.pool.execute("UPDATE wallets SET state = 2 WHERE id = $1", chain.wallet_ids[0])
        with refused("WALLET_UNKNOWN"):
            await rpc.CreateAdjustment(creation(chain, 1), None)


async def test_the_owner_adjusts_nothing_and_strangers_see_nothing(world: World, rpc: Adjustments) -> None:
    """Given adjustments of two trees. When owner, seller and stranger ask. Then each sees what is its own to see."""
    chain, other = await world.chain(), await world.chain()
    with of(chain, 1), refused("ROLE_NOT_ALLOWED"):
        await rpc.CreateAdjustment(creation(chain, 1), None)
    with of(chain, 2):
        made = [await rpc.CreateAdjustment(creation(chain, number), None) for number in (1, 2, 200)]
    for strange in (of(other, 2), of(other, 3)):
        with strange:
            for attempt in (
                rpc.CreateAdjustment(creation(chain, 1), None),
                rpc.GetAdjustment(pb.GetAdjustmentRequest(id=made[0].id), None),
                rpc.ApproveAdjustment(approval(made[2]), None),
                rpc.ListAdjustments(pb.ListAdjustmentsRequest(wallet_id=str(chain.wallet_ids[0])), None),
            ):
                with refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND):
                    await attempt
            assert not (await rpc.ListAdjustments(pb.ListAdjustmentsRequest(), None)).adjustments
    for tier in (1, 2, 3):
        with of(chain, tier):
            listed = (await rpc.ListAdjustments(pb.ListAdjustmentsRequest(), None)).adjustments
            waiting = (await rpc.ListAdjustments(pb.ListAdjustmentsRequest(state=PENDING), None)).adjustments
        assert [each.id for each in listed] == [each.id for each in reversed(made)]
        assert [each.id for each in waiting] == [made[2].id]


async def test_a_repeat_is_one_adjustment(world: World, rpc: Adjustments) -> None:
    """Given a request. When it comes five times at once, and with another body. Then one adjustment; refused."""
    chain = await world.chain()
    asked = creation(chain, 7)
    with as_service("operator"):
        made = await asyncio.gather(*(rpc.CreateAdjustment(asked, None) for _ in range(5)))
        asked.reason = "Another reason"
        with refused("REQUEST_ID_REUSED"):
            await rpc.CreateAdjustment(asked, None)
    assert len({each.id for each in made}) == 1
    assert await world.balances(chain) == [7 * UNIT, 0, 0]


async def test_they_are_listed_in_pages(world: World, rpc: Adjustments) -> None:
    """Given five adjustments. When listed by twos. Then each comes once, the newest first."""
    chain = await world.chain()
    with of(chain, 2):
        made = [(await rpc.CreateAdjustment(creation(chain, number), None)).id for number in range(1, 6)]
        listed: list[str] = []
        token = "start"
        while token:
            request = pb.ListAdjustmentsRequest(page_size=2, page_token=token.removeprefix("start"))
            page = await rpc.ListAdjustments(request, None)
            listed.extend(each.id for each in page.adjustments)
            token = page.next_page_token
    assert listed == made[::-1]


async def test_who_a_closed_wallet_was_held_with_rejects_what_waits(house: House, tree: Tree) -> None:
    """Given adjustments that wait, when their owner moves, then the old seller still rejects, the owner not."""
    rpc = AdjustmentsRpc(house.database, Pager("test"), 100)
    wallet = await house.wallet_of(tree.customer)

    async def waiting() -> pb.Adjustment:
        request = pb.CreateAdjustmentRequest(
            request_id=str(uuid4()), wallet_id=wallet.id, reason="Goodwill", amount=eur(500)
        )
        with member_of(tree.reseller, "finance"):
            return await rpc.CreateAdjustment(request, None)

    def rejection(adjustment: pb.Adjustment) -> pb.RejectAdjustmentRequest:
        return pb.RejectAdjustmentRequest(request_id=str(uuid4()), id=adjustment.id, note="Gone")

    made = [await waiting() for _ in range(3)]
    with as_service():
        other = await house.create(tree.partner, "other")
        await house.update(tree.customer, parent_id=other.id)
    for seller, adjustment in zip((tree.reseller, tree.partner, other), made, strict=True):
        with member_of(tree.sibling), refused("NOT_FOUND"):
            await rpc.RejectAdjustment(rejection(adjustment), None)
        with member_of(tree.customer), refused("ROLE_NOT_ALLOWED"):
            await rpc.RejectAdjustment(rejection(adjustment), None)
        with member_of(seller, "finance"):
            rejected = await rpc.RejectAdjustment(rejection(adjustment), None)
        assert rejected.state == REJECTED
    assert await house.balance_micros(wallet) == 0

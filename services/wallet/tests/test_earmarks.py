"""Top-ups that an order waits for, and the word when one fails, against a real PostgreSQL."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from farthing.wallet.v1 import wallets_pb2
from servicekit.testing import as_service

from .test_top_ups import FAILED, MANUAL, PENDING, SANDBOX, SETTLED, Wallet, asked, confirmation
from .world import House, Organization, Tree, member_of, refused


@pytest.fixture
async def wallet(house: House, tree: Tree) -> Wallet:
    """The customer's wallet, held with the reseller."""
    return await house.wallet_of(tree.customer)


def earmarked(wallet: Wallet, method: Any = SANDBOX, token: str = "") -> Any:
    """A request of orders for the money of one of its orders."""
    request = asked(wallet, 10, method, token)
    request.order_id, request.order_number = str(uuid4()), "2026-000042"
    request.created_by_name, request.created_by_email = "Max", "max@people.example"
    return request


async def test_a_service_asks_for_the_money_of_an_order(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given an order paid from outside, when orders asks for its money, then order and purchaser stand on it."""
    request = earmarked(wallet, MANUAL)
    with as_service("orders"):
        created = await house.top_ups.CreateTopUp(request, None)
        assert await house.top_ups.CreateTopUp(request, None) == created
    assert (created.order_id, created.order_number) == (request.order_id, "2026-000042")
    assert (created.created_by_name, created.created_by_email) == ("Max", "max@people.example")
    assert (created.state, created.hold_id) == (PENDING, "")
    with member_of(tree.reseller, "finance"):
        settled = await house.top_ups.SettleTopUp(confirmation(created), None)
    assert (settled.state, settled.order_id) == (SETTLED, request.order_id)
    assert (await house.events_of(tree.customer))[-1].top_up_settled.top_up == settled
    await _check_held(house, wallet, settled)


@pytest.mark.parametrize("field", ["order_id", "order_number", "created_by_name", "created_by_email"])
async def test_members_cannot_speak_for_orders(house: House, tree: Tree, wallet: Wallet, field: str) -> None:
    """Given a member, when it earmarks a top-up or asks in another's name, then it is refused and nothing is left."""
    request = asked(wallet)
    setattr(request, field, str(uuid4()))
    with member_of(tree.customer), refused("INVALID_ARGUMENT"):
        await house.top_ups.CreateTopUp(request, None)
    assert await house.value("SELECT count(*) FROM top_ups WHERE wallet_id = :id", id=wallet.id) == 0


async def test_a_voucher_is_no_method_to_ask_for(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a wallet, when a top-up by voucher is asked for, then it is refused, with the way to go."""
    with member_of(tree.customer), refused("INVALID_ARGUMENT", said="RedeemVoucher"):
        await house.top_ups.CreateTopUp(asked(wallet, 10, wallets_pb2.TOP_UP_METHOD_VOUCHER), None)


async def test_a_failed_top_up_is_told_once(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a card that is declined, when money is asked for and asked for again, then one event says it failed."""
    request = earmarked(wallet, SANDBOX, "sandbox_declined")
    with as_service("orders"):
        for _ in range(2):
            failed = await house.top_ups.CreateTopUp(request, None)
    assert failed.state == FAILED
    (told,) = await _failures(house, tree.customer)
    assert told.top_up == failed
    assert (told.root_id, told.seller_id) == (tree.partner.id, tree.reseller.id)
    assert told.HasField("failed_at")
    assert not told.HasField("next_attempt_at")


async def test_a_move_tells_that_pending_top_ups_failed(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a pending top-up, when its owner gets another seller, then an event says that it failed."""
    with as_service():
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        other = await house.create(tree.partner, "other")
        await house.update(tree.customer, parent_id=other.id)
    (told,) = await _failures(house, tree.customer)
    assert (told.top_up.id, told.top_up.state, told.seller_id) == (created.id, FAILED, tree.reseller.id)


async def test_money_for_an_order_is_held_once(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a card, when orders asks for the money of an order several times at once, then it is here and held once."""
    request = earmarked(wallet)
    with as_service("orders"):
        answers = await asyncio.gather(*(house.top_ups.CreateTopUp(request, None) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    await _check_held(house, wallet, answers[0])


async def test_money_for_an_order_is_held_on_a_wallet_that_owes(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a wallet at its credit limit, when the money of an order arrives, then all of it is held nevertheless."""
    await house.execute(
        "UPDATE wallets SET credit_limit_micros = 30000000, reserved_micros = 30000000 WHERE id = :id", id=wallet.id
    )
    with as_service("orders"):
        settled = await house.top_ups.CreateTopUp(earmarked(wallet), None)
    assert settled.state == SETTLED
    assert settled.hold_id
    assert await house.value("SELECT reserved_micros FROM wallets WHERE id = :id", id=wallet.id) == 40_000_000


async def _check_held(house: House, wallet: Wallet, settled: Any) -> None:
    """The whole amount is on the wallet, and one hold of the order keeps it, for a day."""
    assert await house.balance_micros(wallet) == 10_000_000
    (hold,) = await house.rows("SELECT * FROM holds WHERE organization_id = :id", id=wallet.organization_id)
    assert (str(hold.id), str(hold.order_id), hold.state) == (settled.hold_id, settled.order_id, 1)
    assert (hold.order_number, hold.expires_at - hold.created_at) == ("2026-000042", timedelta(days=1))
    assert await house.value("SELECT reserved_micros FROM wallets WHERE id = :id", id=wallet.id) == 10_000_000


async def _failures(house: House, organization: Organization) -> list[Any]:
    events = await house.events_of(organization)
    return [event.top_up_failed for event in events if event.HasField("top_up_failed")]

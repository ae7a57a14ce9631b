"""Top-ups whose money is not wanted any more, and money that comes all the same: a fake Stripe, a real PostgreSQL."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from farthing.wallet.v1 import wallets_pb2
from servicekit.testing import as_service
from wallet.commands.top_ups import resolve_top_ups

from .fake_stripe import event
from .shop import Shop, session_of
from .test_top_ups import FAILED, MANUAL, PENDING, SANDBOX, SETTLED, Wallet, asked, confirmation
from .world import House, Tree, member_of, refused, request_id

CANCELED = "Order 2026-000042 is canceled."


@pytest.fixture
async def wallet(house: House, tree: Tree) -> Wallet:
    """The customer's wallet, held with the reseller."""
    return await house.wallet_of(tree.customer)


def cancellation(top_up: wallets_pb2.TopUp) -> wallets_pb2.CancelTopUpRequest:
    return wallets_pb2.CancelTopUpRequest(request_id=request_id(), id=top_up.id, reason=CANCELED)


async def cancel(shop: Shop, top_up: wallets_pb2.TopUp) -> wallets_pb2.TopUp:
    with as_service("orders"):
        return await shop.top_ups.CancelTopUp(cancellation(top_up), None)


async def waiting(shop: Shop, wallet: Wallet, method: Any, token: str = "") -> wallets_pb2.TopUp:
    """A top-up of 10 EUR for an order, which has not come."""
    request = asked(wallet, 10, method, token)
    request.order_id, request.order_number = str(uuid4()), "2026-000042"
    with as_service("orders"):
        made = await shop.top_ups.CreateTopUp(request, None)
    assert made.state == PENDING
    return made


async def told(shop: Shop, tree: Tree, name: str) -> list[Any]:
    return [getattr(each, name) for each in await shop.house.events_of(tree.customer) if each.HasField(name)]


async def look_again(shop: Shop, top_up: wallets_pb2.TopUp) -> None:
    await shop.house.execute("UPDATE top_ups SET due_at = farthing_now() WHERE id = :id", id=UUID(top_up.id))
    await resolve_top_ups(shop.house.database, shop.providers)


@pytest.mark.parametrize(("method", "token"), [(MANUAL, ""), (SANDBOX, "sandbox_late")])
async def test_what_nobody_has_paid_fails_at_once(
    shop: Shop, tree: Tree, wallet: Wallet, method: Any, token: str
) -> None:
    """Given a top-up that waits, when it is canceled, repeatedly too, then it failed for that reason, told nobody."""
    made = await waiting(shop, wallet, method, token)
    request = cancellation(made)
    with as_service("orders"):
        answers = [await shop.top_ups.CancelTopUp(request, None) for _ in range(2)]
        answers.append(await shop.top_ups.CancelTopUp(cancellation(made), None))
    assert [(each.state, each.failure_reason) for each in answers] == [(FAILED, CANCELED)] * 3
    assert {each.failure for each in answers} == {wallets_pb2.TOP_UP_FAILURE_CANCELED}
    await look_again(shop, made)
    assert (await shop.get(made)).state == FAILED
    # Who canceled the order knows; its owner hears of the order.
    assert await told(shop, tree, "top_up_failed") == []


async def test_a_checkout_page_is_closed(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a checkout page, when its top-up is canceled, then it cannot be paid any more, and the top-up failed."""
    account = await shop.account(tree.reseller)
    made = await shop.checkout(wallet, order_id=str(uuid4()))
    session = shop.stripe.sessions[session_of(shop, made)]
    failed = await cancel(shop, made)
    assert session["status"] == "expired"
    assert (failed.state, failed.failure_reason, failed.checkout_url) == (FAILED, CANCELED, "")
    assert not await shop.webhook(account, event("checkout.session.expired", session))
    assert await told(shop, tree, "top_up_failed") == []


@pytest.mark.parametrize("answers", [1, 2])
async def test_a_page_is_closed_when_stripe_answers_again(shop: Shop, tree: Tree, wallet: Wallet, answers: int) -> None:
    """Given a Stripe whose answers to the page or its closing are lost, when it answers, then the page is closed."""
    await shop.account(tree.reseller)
    if answers == 2:
        shop.stripe.trouble.append(500)
    made = await shop.checkout(wallet, order_id=str(uuid4()))
    assert bool(made.checkout_url) == (answers == 1)
    shop.stripe.trouble.append(500)
    pending = await cancel(shop, made)
    assert (pending.state, pending.checkout_url) == (PENDING, "")
    await look_again(shop, made)
    (session,) = [each for each in shop.stripe.sessions.values() if each["metadata"].get("top_up_id") == made.id]
    assert session["status"] == "expired"
    failed = await shop.get(made)
    assert (failed.state, failed.failure_reason) == (FAILED, CANCELED)


async def test_a_page_that_is_paid_settles(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a page that was paid just now, when its top-up is canceled, then it is settled, and held for its order."""
    await shop.account(tree.reseller)
    made = await shop.checkout(wallet, order_id=str(uuid4()))
    shop.stripe.pay(session_of(shop, made))
    settled = await cancel(shop, made)
    assert settled.state == SETTLED
    assert settled.hold_id
    assert await shop.house.balance_micros(wallet) == 10_000_000
    assert (await cancel(shop, made)) == settled


async def test_canceling_and_paying_at_once(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given checkout pages, when each is paid or left, and canceled and looked after at once, then it ends as Stripe
    says."""
    account = await shop.account(tree.reseller)
    paid = 0
    for round_ in range(8):
        made = await shop.checkout(wallet, order_id=str(uuid4()))
        session = shop.stripe.sessions[session_of(shop, made)]
        work = [cancel(shop, made), cancel(shop, made), look_again(shop, made)]
        if round_ % 2:
            paid += 1
            work.append(shop.webhook(account, event("checkout.session.completed", shop.stripe.pay(session["id"]))))
        await asyncio.gather(*work)
        await look_again(shop, made)
        assert (await shop.get(made)).state == (SETTLED if round_ % 2 else FAILED)
        assert await shop.house.balance_micros(wallet) == paid * 10_000_000
    assert len(await told(shop, tree, "top_up_settled")) == paid


async def test_late_money_by_bank_is_taken(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a canceled top-up, when its money comes by bank, then the seller confirms it, once, and its order holds
    it."""
    made = await waiting(shop, wallet, MANUAL)
    await cancel(shop, made)
    with member_of(tree.reseller, "finance"):
        request = confirmation(made)
        settled = await shop.top_ups.SettleTopUp(request, None)
        assert await shop.top_ups.SettleTopUp(request, None) == settled
        with refused("TOP_UP_NOT_PENDING"):
            await shop.top_ups.SettleTopUp(confirmation(made), None)
    assert (settled.state, settled.failure, settled.failure_reason) == (SETTLED, 0, "")
    assert settled.hold_id
    assert await shop.house.balance_micros(wallet) == 10_000_000
    [event_] = await told(shop, tree, "top_up_settled")
    assert event_.top_up == settled
    [change] = await shop.house.rows("SELECT before FROM audit_events WHERE target_id = :id", id=made.id)
    assert change.before == {"state": "FAILED"}


@pytest.mark.parametrize("canceled", [True, False])
async def test_a_failed_top_up_that_is_paid_is_settled(shop: Shop, tree: Tree, wallet: Wallet, canceled: bool) -> None:
    """Given a page canceled or left, when Stripe says it was paid all the same, replayed too, then it is settled
    once."""
    account = await shop.account(tree.reseller)
    made = await shop.checkout(wallet)
    session = shop.stripe.sessions[session_of(shop, made)]
    if canceled:
        await cancel(shop, made)
    else:
        await shop.webhook(account, event("checkout.session.expired", session))
    assert (await shop.get(made)).state == FAILED
    paid = shop.stripe.pay(session["id"])
    payload = event("checkout.session.completed", paid)
    acted = await asyncio.gather(*(shop.webhook(account, payload) for _ in range(5)))
    acted.append(
        await shop.webhook(account, event("payment_intent.succeeded", shop.stripe.intents[paid["payment_intent"]]))
    )
    assert sum(acted) == 1
    settled = await shop.get(made)
    assert (settled.state, settled.reference, settled.failure_reason) == (SETTLED, paid["payment_intent"], "")
    assert await shop.house.balance_micros(wallet) == 10_000_000
    assert len(await told(shop, tree, "top_up_settled")) == 1


async def test_a_failed_top_up_of_a_closed_wallet_stays_failed(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a page that was left and an owner that moved, when the page was paid, then nothing moves: a person must."""
    account = await shop.account(tree.reseller)
    made = await shop.checkout(wallet)
    session = shop.stripe.sessions[session_of(shop, made)]
    await shop.webhook(account, event("checkout.session.expired", session))
    with as_service():
        other = await shop.house.create(tree.partner, "other")
        await shop.house.update(tree.customer, parent_id=other.id)
    assert not await shop.webhook(account, event("checkout.session.completed", shop.stripe.pay(session["id"])))
    assert (await shop.get(made)).state == FAILED
    assert await shop.house.balance_micros(wallet) == 0


async def test_unknown_top_ups_cannot_be_canceled(shop: Shop) -> None:
    """Given no such top-up, when it is to be canceled, then there is none."""
    with refused("NOT_FOUND"):
        await cancel(shop, wallets_pb2.TopUp(id=str(uuid4())))

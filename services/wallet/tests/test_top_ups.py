"""Credit limits and top-ups, through their handlers, against a real PostgreSQL as the runtime role."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.wallet.v1 import wallets_pb2
from google.type import money_pb2
from money import INT64_MAX
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_service, eventually
from wallet.clients.providers import Collected, Outcome, Payment, Pending
from wallet.clients.registry import Providers, payment_providers
from wallet.clients.sandbox import Sandbox
from wallet.commands.top_ups import resolve_top_ups
from wallet.domain.top_ups import Method
from wallet.rpc.top_ups import TopUps

from .world import House, Organization, Tree, eur, member_of, refused, request_id

MANUAL, SANDBOX = wallets_pb2.TOP_UP_METHOD_MANUAL, wallets_pb2.TOP_UP_METHOD_SANDBOX
PENDING, SETTLED, FAILED = (
    wallets_pb2.TopUp.STATE_PENDING,
    wallets_pb2.TopUp.STATE_SETTLED,
    wallets_pb2.TopUp.STATE_FAILED,
)
TopUp = wallets_pb2.TopUp
Wallet = wallets_pb2.Wallet


@pytest.fixture
async def wallet(house: House, tree: Tree) -> Wallet:
    """The customer's wallet, held with the reseller."""
    return await house.wallet_of(tree.customer)


def asked(wallet: Wallet, amount: Any = 10, method: Any = MANUAL, token: str = "") -> Any:
    """A request for a top-up, in EUR unless it is a Money."""
    return wallets_pb2.CreateTopUpRequest(
        request_id=request_id(),
        wallet_id=wallet.id,
        amount=amount if isinstance(amount, money_pb2.Money) else eur(amount),
        method=method,
        payment_token=token,
    )


def confirmation(top_up: TopUp, reference: str = "") -> Any:
    """A request to settle by hand."""
    return wallets_pb2.SettleTopUpRequest(
        request_id=request_id(), id=top_up.id, bank_reference=reference or f"bank-{uuid4()}"
    )


# Credit limits


@pytest.mark.parametrize("code", ["", "eur", "EURO", "EU€", "E\nR", "X" * 10_000])
async def test_what_is_no_currency_is_refused_by_its_field(house: House, tree: Tree, wallet: Wallet, code: str) -> None:
    """Given an amount in what is no currency, when it is a limit or a top-up, then refused, and not told at length."""
    amount = eur(1, code)
    with member_of(tree.reseller), refused("INVALID_ARGUMENT", said=f"'{code[:10]}' is not a currency") as caught:
        await house.wallets.SetCreditLimit(_limit(wallet, amount), None)
    assert list(caught.value.fields) == ["credit_limit.currency_code"]
    with member_of(tree.customer), refused("INVALID_ARGUMENT", said=f"'{code[:10]}' is not a currency") as caught:
        await house.top_ups.CreateTopUp(asked(wallet, amount), None)
    assert list(caught.value.fields) == ["amount.currency_code"]
    assert len(caught.value.message) < 200


async def test_the_seller_and_those_above_set_the_credit_limit(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a customer's wallet, when its seller or one above sets a limit, then it is set; its owner is refused."""
    for seller, limit in ((tree.reseller, 5), (tree.partner, 7), (house.platform, 0)):
        with member_of(seller, "finance"):
            changed = await house.wallets.SetCreditLimit(_limit(wallet, eur(limit)), None)
        assert changed.credit_limit == eur(limit)
        assert await house.wallet_of(tree.customer) == changed
    with member_of(tree.customer), refused("ROLE_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED, "seller"):
        await house.wallets.SetCreditLimit(_limit(wallet, eur(1000)), None)


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (eur(-1), "AMOUNT_OUT_OF_RANGE"),
        (eur(1, "USD"), "CURRENCY_MISMATCH"),
        (money_pb2.Money(currency_code="EUR", units=INT64_MAX), "AMOUNT_OUT_OF_RANGE"),
        (money_pb2.Money(currency_code="EUR", nanos=1), "AMOUNT_OUT_OF_RANGE"),
    ],
)
async def test_limits_that_cannot_be(
    house: House, tree: Tree, wallet: Wallet, limit: money_pb2.Money, reason: str
) -> None:
    """Given a limit below zero, in another currency, too large or too fine, when it is set, then it is refused."""
    with member_of(tree.reseller), refused(reason) as caught:
        await house.wallets.SetCreditLimit(_limit(wallet, limit), None)
    assert list(caught.value.fields) == ["credit_limit"]
    assert (await house.wallet_of(tree.customer)).credit_limit == eur(0)


async def test_a_limit_is_not_set_above_what_is_owed(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a wallet 4 below zero, 1 of it reserved, when the limit shrinks, then it may to 4, not to 3."""
    with member_of(tree.reseller):
        await house.wallets.SetCreditLimit(_limit(wallet, eur(9)), None)
        await house.execute(
            "UPDATE wallets SET balance_micros = -3000000, reserved_micros = 1000000 WHERE id = :id", id=UUID(wallet.id)
        )
        with refused("INSUFFICIENT_CREDIT", grpc.StatusCode.FAILED_PRECONDITION, "4"):
            await house.wallets.SetCreditLimit(_limit(wallet, eur(3)), None)
        assert (await house.wallets.SetCreditLimit(_limit(wallet, eur(4)), None)).credit_limit == eur(4)


async def test_a_limit_is_replayed(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a limit set and set again since, when the first request is repeated, then nothing changes."""
    first = _limit(wallet, eur(5))
    with member_of(tree.reseller):
        answer = await house.wallets.SetCreditLimit(first, None)
        latest = await house.wallets.SetCreditLimit(_limit(wallet, eur(6)), None)
        assert await house.wallets.SetCreditLimit(first, None) == answer
        first.credit_limit.units = 7
        with refused("REQUEST_ID_REUSED"):
            await house.wallets.SetCreditLimit(first, None)
    assert await house.wallet_of(tree.customer) == latest


# Manual top-ups


async def test_a_manual_top_up_waits_for_the_seller(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a customer's top-up by bank, when its seller confirms it, then it is on the wallet, told and balanced."""
    with member_of(tree.customer, "member"):
        created = await house.top_ups.CreateTopUp(asked(wallet, 25), None)
    assert (created.state, created.amount, created.organization_id) == (PENDING, eur(25), tree.customer.id)
    assert (created.created_by_name, created.created_by_email) == ("Carla Caller", "carla@caller.example")
    assert await house.balance_micros(wallet) == 0
    with member_of(tree.reseller, "finance"):
        settled = await house.top_ups.SettleTopUp(confirmation(created, "  SEPA  77 "), None)
    assert (settled.state, settled.reference) == (SETTLED, "SEPA 77")
    assert await house.balance_micros(wallet) == 25_000_000
    assert await _legs(house, settled) == {
        ("CASH", tree.reseller.id, -25_000_000),
        ("WALLET", tree.customer.id, 25_000_000),
    }
    event = (await house.events_of(tree.customer))[-1].top_up_settled
    assert event.top_up == settled
    assert (event.root_id, event.seller_id) == (tree.partner.id, tree.reseller.id)
    assert (event.sequence, event.balance_after_micros) == (1, 25_000_000)
    assert event.posted_at == settled.settled_at
    with member_of(tree.customer, "member"):
        assert await house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=created.id), None) == settled


async def test_the_owner_cannot_confirm_its_own(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a top-up, when the wallet's own boss confirms it, then it is refused; one above the seller may."""
    with member_of(tree.customer):
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        with refused("ROLE_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED):
            await house.top_ups.SettleTopUp(confirmation(created), None)
    assert await house.balance_micros(wallet) == 0
    with member_of(house.platform, "finance"):
        assert (await house.top_ups.SettleTopUp(confirmation(created), None)).state == SETTLED


async def test_confirmed_twice_is_settled_once(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a settled top-up, when it is confirmed by another request, then it is refused; a repeat is answered."""
    with member_of(tree.reseller):
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        request = confirmation(created)
        settled = await house.top_ups.SettleTopUp(request, None)
        assert await house.top_ups.SettleTopUp(request, None) == settled
        with refused("TOP_UP_NOT_PENDING", grpc.StatusCode.FAILED_PRECONDITION, "settled"):
            await house.top_ups.SettleTopUp(confirmation(created), None)
        request.bank_reference = "another"
        with refused("REQUEST_ID_REUSED"):
            await house.top_ups.SettleTopUp(request, None)
    assert await house.balance_micros(wallet) == 10_000_000
    assert await _settled_events(house, tree.customer) == 1


async def test_confirmed_at_once_by_many_is_settled_once(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a top-up, when five confirm it at once, each with its own request, then one settles it."""
    with member_of(tree.reseller):
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        answers = await asyncio.gather(
            *(house.top_ups.SettleTopUp(confirmation(created), None) for _ in range(5)), return_exceptions=True
        )
    assert sorted(_reason(answer) for answer in answers) == ["", *["TOP_UP_NOT_PENDING"] * 4]
    assert await house.balance_micros(wallet) == 10_000_000
    assert await _settled_events(house, tree.customer) == 1


async def test_a_bank_reference_confirms_one_top_up_of_a_seller(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a used bank reference, when its seller uses it again, spaced otherwise, then it is refused."""
    with member_of(tree.reseller):
        one = await house.top_ups.CreateTopUp(asked(wallet), None)
        two = await house.top_ups.CreateTopUp(asked(wallet), None)
        await house.top_ups.SettleTopUp(confirmation(one, "SEPA 1"), None)
        with refused("ALREADY_EXISTS", grpc.StatusCode.ALREADY_EXISTS, "SEPA 1"):
            await house.top_ups.SettleTopUp(confirmation(two, " SEPA  1"), None)
    other = await house.wallet_of(tree.nephew)
    with member_of(tree.sibling):
        theirs = await house.top_ups.CreateTopUp(asked(other), None)
        assert (await house.top_ups.SettleTopUp(confirmation(theirs, "SEPA 1"), None)).state == SETTLED


async def test_the_platforms_bank_reference_is_used_once_over_all_roots(house: House, tree: Tree) -> None:
    """Given two partners in roots of their own, when the platform confirms both by one reference at once, one is."""
    reference = f"SEPA {uuid4()}"
    with member_of(house.platform, "finance"):
        created = [
            await house.top_ups.CreateTopUp(asked(await house.wallet_of(partner)), None)
            for partner in (tree.partner, tree.sibling)
        ]
        answers = await asyncio.gather(
            *(house.top_ups.SettleTopUp(confirmation(each, reference), None) for each in created),
            return_exceptions=True,
        )
    assert sorted(_reason(answer) for answer in answers) == ["", "ALREADY_EXISTS"]


async def test_creation_of_a_top_up_is_replayed(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a request, when it is repeated, also after the settlement, then the answer and the top-up are one."""
    request = asked(wallet)
    with member_of(tree.customer):
        answers = await asyncio.gather(*(house.top_ups.CreateTopUp(request, None) for _ in range(3)))
    with member_of(tree.reseller):
        await house.top_ups.SettleTopUp(confirmation(answers[0]), None)
    with member_of(tree.customer):
        assert {answer.SerializeToString() for answer in answers} == {
            (await house.top_ups.CreateTopUp(request, None)).SerializeToString()
        }
        request.amount.units += 1
        with refused("REQUEST_ID_REUSED"):
            await house.top_ups.CreateTopUp(request, None)
        assert len(await _listed(house, wallet)) == 1


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (eur(0), "AMOUNT_OUT_OF_RANGE"),
        (eur(-5), "AMOUNT_OUT_OF_RANGE"),
        (eur(5, "USD"), "CURRENCY_MISMATCH"),
        (money_pb2.Money(currency_code="EUR", units=9_223_372_036_855), "AMOUNT_OUT_OF_RANGE"),
        (money_pb2.Money(currency_code="EUR", units=1, nanos=1), "AMOUNT_OUT_OF_RANGE"),
        (money_pb2.Money(currency_code="EUR", units=1, nanos=-1000), "AMOUNT_OUT_OF_RANGE"),
    ],
)
async def test_amounts_that_cannot_be(
    house: House, tree: Tree, wallet: Wallet, amount: money_pb2.Money, reason: str
) -> None:
    """Given an amount of nothing, less, another currency, too large or too fine, then it is refused, by its field."""
    with member_of(tree.customer), refused(reason) as caught:
        await house.top_ups.CreateTopUp(asked(wallet, amount), None)
    assert list(caught.value.fields) == ["amount"]
    with member_of(tree.customer, method="/test/List"):
        assert await _listed(house, wallet) == []


async def test_an_amount_that_does_not_fit_any_more(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given two top-ups that fit one by one, when both are confirmed, then the second is refused, and stays pending."""
    nearly_all = money_pb2.Money(currency_code="EUR", units=9_223_372_036_854)
    with member_of(tree.reseller):
        one, two = [await house.top_ups.CreateTopUp(asked(wallet, nearly_all), None) for _ in range(2)]
        await house.top_ups.SettleTopUp(confirmation(one), None)
        with refused("AMOUNT_OUT_OF_RANGE", grpc.StatusCode.INVALID_ARGUMENT):
            await house.top_ups.SettleTopUp(confirmation(two), None)
        assert await house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=two.id), None) == two


async def test_a_service_asks_in_the_name_of_the_boss(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a service, when it asks for a top-up, then the boss gets the receipt; where there is none, nobody does."""
    with as_service("orders"):
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        bossless = await house.top_ups.CreateTopUp(asked(await house.wallet_of(tree.nephew)), None)
    assert (created.created_by_name, created.created_by_email) == ("Cleo", "cleo@people.example")
    assert (bossless.created_by_name, bossless.created_by_email) == ("", "")


async def test_a_seller_asks_in_the_name_of_the_boss_and_is_audited(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given one of a seller's people, when they ask for a buyer's top-up, then it is in the name of the buyer's boss,
    who hears of no other's people, and the audit trail knows who asked; of one's own wallet it needs no line."""
    with member_of(tree.reseller, "finance"):
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
    assert (created.created_by_name, created.created_by_email) == ("Cleo", "cleo@people.example")
    with member_of(tree.customer):
        own = await house.top_ups.CreateTopUp(asked(wallet), None)
    query = "SELECT count(*) FROM audit_events WHERE action = 'TOP_UP_REQUESTED' AND target_id = :id"
    by_seller = f"{query} AND actor_name = 'Carla Caller' AND actor_organization_id = '{tree.reseller.id}'"
    assert await house.value(by_seller, id=created.id) == 1
    assert await house.value(query, id=own.id) == 0


async def test_foreign_wallets_and_top_ups_do_not_exist(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given another tenant's, and unknown, ids, when anything is asked about them, then both answers are the same."""
    other = await house.wallet_of(tree.reseller)
    with as_service():
        theirs = await house.top_ups.CreateTopUp(asked(other), None)
    for stranger in (tree.sibling, tree.nephew, tree.customer):
        with member_of(stranger):
            foreign = await _said(house, tree.reseller.id, other.id, theirs.id)
            unknown = await _said(house, *(str(uuid4()) for _ in range(3)))
        assert foreign == unknown
    assert await house.wallet_of(tree.reseller) == other
    assert await house.balance_micros(other) == 0


async def test_top_ups_are_listed_the_newest_first(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given five top-ups, when they are listed by two, then each comes once, the newest first; tokens are bound."""
    with member_of(tree.customer, method="/test/List"):
        made = [(await house.top_ups.CreateTopUp(asked(wallet), None)).id for _ in range(5)]
        assert await _listed(house, wallet, page_size=2) == made[::-1]
        first = await house.top_ups.ListTopUps(wallets_pb2.ListTopUpsRequest(wallet_id=wallet.id, page_size=2), None)
    with member_of(tree.reseller, method="/test/List"), refused("PAGE_TOKEN_INVALID"):
        await _listed(house, wallet, page_token=first.next_page_token)


async def test_a_move_ends_what_is_pending_with_the_old_seller(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a pending top-up, when its owner gets another seller, then it fails, and its wallet takes no more."""
    with as_service():
        created = await house.top_ups.CreateTopUp(asked(wallet), None)
        other = await house.create(tree.partner, "other")
        await house.update(tree.customer, parent_id=other.id)
        failed = await house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=created.id), None)
        assert failed.state == FAILED
        assert "another seller" in failed.failure_reason
        assert failed.failure == wallets_pb2.TOP_UP_FAILURE_SELLER_CHANGED
        with refused("TOP_UP_NOT_PENDING"):
            await house.top_ups.SettleTopUp(confirmation(created), None)
        with refused("WALLET_UNKNOWN", grpc.StatusCode.NOT_FOUND):
            await house.top_ups.CreateTopUp(asked(wallet), None)
        with refused("WALLET_UNKNOWN", grpc.StatusCode.NOT_FOUND):
            await house.wallets.SetCreditLimit(_limit(wallet, eur(1)), None)


async def test_a_move_waits_for_a_payment_under_way(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a card payment under way, when its owner is to get another seller, then that has to wait."""
    with as_service():
        await house.top_ups.CreateTopUp(asked(wallet, 10, SANDBOX, "sandbox_late"), None)
        other = await house.create(tree.partner, "other")
        with refused("WALLET_NOT_EMPTY", said="under way"):
            await house.update(tree.customer, parent_id=other.id)


async def test_a_move_and_a_settlement_at_once(house: House, tree: Tree) -> None:
    """Given a pending top-up, when it is confirmed during a move, then either it settles or it fails: never both."""
    with as_service():
        other = await house.create(tree.partner, "other")
        for _ in range(5):
            buyer = await house.create(tree.reseller, "buyer")
            wallet = await house.wallet_of(buyer)
            created = await house.top_ups.CreateTopUp(asked(wallet), None)
            moved, settled = await asyncio.gather(
                house.update(buyer, parent_id=other.id),
                house.top_ups.SettleTopUp(confirmation(created), None),
                return_exceptions=True,
            )
            outcomes = (_reason(moved), _reason(settled))
            assert outcomes in {("", "TOP_UP_NOT_PENDING"), ("WALLET_NOT_EMPTY", "")}
            assert await house.balance_micros(wallet) == (0 if outcomes[0] == "" else 10_000_000)


# Top-ups through a provider


async def test_a_sandbox_card_pays_at_once(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a sandbox card, when money is asked for, then it is on the wallet; repeats at once change nothing."""
    for token in ("", "sandbox_ok"):
        before = await house.balance_micros(wallet)
        request = asked(wallet, 3, SANDBOX, token)
        with member_of(tree.customer, "member"):
            answers = await asyncio.gather(*(house.top_ups.CreateTopUp(request, None) for _ in range(4)))
            answers.append(await house.top_ups.CreateTopUp(request, None))
        assert all(answer == answers[0] for answer in answers)
        assert (answers[0].state, answers[0].reference) == (SETTLED, f"sandbox-{answers[0].id}")
        assert await house.balance_micros(wallet) == before + 3_000_000
    assert await _settled_events(house, tree.customer) == 2


async def test_a_declined_card_fails(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a card that is declined, when money is asked for, then the top-up failed, with a reason, for good."""
    request = asked(wallet, 3, SANDBOX, "sandbox_declined")
    with member_of(tree.customer):
        first = await house.top_ups.CreateTopUp(request, None)
        assert await house.top_ups.CreateTopUp(request, None) == first
    assert (first.state, first.failure_reason, first.transaction_id) == (FAILED, "The card was declined.", "")
    assert first.failure == wallets_pb2.TOP_UP_FAILURE_DECLINED
    assert await house.balance_micros(wallet) == 0
    with member_of(tree.reseller), refused("INVALID_ARGUMENT", said="payment provider"):
        await house.top_ups.SettleTopUp(confirmation(first), None)
    assert await _settled_events(house, tree.customer) == 0


async def test_a_late_card_is_settled_by_the_job(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a provider that answers later, when the job has asked again, then it is settled, once; the answer stays."""
    request = asked(wallet, 3, SANDBOX, "sandbox_late")
    with member_of(tree.customer):
        first = await house.top_ups.CreateTopUp(request, None)
        assert first.state == PENDING
        assert await house.top_ups.CreateTopUp(request, None) == first
    providers = payment_providers(development=True)
    await resolve_top_ups(house.database, providers)
    assert await house.balance_micros(wallet) == 0
    await _make_due(house, first)
    await asyncio.gather(*(resolve_top_ups(house.database, providers) for _ in range(3)))
    assert await house.balance_micros(wallet) == 3_000_000
    assert (await _get(house, first)).state == SETTLED
    with member_of(tree.customer):
        assert await house.top_ups.CreateTopUp(request, None) == first
    assert await _settled_events(house, tree.customer) == 1


@dataclass
class Flaky:
    """A real sandbox behind a bad line: fails before or after it has collected."""

    failures: list[type[BaseException]]
    collects_before_failing: bool = False
    collected: set[UUID] = field(default_factory=set)
    sandbox: Sandbox = field(default_factory=Sandbox)

    def accepts(self, token: str) -> bool:
        return self.sandbox.accepts(token)

    async def begin(self, payment: Payment) -> Outcome:
        if self.collects_before_failing:
            self.collected.add(payment.top_up_id)
        if self.failures:
            raise self.failures.pop()
        self.collected.add(payment.top_up_id)
        return await self.sandbox.begin(payment)

    async def status(self, payment: Payment) -> Outcome:
        return Collected(f"late-{payment.top_up_id}") if payment.top_up_id in self.collected else Pending()


@pytest.fixture
async def crashing(house: House) -> AsyncIterator[tuple[Flaky, TopUps]]:
    """Handlers whose process is cut off while the provider collects."""
    flaky = Flaky([asyncio.CancelledError])
    yield flaky, TopUps(house.database, Pager("test"), Providers({Method.SANDBOX: flaky}))


async def test_what_a_crash_left_pending_is_finished_by_the_job(
    house: House, tree: Tree, wallet: Wallet, crashing: tuple[Flaky, TopUps]
) -> None:
    """Given a call cut off between its two transactions, when the job comes by, then the top-up is settled, once."""
    flaky, handlers = crashing
    request = asked(wallet, 3, SANDBOX)
    with member_of(tree.customer):
        with pytest.raises(asyncio.CancelledError):
            await handlers.CreateTopUp(request, None)
        (left,) = await _listed(house, wallet)
        pending = await _get(house, TopUp(id=left))
        assert pending.state == PENDING
        await resolve_top_ups(house.database, Providers({Method.SANDBOX: flaky}))
        assert (await _get(house, pending)).state == PENDING
        await _make_due(house, pending)
        await asyncio.gather(*(resolve_top_ups(house.database, Providers({Method.SANDBOX: flaky})) for _ in range(2)))
        assert (await handlers.CreateTopUp(request, None)).state == SETTLED
    assert await house.balance_micros(wallet) == 3_000_000
    assert await _settled_events(house, tree.customer) == 1


async def test_what_a_crash_left_pending_is_finished_by_a_repeat(
    house: House, tree: Tree, wallet: Wallet, crashing: tuple[Flaky, TopUps]
) -> None:
    """Given a call cut off between its two transactions, when it is repeated, then it is settled, once."""
    _, handlers = crashing
    request = asked(wallet, 3, SANDBOX)
    with member_of(tree.customer):
        with pytest.raises(asyncio.CancelledError):
            await handlers.CreateTopUp(request, None)
        answers = await asyncio.gather(*(handlers.CreateTopUp(request, None) for _ in range(3)))
    assert [answer.state for answer in answers] == [SETTLED] * 3
    assert await house.balance_micros(wallet) == 3_000_000


async def test_a_provider_that_does_not_answer_is_asked_again(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given a provider whose line breaks after it collected, when it is asked again, then the money is here once."""
    flaky = Flaky([ConnectionResetError], collects_before_failing=True)
    handlers = TopUps(house.database, Pager("test"), Providers({Method.SANDBOX: flaky}))
    with member_of(tree.customer):
        first = await handlers.CreateTopUp(asked(wallet, 3, SANDBOX), None)
    assert first.state == PENDING
    await _make_due(house, first)

    async def settled() -> bool:
        await resolve_top_ups(house.database, Providers({Method.SANDBOX: flaky}))
        return bool((await _get(house, first)).state == SETTLED)

    await eventually(settled)
    assert (await _get(house, first)).reference == f"late-{first.id}"
    assert await house.balance_micros(wallet) == 3_000_000


async def test_pretended_money_is_for_development_alone(house: House, tree: Tree, wallet: Wallet) -> None:
    """Given production, when somebody pays with the sandbox, then it is not offered; nor are odd tokens."""
    production = TopUps(house.database, Pager("test"), payment_providers(development=False))
    with member_of(tree.customer, method="/test/List"):
        with refused("INVALID_ARGUMENT", said="not offered"):
            await production.CreateTopUp(asked(wallet, 3, SANDBOX), None)
        with refused("INVALID_ARGUMENT", said="4111") as caught:
            await house.top_ups.CreateTopUp(asked(wallet, 3, SANDBOX, "4111"), None)
        assert list(caught.value.fields) == ["payment_token"]
        assert await _listed(house, wallet) == []


# How


def _limit(wallet: Wallet, limit: money_pb2.Money) -> Any:
    return wallets_pb2.SetCreditLimitRequest(request_id=request_id(), wallet_id=wallet.id, credit_limit=limit)


def _reason(answer: object) -> str:
    """The reason of a Problem, empty for an answer; anything else is a fault."""
    if isinstance(answer, Problem):
        return answer.reason
    assert isinstance(answer, TopUp | Organization), repr(answer)
    return ""


async def _get(house: House, top_up: TopUp) -> TopUp:
    with as_service():
        return await house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=top_up.id), None)


async def _listed(house: House, wallet: Wallet, **fields: Any) -> list[str]:
    request = wallets_pb2.ListTopUpsRequest(wallet_id=wallet.id, **fields)
    ids: list[str] = []
    while True:
        page = await house.top_ups.ListTopUps(request, None)
        ids += [top_up.id for top_up in page.top_ups]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


async def _settled_events(house: House, organization: Organization) -> int:
    return sum(event.HasField("top_up_settled") for event in await house.events_of(organization))


async def _make_due(house: House, top_up: TopUp) -> None:
    await house.execute("UPDATE top_ups SET due_at = farthing_now() WHERE id = :id", id=UUID(top_up.id))


async def _legs(house: House, top_up: TopUp) -> set[tuple[str, str, int]]:
    rows = await house.rows(
        "SELECT account, organization_id, amount_micros FROM postings WHERE transaction_id = :id",
        id=UUID(top_up.transaction_id),
    )
    return {(row.account, str(row.organization_id), row.amount_micros) for row in rows}


async def _said(house: House, organization_id: str, wallet_id: str, top_up_id: str) -> list[str]:
    """What every method answers about those ids."""
    wallet = Wallet(id=wallet_id)
    calls = (
        lambda: house.wallets.ListWallets(wallets_pb2.ListWalletsRequest(organization_id=organization_id), None),
        lambda: house.wallets.SetCreditLimit(_limit(wallet, eur(1)), None),
        lambda: house.top_ups.CreateTopUp(asked(wallet), None),
        lambda: house.top_ups.CreateTopUp(asked(wallet, 10, SANDBOX), None),
        lambda: house.top_ups.ListTopUps(wallets_pb2.ListTopUpsRequest(wallet_id=wallet_id), None),
        lambda: house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=top_up_id), None),
        lambda: house.top_ups.SettleTopUp(confirmation(TopUp(id=top_up_id)), None),
    )
    said = []
    for call in calls:
        with refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND) as caught:
            await call()
        text = caught.value.message
        for each in (organization_id, wallet_id, top_up_id):
            text = text.replace(each, "X")
        said.append(text)
    return said

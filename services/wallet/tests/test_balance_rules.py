"""Notices of low balances and automatic top-ups, through their handlers and job, against a real PostgreSQL."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from farthing.wallet.v1 import payments_pb2, wallets_pb2
from hypothesis import given
from hypothesis import strategies as st
from servicekit.database import driver
from servicekit.paging import Pager
from servicekit.scope import EVERYTHING
from sqlalchemy import text
from wallet.clients.providers import Collected, Declined, Outcome, Payment, Pending
from wallet.clients.registry import Providers, payment_providers
from wallet.commands.balance_rules import watch_balances
from wallet.commands.top_ups import resolve_top_ups
from wallet.domain import balance_rules as rules
from wallet.domain.balance_rules import AutoState, AutoTopUp, Watch
from wallet.domain.ledger import Recharge
from wallet.domain.top_ups import Method
from wallet.domain.wallets import Wallet as DomainWallet
from wallet.rpc.balance_rules import BalanceRulesRpc
from wallet.rpc.payments import PaymentsRpc
from wallet.rpc.top_ups import TopUps
from wallet.store.ledger import post_line

from .fake_stripe import fake_stripe
from .shop import Shop
from .world import House, Tree, eur, member_of, refused, request_id

Wallet = wallets_pb2.Wallet
ACTIVE, RETRYING, SUSPENDED = (
    payments_pb2.AutoTopUp.STATE_ACTIVE,
    payments_pb2.AutoTopUp.STATE_RETRYING,
    payments_pb2.AutoTopUp.STATE_SUSPENDED,
)


@dataclass
class Card:
    """A provider whose next answers are given; then it collects."""

    answers: list[Outcome] = field(default_factory=list)
    asked: int = 0

    def accepts(self, token: str) -> bool:
        return True

    async def begin(self, payment: Payment) -> Outcome:
        self.asked += 1
        await asyncio.sleep(0)
        return self.answers.pop(0) if self.answers else Collected(f"card-{payment.top_up_id}")

    async def status(self, payment: Payment) -> Outcome:
        return await self.begin(payment)


@dataclass
class Watched:
    """A wallet with rules, and a card that pays for it."""

    house: House
    tree: Tree
    wallet: Wallet
    card: Card
    rpc: BalanceRulesRpc

    @property
    def providers(self) -> Providers:
        """The card, as the sandbox."""
        return Providers({Method.SANDBOX: self.card})

    async def set(self, low: int | None = None, auto: tuple[int, int] | None = None, **fields: Any) -> Any:
        """Rules: a notice below `low` EUR; below `auto[0]` EUR a top-up of `auto[1]`."""
        request = payments_pb2.SetBalanceRulesRequest(request_id=request_id(), wallet_id=self.wallet.id)
        if low is not None:
            request.low_balance_threshold.CopyFrom(eur(low))
        if auto is not None:
            request.auto_top_up.CopyFrom(payments_pb2.AutoTopUp(threshold=eur(auto[0]), amount=eur(auto[1]), **fields))
        with member_of(self.tree.customer, "finance"):
            return await self.rpc.SetBalanceRules(request, None)

    async def get(self) -> payments_pb2.BalanceRules:
        """The rules now."""
        with member_of(self.tree.customer, "member"):
            return await self.rpc.GetBalanceRules(payments_pb2.GetBalanceRulesRequest(wallet_id=self.wallet.id), None)

    async def move(self, units: int) -> None:
        """A line of that many EUR: a top-up, or (below zero) a purchase."""
        if units > 0:
            await _recharge(self, units)
        else:
            await _spend(self, -units)

    async def look(self, times: int = 1) -> None:
        """The job runs, in several replicas at once."""
        await asyncio.gather(*(watch_balances(self.house.database, self.providers) for _ in range(times)))

    async def told(self, kind: str) -> list[Any]:
        """The events of that kind about the customer."""
        events = await self.house.events_of(self.tree.customer)
        return [getattr(event, kind) for event in events if event.HasField(kind)]

    async def balance(self) -> int:
        """In EUR."""
        return await self.house.balance_micros(self.wallet) // 1_000_000


@pytest.fixture
async def watched(house: House, tree: Tree) -> Watched:
    """The customer's wallet with 20 EUR on it, and no rules yet."""
    card = Card()
    rpc = BalanceRulesRpc(house.database, Providers({Method.SANDBOX: card}))
    made = Watched(house, tree, await house.wallet_of(tree.customer), card, rpc)
    await made.move(20)
    return made


# Notices


async def test_one_notice_for_each_fall(watched: Watched) -> None:
    """Given a threshold, when the balance falls below, falls on, rises and falls, then each fall is told once."""
    await watched.set(low=10)
    await watched.look(3)
    assert await watched.told("balance_low") == []
    await watched.move(-11)
    await watched.look(5)
    (first,) = await watched.told("balance_low")
    assert (first.available, first.threshold, first.wallet_id) == (eur(9), eur(10), watched.wallet.id)
    assert (first.root_id, first.seller_id) == (watched.tree.partner.id, watched.tree.reseller.id)
    await watched.move(-2)
    await watched.look(3)
    assert len(await watched.told("balance_low")) == 1
    await watched.move(5)
    await watched.look()
    await watched.move(-5)
    await watched.look(3)
    assert [event.available for event in await watched.told("balance_low")] == [eur(9), eur(7)]


async def test_a_rise_and_fall_between_two_looks_is_seen_in_the_ledger(watched: Watched) -> None:
    """Given a wallet that is low, when it rises and falls again before anybody looks, then that fall is told too."""
    await watched.set(low=10)
    await watched.move(-11)
    await watched.look()
    await watched.move(1)
    await watched.move(-3)
    await watched.look(2)
    await watched.look(2)
    assert len(await watched.told("balance_low")) == 2


async def test_what_is_reserved_counts(watched: Watched) -> None:
    """Given a wallet, when credit is set aside, then less is available, and given back it is more again."""
    await watched.set(low=10)
    reserve = "UPDATE wallets SET reserved_micros = :micros WHERE id = :id"
    for micros, notices in ((11_000_000, 1), (0, 1), (12_000_000, 2)):
        await watched.house.execute(reserve, micros=micros, id=UUID(watched.wallet.id))
        await watched.look(2)
        assert len(await watched.told("balance_low")) == notices
    await watched.house.execute(reserve, micros=0, id=UUID(watched.wallet.id))


# Automatic top-ups


async def test_one_top_up_for_each_fall(watched: Watched) -> None:
    """Given a rule, when the balance falls and many look at once, then one top-up comes, in the boss's name."""
    await watched.set(auto=(10, 5))
    await watched.move(-15)
    await asyncio.gather(*(watched.look(2) for _ in range(4)))
    await watched.look(3)
    # 5 + 5 is not below the threshold any more.
    assert await watched.balance() == 10
    (settled,) = [event for event in await watched.told("top_up_settled") if event.top_up.automatic]
    assert settled.top_up.created_by_email == "cleo@people.example"
    assert (await watched.get()).auto_top_up.last_top_up_id == settled.top_up.id
    assert watched.card.asked == 1


async def test_a_top_up_that_does_not_suffice_is_not_followed_by_another(watched: Watched) -> None:
    """Given an amount that does not lift the balance back, when many look on, then one fall has one top-up."""
    await watched.set(auto=(10, 1))
    await watched.move(-15)
    for _ in range(4):
        await watched.look(3)
    assert await watched.balance() == 6
    await watched.move(8)
    await watched.move(-8)
    await watched.look(3)
    assert await watched.balance() == 7


async def test_failures_are_told_and_tried_again_less_and_less_often(watched: Watched) -> None:
    """Given a card that is declined, when its tries come due, then each failure is told, and after five it gives up."""
    watched.card.answers = [Declined("No.") for _ in range(5)]
    await watched.set(auto=(10, 5))
    await watched.move(-15)
    for tries in range(1, 6):
        await watched.look(3)
        assert watched.card.asked == tries
        auto = (await watched.get()).auto_top_up
        assert (auto.failures, auto.last_failure) == (tries, "No.")
        failed = (await watched.told("top_up_failed"))[-1]
        assert failed.top_up.automatic
        assert failed.HasField("next_attempt_at") == (tries < 5)
        assert auto.state == (RETRYING if tries < 5 else SUSPENDED)
        if tries < 5:
            waited = failed.next_attempt_at.ToDatetime() - failed.failed_at.ToDatetime()
            assert (
                waited
                == (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2))[tries - 1]
            )
        await _make_due(watched)
    await watched.look(3)
    assert watched.card.asked == 5
    assert len(await watched.told("top_up_failed")) == 5
    assert (await watched.set(auto=(10, 5))).auto_top_up.state == ACTIVE
    await watched.look(3)
    assert await watched.balance() == 10


async def test_a_success_ends_the_retries(watched: Watched) -> None:
    """Given a card that is declined once, when the next try succeeds, then failures are forgotten."""
    watched.card.answers = [Declined("No.")]
    await watched.set(auto=(10, 5))
    await watched.move(-15)
    await watched.look()
    await watched.look()
    assert watched.card.asked == 1
    await _make_due(watched)
    await watched.look(3)
    auto = (await watched.get()).auto_top_up
    assert (auto.state, auto.failures, auto.last_failure) == (ACTIVE, 0, "")
    assert await watched.balance() == 10


async def test_no_retry_where_the_balance_came_back_by_itself(watched: Watched) -> None:
    """Given a failed try, when other money lifts the balance before the next one, then there is none."""
    watched.card.answers = [Declined("No.")]
    await watched.set(auto=(10, 5))
    await watched.move(-15)
    await watched.look()
    await watched.move(30)
    await _make_due(watched)
    await watched.look(3)
    assert watched.card.asked == 1
    assert (await watched.get()).auto_top_up.state == ACTIVE


async def test_one_at_a_time(watched: Watched) -> None:
    """Given an automatic top-up under way, when the balance rises and falls anew, then the next waits for it."""
    watched.card.answers = [Pending()]
    await watched.set(auto=(10, 5))
    await watched.move(-15)
    await watched.look(2)
    await watched.move(10)
    await watched.move(-14)
    await watched.look(3)
    assert watched.card.asked == 1
    automatic = "SELECT count(*) FROM top_ups WHERE wallet_id = :id AND automatic AND state = :state"
    assert await watched.house.value(automatic, id=watched.wallet.id, state=1) == 1
    due = "UPDATE top_ups SET due_at = farthing_now() WHERE wallet_id = :id AND automatic AND state = 1"
    await watched.house.execute(due, id=UUID(watched.wallet.id))
    await resolve_top_ups(watched.house.database, watched.providers)
    await watched.look(3)
    assert await watched.house.value(automatic, id=watched.wallet.id, state=2) == 2
    assert await watched.balance() == 11


async def test_two_pending_automatic_top_ups_are_refused_by_the_database(watched: Watched) -> None:
    """Given an automatic top-up under way, when another is written past all rules, then the database refuses it."""
    watched.card.answers = [Pending()]
    await watched.set(auto=(30, 5))
    await watched.look()
    copy = (
        "INSERT INTO top_ups (root_id, id, wallet_id, organization_id, seller_id, amount_micros, currency, method,"
        " state, created_by_name, created_by_email, automatic) SELECT root_id, :new, wallet_id, organization_id,"
        " seller_id, 1, currency, 2, 1, '', '', true FROM top_ups WHERE wallet_id = :id AND automatic"
    )
    with pytest.raises(Exception, match="top_ups_automatic"):
        await watched.house.execute(copy, new=uuid4(), id=UUID(watched.wallet.id))


async def test_rules_are_replaced_and_audited(watched: Watched) -> None:
    """Given rules, when they are replaced, and ended, then the trail has each change, and ended ones do nothing."""
    await watched.set(low=10, auto=(10, 5))
    assert (await watched.get()).auto_top_up.amount == eur(5)
    await watched.set()
    ended = await watched.get()
    assert not ended.HasField("low_balance_threshold")
    assert not ended.HasField("auto_top_up")
    await watched.move(-15)
    await watched.look(2)
    assert await watched.balance() == 5
    assert await watched.told("balance_low") == []
    rows = await watched.house.rows(
        "SELECT before, after FROM audit_events WHERE target_id = :id ORDER BY id", id=watched.wallet.id
    )
    assert [(row.before and row.before["auto_amount"], row.after["auto_amount"]) for row in rows] == [
        (None, "5"),
        ("5", None),
    ]


async def test_rules_that_cannot_be(watched: Watched) -> None:
    """Given rules of another currency, of nothing, of too much, or without a method, when set, then refused."""
    for low, auto, reason in (
        (eur(1, "USD"), None, "CURRENCY_MISMATCH"),
        (eur(1, "dollars"), None, "INVALID_ARGUMENT"),
        (None, (eur(1, ""), eur(1)), "INVALID_ARGUMENT"),
        (None, (eur(1), eur(1, "€")), "INVALID_ARGUMENT"),
        (None, (eur(1), eur(0)), "AMOUNT_OUT_OF_RANGE"),
        (None, (eur(1), eur(1, "USD")), "CURRENCY_MISMATCH"),
        (None, (eur(9_223_372_036_854), eur(1)), "AMOUNT_OUT_OF_RANGE"),
    ):
        request = payments_pb2.SetBalanceRulesRequest(request_id=request_id(), wallet_id=watched.wallet.id)
        if low:
            request.low_balance_threshold.CopyFrom(low)
        if auto:
            request.auto_top_up.CopyFrom(payments_pb2.AutoTopUp(threshold=auto[0], amount=auto[1]))
        with member_of(watched.tree.customer), refused(reason):
            await watched.rpc.SetBalanceRules(request, None)
    with refused("NOT_FOUND"):
        await watched.set(auto=(1, 1), payment_method_id=str(uuid4()))
    production = replace(watched, rpc=BalanceRulesRpc(watched.house.database, payment_providers(development=False)))
    with refused("INVALID_ARGUMENT", said="saved method"):
        await production.set(auto=(1, 1))
    with member_of(watched.tree.nephew), refused("NOT_FOUND"):
        await watched.rpc.GetBalanceRules(payments_pb2.GetBalanceRulesRequest(wallet_id=watched.wallet.id), None)


async def test_a_saved_card_is_used_until_it_is_removed(watched: Watched, tmp_path: Path) -> None:
    """Given a rule with a saved card, when the balance falls, then it pays; removed, the rule is switched off."""
    with fake_stripe() as stripe:
        house, pager = watched.house, Pager("test")
        providers = payment_providers(development=False, secrets_dir=tmp_path, stripe_api_url=stripe.url)
        shop = Shop(
            house,
            stripe,
            tmp_path,
            providers,
            PaymentsRpc(house.database, pager, providers),
            TopUps(house.database, pager, providers),
        )
        method = await shop.saved(watched.wallet, await shop.account(watched.tree.reseller))
        own = replace(watched, rpc=BalanceRulesRpc(house.database, providers))
        await own.set(low=1, auto=(10, 5), payment_method_id=method.id)
        await own.move(-15)
        await asyncio.gather(*(watch_balances(house.database, providers) for _ in range(3)))
        assert await own.balance() == 10
        assert len(stripe.intents) == 1
        removal = payments_pb2.RemovePaymentMethodRequest(request_id=request_id(), id=method.id)
        with member_of(watched.tree.customer):
            await shop.payments.RemovePaymentMethod(removal, None)
        now = await own.get()
        assert not now.HasField("auto_top_up")
        assert now.low_balance_threshold == eur(1)


# The rules by themselves


@given(st.integers(-5, 5), st.lists(st.lists(st.integers(-6, 6), max_size=5), max_size=12))
def test_a_watch_fires_once_for_each_fall(threshold: int, batches: list[list[int]]) -> None:
    """Given movements and looks between them, when nothing is reserved, then it fires as a model that sees each line.

    The model fires at a look below the threshold if no look has fired since the balance was last not below.
    """
    watch, armed, balance, sequence, highs = Watch(threshold), True, 0, 0, dict[int, int]()
    for batch in batches:
        for amount in batch:
            balance += amount
            sequence += 1
            highs[sequence] = balance
            armed = armed or balance >= threshold
        armed = armed or balance >= threshold
        since = [high for at, high in highs.items() if watch.sequence is not None and at > watch.sequence]
        watch, fell = rules.look(watch, _at(balance), sequence, max(since, default=None))
        assert fell == (armed and balance < threshold)
        armed = armed and not fell


def test_tries_come_less_and_less_often() -> None:
    """Given failures in a row, when one more comes, then the next try is later each time, and there is a last one."""
    auto, now = AutoTopUp(Watch(0), 1, None), datetime(2026, 11, 25, tzinfo=UTC)
    waits = []
    while auto.state is not AutoState.SUSPENDED:
        auto = rules.after_failure(auto, "No.", now)
        waits.append(auto.next_attempt_at)
    assert waits == [*(now + wait for wait in rules.BACKOFF), None]


# How


def _at(balance_micros: int) -> DomainWallet:
    id_ = UUID(int=1)
    return DomainWallet(id_, id_, id_, id_, "EUR", balance_micros, 0, 0, True, datetime(2026, 1, 1, tzinfo=UTC))


async def _recharge(watched: Watched, units: int) -> None:
    wallet = watched.wallet
    recharge = Recharge(
        request_key=f"test:{uuid4()}",
        request_sha256=bytes(32),
        root_id=UUID(watched.tree.partner.id),
        wallet_id=UUID(wallet.id),
        organization_id=UUID(wallet.organization_id),
        currency="EUR",
        amount_micros=units * 1_000_000,
        item="Test",
    )
    async with watched.house.database.transaction(EVERYTHING) as connection:
        await post_line(await driver(connection), recharge)


async def _spend(watched: Watched, units: int) -> None:
    """An expense as the ledger's tables have it; its hash is not what is looked at here."""
    statement = text(
        "WITH moved AS (UPDATE wallets SET balance_micros = balance_micros - :micros, sequence = sequence + 1"
        " WHERE id = :id RETURNING *)"
        " INSERT INTO lines (root_id, wallet_id, transaction_id, organization_id, seller_id, sequence, amount_micros,"
        " revenue_micros, tax_micros, cash_micros, clearing_micros, balance_after_micros, credit_limit_micros,"
        " posted_at, tier, type, hash) SELECT root_id, id, :transaction_id, organization_id, seller_id, sequence,"
        " -:micros, :micros, 0, 0, 0, balance_micros, credit_limit_micros, farthing_now(), 1, 2, last_hash FROM moved"
    )
    values = {"micros": units * 1_000_000, "id": UUID(watched.wallet.id), "transaction_id": uuid4()}
    async with watched.house.database.transaction(EVERYTHING) as connection:
        await connection.execute(statement, values)


async def _make_due(watched: Watched) -> None:
    await watched.house.execute(
        "UPDATE balance_rules SET auto_next_attempt_at = farthing_now() WHERE wallet_id = :id AND auto_state = 2",
        id=UUID(watched.wallet.id),
    )

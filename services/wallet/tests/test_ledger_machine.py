"""The whole ledger against a plain model: top-ups, purchases, refunds, holds, captures and corrections in any order,
one after the other or several in one batch, as the engine gathers those that come at once.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from wallet.domain.chain import FIRST_HASH, broken_at
from wallet.domain.holds import Hold, HoldState, Portion, Wanted, capture, end, place
from wallet.domain.ledger import (
    Book,
    Charge,
    Correction,
    Kind,
    Line,
    Original,
    OriginalTier,
    Outcome,
    Posted,
    Recharge,
    Refund,
    Refusal,
    Tier,
    Transaction,
    Wallet,
    malformed,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLATFORM, PARTNER, RESELLER, CUSTOMER = (UUID(int=number) for number in (1, 2, 3, 4))
CHAIN = (CUSTOMER, RESELLER, PARTNER, PLATFORM)
BUYERS = CHAIN[:3]
LIMITS = {CUSTOMER: 30, RESELLER: 0, PARTNER: 60}
price = st.tuples(st.integers(0, 60), st.integers(0, 12))
prices = st.lists(price, min_size=3, max_size=3)
share = st.integers(0, 4)


@dataclass
class Bought:
    """A purchase of the model: (net, tax) at each tier from `start`, and what was given back of it."""

    charge: Charge
    answer: Posted
    start: int
    paid: list[tuple[int, int]]
    earned: list[bool]
    back: list[tuple[int, int]] = field(default_factory=list)

    @property
    def id(self) -> UUID:
        """Of its transaction."""
        return self.answer.transaction_id


@dataclass
class Held:
    """A hold of the model: what is left of it by owner, while it is active."""

    hold: Hold
    purchaser: UUID
    rest: dict[UUID, int]
    active: bool = True


def wallet_id_of(owner: UUID) -> UUID:
    return UUID(int=owner.int + 1000)


class Ledger(RuleBasedStateMachine):
    """Plays each step on the ledger and on dicts of integers; both must say the same."""

    bought = Bundle("bought")
    held = Bundle("held")

    @initialize(earning=st.sets(st.sampled_from([RESELLER, PARTNER])))
    def begin(self, earning: set[UUID]) -> None:
        self.earning = earning
        self.wallets = [
            Wallet(
                PARTNER, wallet_id_of(buyer), buyer, seller, "EUR", LIMITS[buyer], 0, 0, 0, FIRST_HASH, None,
                buyer in earning,
            )
            for buyer, seller in itertools.pairwise(CHAIN)
        ]  # fmt: skip
        self.entries: dict[UUID, list[tuple[Line, Transaction]]] = {wallet.id: [] for wallet in self.wallets}
        self.remembered: dict[tuple[UUID, str], Posted] = {}
        self.number = 0
        self.batch = Book(self.wallets, START)
        self.written = self.together = 0
        # The model.
        self.balance = dict.fromkeys(BUYERS, 0)
        self.holds: list[Held] = []
        self.purchases: list[Bought] = []
        self.cash = self.credits = self.revenue = self.tax = 0

    # What both use.

    def book(self) -> Book:
        """The batch under way, or a new one, later than the last."""
        self.number += 1
        if self.together:
            self.together -= 1
        else:
            self.batch = Book(self.wallets, START + timedelta(seconds=self.number), self.remembered)
            self.written = 0
        return self.batch

    def keep(self, book: Book) -> None:
        """Writes down what is new in the batch, as the store does."""
        transactions = {transaction.id: transaction for transaction in book.transactions}
        for line in book.lines[self.written :]:
            assert line.legs_sum_micros == 0
            self.entries[line.wallet_id].append((line, transactions[line.transaction_id]))
        for id_ in transactions:
            assert sum(line.clearing_micros for line in book.lines if line.transaction_id == id_) == 0
        self.written, self.remembered = len(book.lines), book.remembered

    def reserved(self, owner: UUID) -> int:
        return sum(held.rest.get(owner, 0) for held in self.holds if held.active)

    def available(self, owner: UUID) -> int:
        return self.balance[owner] + LIMITS[owner] - self.reserved(owner)

    def charge(self, start: int, asked: Iterable[tuple[int, int]]) -> Charge:
        tiers = tuple(
            Tier(CHAIN[start + n], CHAIN[start + n + 1], net, tax) for n, (net, tax) in enumerate(list(asked)[start:])
        )
        key = f"r{self.number}"
        body = sha256(repr((key, tiers)).encode()).digest()
        return Charge(key, body, PARTNER, "EUR", uuid4(), "2026-1", "Proxy", tiers, "phone-1")

    def sell(self, charge: Charge, extra: dict[UUID, int]) -> bool:
        """The model's purchase; `extra` is what a hold lends to each owner. False where it lacks credit anywhere."""
        before, earned = dict(self.balance), 0
        for tier in charge.tiers:
            buyer = tier.buyer_id
            if buyer in self.earning:
                self.balance[buyer] += earned
            needed = tier.net_micros + tier.tax_micros
            if self.available(buyer) + min(extra.get(buyer, 0), needed) < needed:
                self.balance = before
                return False
            self.balance[buyer] -= needed
            earned = tier.net_micros
        for tier in charge.tiers:
            self.tax += tier.tax_micros
            if tier.seller_id not in self.earning:
                self.revenue += tier.net_micros
        return True

    def remember(self, charge: Charge, outcome: Posted) -> Bought:
        made = Bought(
            charge,
            outcome,
            CHAIN.index(charge.tiers[0].buyer_id),
            [(tier.net_micros, tier.tax_micros) for tier in charge.tiers],
            [tier.seller_id in self.earning and tier.net_micros > 0 for tier in charge.tiers],
        )
        made.back = [(0, 0)] * len(made.paid)
        self.purchases.append(made)
        return made

    # Steps.

    @rule(steps=st.integers(1, 4))
    def gather(self, steps: int) -> None:
        """The next step begins a batch, and those after it come while it is open."""
        self.book()
        self.together = steps

    @rule(made=bought, another=st.booleans())
    def ask_again(self, made: Bought, another: bool) -> None:
        book = self.book()
        charge = made.charge._replace(request_sha256=bytes(32)) if another else made.charge
        outcome = book.charge(charge, uuid4())
        if another:
            assert isinstance(outcome, Refusal) and outcome.reason == "REQUEST_ID_REUSED"
        else:
            assert outcome == made.answer._replace(lines=())
        assert len(book.lines) == (self.written if book is self.batch else 0)

    @rule(owner=st.sampled_from(BUYERS), amount=st.integers(1, 150), voucher=st.booleans())
    def top_up(self, owner: UUID, amount: int, voucher: bool) -> None:
        book = self.book()
        kind = Kind.VOUCHER if voucher else Kind.TOP_UP
        recharge = Recharge(
            f"t{self.number}", bytes(32), PARTNER, wallet_id_of(owner), owner, "EUR", amount, "Top-up", kind
        )
        assert isinstance(book.recharge(recharge, uuid4()), Posted)
        self.keep(book)
        self.balance[owner] += amount
        if voucher:
            self.credits += amount
        else:
            self.cash += amount

    @rule(target=bought, start=st.integers(0, 2), asked=prices)
    def purchase(self, start: int, asked: list[tuple[int, int]]) -> object:
        book = self.book()
        charge = self.charge(start, asked)
        if malformed(charge) is not None:
            assert sum(asked[start]) == 0
            return multiple()
        outcome = book.charge(charge, uuid4())
        self.keep(book)
        assert isinstance(outcome, Posted) == self.sell(charge, {}), outcome
        return self.remember(charge, outcome) if isinstance(outcome, Posted) else multiple()

    @rule(made=bought, shares=st.lists(st.tuples(share, share), min_size=3, max_size=3), again=st.booleans())
    def refund(self, made: Bought, shares: list[tuple[int, int]], again: bool) -> None:
        book = self.book()
        # Parts of a quarter, sometimes more than is left.
        asked = [(net * n // 4, tax * t // 4) for (net, tax), (n, t) in zip(made.paid, shares, strict=False)]
        original_tiers, tiers = [], []
        for n, ((net, tax), (net_back, tax_back)) in enumerate(zip(made.paid, made.back, strict=True)):
            buyer, seller = CHAIN[made.start + n], CHAIN[made.start + n + 1]
            original_tiers.append(
                OriginalTier(wallet_id_of(buyer), buyer, seller, net, tax, made.earned[n], net_back, tax_back)
            )
            tiers.append(Tier(buyer, seller, *asked[n]))
        original = Original(
            PARTNER, made.id, CHAIN[made.start], None, "EUR", "2026-1", "Proxy", "", tuple(original_tiers)
        )
        refund = Refund(f"f{self.number}", bytes(32), original, tuple(tiers))
        outcome = book.refund(refund, uuid4())
        if again:
            repeated = book.refund(refund, uuid4())
            assert isinstance(outcome, Refusal) or repeated == outcome._replace(lines=())
        self.keep(book)
        expected = self.give_back(made, asked)
        assert (outcome.reason if isinstance(outcome, Refusal) else "") == expected

    def give_back(self, made: Bought, asked: list[tuple[int, int]]) -> str:
        """The model's refund, from the top down; why not, or ''."""
        after = [(a[0] + b[0], a[1] + b[1]) for a, b in zip(made.back, asked, strict=True)]
        if any(net > paid[0] or tax > paid[1] for (net, tax), paid in zip(after, made.paid, strict=True)):
            return "REFUND_EXCEEDS_CHARGE"
        if not any(net or tax for net, tax in asked):
            return "NOTHING_TO_REFUND"
        balance = dict(self.balance)
        for n in reversed(range(len(asked))):
            buyer = CHAIN[made.start + n]
            balance[buyer] += sum(asked[n])
            if n and made.earned[n - 1]:
                balance[buyer] -= asked[n - 1][0]
                if asked[n - 1][0] and balance[buyer] + LIMITS[buyer] - self.reserved(buyer) < 0:
                    return "INSUFFICIENT_CREDIT"
        self.balance, made.back = balance, after
        for n, (net, tax) in enumerate(asked):
            self.tax -= tax
            self.revenue -= 0 if made.earned[n] else net
        return ""

    @rule(target=held, start=st.integers(0, 2), amounts=st.lists(st.integers(1, 80), min_size=1, max_size=3))
    def hold(self, start: int, amounts: list[int]) -> object:
        book = self.book()
        owners = BUYERS[start : start + len(amounts)]
        portions = tuple(Portion(owner, amount) for owner, amount in zip(owners, amounts, strict=False))
        wanted = Wanted(PARTNER, "EUR", portions, timedelta(hours=1), "Phone")
        fits = all(self.available(owner) >= amount for owner, amount in portions)
        outcome = place(book, wanted, uuid4())
        assert isinstance(outcome, Hold) == fits
        if not isinstance(outcome, Hold):
            assert outcome.reason == "INSUFFICIENT_CREDIT"
            return multiple()
        made = Held(outcome, owners[0], dict(portions))
        self.holds.append(made)
        return made

    @rule(target=bought, held=held, asked=prices, final=st.booleans())
    def capture(self, held: Held, asked: list[tuple[int, int]], final: bool) -> object:
        book = self.book()
        charge = self.charge(CHAIN.index(held.purchaser), asked)
        if malformed(charge) is not None:
            return multiple()
        needed = {tier.buyer_id: tier.net_micros + tier.tax_micros for tier in charge.tiers}
        outcome, after = capture(book, held.hold, charge, uuid4(), final=final)
        self.keep(book)
        reason = outcome.reason if isinstance(outcome, Refusal) else ""
        if not held.active:
            assert reason == "HOLD_NOT_ACTIVE"
            return multiple()
        if any(needed.get(owner, 0) > rest for owner, rest in held.rest.items()):
            assert reason == "HOLD_EXCEEDED"
            return multiple()
        sold = self.sell(charge, held.rest)
        assert isinstance(outcome, Posted) == sold, outcome
        if not isinstance(outcome, Posted):
            assert (reason, after) == ("INSUFFICIENT_CREDIT", held.hold)
            return multiple()
        held.hold = after
        held.rest = {owner: rest - needed.get(owner, 0) for owner, rest in held.rest.items()}
        held.active = not final and any(held.rest.values())
        assert (after.state is HoldState.ACTIVE) == held.active
        return self.remember(charge, outcome)

    @rule(held=consumes(held), state=st.sampled_from([HoldState.RELEASED, HoldState.EXPIRED]))
    def give_up(self, held: Held, state: HoldState) -> None:
        if held.active:
            book = self.book()
            held.hold = end(held.hold, book.wallets.values(), state, book.posted_at)
            held.active = False
            assert held.hold.state is state

    @rule(owner=st.sampled_from(BUYERS), amount=st.integers(-120, 120))
    def correct(self, owner: UUID, amount: int) -> None:
        book = self.book()
        correction = Correction(
            f"c{self.number}", bytes(32), PARTNER, wallet_id_of(owner), owner, "EUR", amount, "Goodwill", None
        )
        outcome: Outcome = book.correct(correction, uuid4())
        self.keep(book)
        if not amount or self.available(owner) < -amount:
            assert isinstance(outcome, Refusal)
            assert outcome.reason == ("INSUFFICIENT_CREDIT" if amount else "AMOUNT_OUT_OF_RANGE")
        else:
            assert isinstance(outcome, Posted)
            self.balance[owner] += amount
            self.credits += amount

    # What always holds.

    @invariant()
    def wallets_are_as_the_model_says(self) -> None:
        for wallet in getattr(self, "wallets", []):
            owner = wallet.organization_id
            assert wallet.balance_micros == self.balance[owner]
            assert wallet.reserved_micros == self.reserved(owner)
            assert wallet.balance_micros - wallet.reserved_micros >= -wallet.credit_limit_micros

    @invariant()
    def the_books_add_up(self) -> None:
        sums = dict.fromkeys(("revenue_micros", "tax_micros", "cash_micros", "credits_micros", "clearing_micros"), 0)
        for wallet in getattr(self, "wallets", []):
            entries, running = self.entries[wallet.id], 0
            for number, (line, _) in enumerate(entries, 1):
                running += line.amount_micros
                assert (line.sequence, line.balance_after_micros) == (number, running)
                assert running >= -line.credit_limit_micros
                for name in sums:
                    sums[name] += getattr(line, name)
            assert running == wallet.balance_micros
            assert broken_at(entries) is None
        if hasattr(self, "wallets"):
            assert sums == {
                "revenue_micros": self.revenue,
                "tax_micros": self.tax,
                "cash_micros": -self.cash,
                "credits_micros": -self.credits,
                "clearing_micros": 0,
            }

    @invariant()
    def nothing_is_refunded_twice(self) -> None:
        for made in getattr(self, "purchases", []):
            back = [
                line
                for entries in self.entries.values()
                for line, transaction in entries
                if transaction.original_id == made.id and line.tier and line.type == 4
            ]
            for n, paid in enumerate(made.paid):
                mine = [line for line in back if line.tier == n + 1]
                assert -sum(line.tax_micros for line in mine) == made.back[n][1] <= paid[1]
                assert -sum(line.revenue_micros + line.clearing_micros for line in mine) == made.back[n][0] <= paid[0]


TestLedgerMachine = pytest.mark.filterwarnings("default")(Ledger.TestCase)
TestLedgerMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)

# Any number of processes may share the parts: `-k even` and `-k odd` are two halves.
PARTS = [pytest.param(part, id=f"{('even', 'odd')[part % 2]}-{part:02}") for part in range(100)]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_100_000_sequences_are_as_the_model_says(part: int) -> None:
    """Given 1,000 sequences of 30 steps, others for each part, when played on both, then ledger and model agree."""
    # What failed is said with its steps, and the same again in the next run, whatever machine it runs on.
    machine = seed(part)(type(f"Ledger{part}", (Ledger,), {}))
    thousand = settings(
        max_examples=1000,
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=thousand)

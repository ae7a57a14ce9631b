"""The ledger's rules, without a database."""

import itertools
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from money import INT64_MAX
from wallet.domain.chain import FIRST_HASH, broken_at, line_hash_1, transaction_digest
from wallet.domain.ledger import (
    Book,
    Charge,
    LineType,
    Outcome,
    Posted,
    Recharge,
    Refusal,
    Tier,
    Wallet,
    WalletKey,
    malformed,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLATFORM, PARTNER, RESELLER, CUSTOMER = (UUID(int=number) for number in (1, 2, 3, 4))
CHAIN = (CUSTOMER, RESELLER, PARTNER, PLATFORM)


def wallet_of(
    owner: UUID,
    seller: UUID,
    *,
    balance: int = 0,
    limit: int = 0,
    reserved: int = 0,
    earns: bool = False,
    currency: str = "EUR",
) -> Wallet:
    id_ = UUID(int=owner.int + 1000)
    return Wallet(PARTNER, id_, owner, seller, currency, limit, balance, reserved, 0, FIRST_HASH, None, earns)


def chain_of_wallets(balance: int = 1000, *, limit: int = 0, earns: bool = False) -> list[Wallet]:
    return [
        wallet_of(buyer, seller, balance=balance, limit=limit, earns=earns)
        for buyer, seller in itertools.pairwise(CHAIN)
    ]


def charge_of(*prices: tuple[int, int], request: str = "r1", currency: str = "EUR", item: str = "Proxy") -> Charge:
    tiers = tuple(
        Tier(buyer, seller, net, tax) for buyer, seller, (net, tax) in zip(CHAIN, CHAIN[1:], prices, strict=False)
    )
    body = sha256(repr((prices, request, currency, item)).encode()).digest()
    return Charge(request, body, PARTNER, currency, uuid4(), "2026-000001", item, tiers)


def recharge_of(owner: UUID, amount: int, request: str = "t1") -> Recharge:
    body = sha256(repr((owner, amount)).encode()).digest()
    return Recharge(request, body, PARTNER, UUID(int=owner.int + 1000), owner, "EUR", amount, "Top-up")


def by_owner(book: Book) -> dict[UUID, Wallet]:
    return {wallet.organization_id: wallet for wallet in book.wallets.values()}


def test_a_purchase_is_posted_at_every_tier() -> None:
    """Given three wallets with credit. When a purchase is charged. Then each buyer pays its seller, and it balances."""
    book = Book(chain_of_wallets(1000), NOW)

    outcome = book.charge(charge_of((100, 20), (80, 0), (50, 5)), uuid4())

    assert isinstance(outcome, Posted)
    assert outcome.balance_after_micros == 880
    assert [(line.organization_id, line.amount_micros, line.tier) for line in outcome.lines] == [
        (CUSTOMER, -120, 1),
        (RESELLER, -80, 2),
        (PARTNER, -55, 3),
    ]
    assert [(line.seller_id, line.revenue_micros, line.tax_micros) for line in outcome.lines] == [
        (RESELLER, 100, 20),
        (PARTNER, 80, 0),
        (PLATFORM, 50, 5),
    ]
    assert all(line.legs_sum_micros == 0 for line in outcome.lines)


def test_earnings_go_to_the_wallet_where_the_seller_wants_it() -> None:
    """Given sellers without money whose earnings go to their wallets. When their customer buys. Then that pays them."""
    wallets = chain_of_wallets(0, earns=True)
    wallets[0].balance_micros = 120
    book = Book(wallets, NOW)

    outcome = book.charge(charge_of((100, 20), (80, 0), (50, 5)), uuid4())

    assert isinstance(outcome, Posted)
    types = [(line.organization_id, LineType(line.type).name, line.amount_micros) for line in outcome.lines]
    assert types == [
        (CUSTOMER, "EXPENSE", -120),
        (RESELLER, "EARNINGS", 100),
        (RESELLER, "EXPENSE", -80),
        (PARTNER, "EARNINGS", 80),
        (PARTNER, "EXPENSE", -55),
    ]
    assert sum(line.clearing_micros for line in outcome.lines) == 0
    assert all(line.legs_sum_micros == 0 for line in outcome.lines)
    assert {owner: wallet.balance_micros for owner, wallet in by_owner(book).items()} == {
        CUSTOMER: 0,
        RESELLER: 20,
        PARTNER: 25,
    }


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_one_wallet_without_credit_refuses_the_whole_purchase(tier: int) -> None:
    """Given one wallet of the chain short by a micro. When a purchase is charged. Then nothing moves anywhere."""
    wallets = chain_of_wallets(100)
    wallets[tier - 1].balance_micros = 99
    book = Book(wallets, NOW)

    outcome = book.charge(charge_of((100, 0), (100, 0), (100, 0)), uuid4())

    assert isinstance(outcome, Refusal)
    assert (outcome.reason, outcome.organization_id) == ("INSUFFICIENT_CREDIT", CHAIN[tier - 1])
    assert (outcome.available_micros, outcome.needed_micros) == (99, 100)
    assert "99" not in outcome.message
    assert not book.lines
    assert not book.changed
    assert sorted(wallet.balance_micros for wallet in book.wallets.values()) == [99, 100, 100]


def test_credit_limit_counts_and_what_is_reserved_does_not() -> None:
    """Given 10 on the wallet, a limit of 50, 20 reserved. When 41, then 40 is charged. Then only the 40 passes."""
    wallet = wallet_of(PARTNER, PLATFORM, balance=10, limit=50, reserved=20)
    book = Book([wallet], NOW)
    tier = Tier(PARTNER, PLATFORM, 41, 0)
    charge = Charge("a", b"a" * 32, PARTNER, "EUR", None, "", "", (tier,))

    assert isinstance(book.charge(charge, uuid4()), Refusal)
    fits = charge._replace(tiers=(tier._replace(net_micros=40),))
    assert isinstance(book.charge(fits, uuid4()), Posted)
    assert wallet.balance_micros == -30


def test_a_repeat_gets_the_same_answer_and_another_body_is_refused() -> None:
    """Given a posted charge. When it comes again, then with another price. Then same answer; then refused."""
    book = Book(chain_of_wallets(1000), NOW)
    charge = charge_of((100, 20), (80, 0), (50, 5))

    first = book.charge(charge, uuid4())
    again = book.charge(charge, uuid4())
    other = book.charge(charge_of((101, 20), (80, 0), (50, 5)), uuid4())

    assert isinstance(first, Posted)
    assert again == first._replace(lines=())
    assert isinstance(other, Refusal)
    assert other.reason == "REQUEST_ID_REUSED"
    assert len(book.transactions) == 1


def test_a_refused_charge_may_be_asked_for_again() -> None:
    """Given a charge refused for lack of credit. When money arrives and it is repeated. Then it is posted."""
    book = Book(chain_of_wallets(0, limit=0), NOW)
    for owner in (RESELLER, PARTNER):
        book.recharge(recharge_of(owner, 500, request=f"top-up {owner}"), uuid4())
    charge = charge_of((100, 0), (80, 0), (50, 0))

    assert isinstance(book.charge(charge, uuid4()), Refusal)
    book.recharge(recharge_of(CUSTOMER, 100), uuid4())
    assert isinstance(book.charge(charge, uuid4()), Posted)


def test_a_chain_that_is_not_the_tree_is_refused() -> None:
    """Given a tier whose seller is not the one of the buyer's wallet. When it is charged. Then CHAIN_MISMATCH."""
    book = Book(chain_of_wallets(1000), NOW)
    charge = charge_of((100, 0), (80, 0), (50, 0))
    wrong = charge._replace(tiers=(charge.tiers[0]._replace(seller_id=PARTNER), charge.tiers[2]))

    outcome = book.charge(wrong, uuid4())

    assert isinstance(outcome, Refusal)
    assert outcome.reason == "CHAIN_MISMATCH"


def test_an_unknown_wallet_is_refused() -> None:
    """Given a chain whose middle has no wallet in that currency. When it is charged. Then WALLET_UNKNOWN."""
    wallets = chain_of_wallets(1000)
    book = Book([wallets[0], wallets[2]], NOW)

    outcome = book.charge(charge_of((100, 0), (80, 0), (50, 0)), uuid4())

    assert isinstance(outcome, Refusal)
    assert (outcome.reason, outcome.organization_id) == ("WALLET_UNKNOWN", RESELLER)


@pytest.mark.parametrize(
    ("prices", "reason"),
    [
        ([(0, 0), (1, 0), (1, 0)], "AMOUNT_OUT_OF_RANGE"),
        ([(-1, 2), (1, 0), (1, 0)], "AMOUNT_OUT_OF_RANGE"),
        ([(1, 0), (1, -1), (1, 0)], "AMOUNT_OUT_OF_RANGE"),
        ([(INT64_MAX, 1), (1, 0), (1, 0)], "AMOUNT_OUT_OF_RANGE"),
        ([(1, 0), (0, 0), (0, 0)], None),
        ([(INT64_MAX, 0), (INT64_MAX - 1, 1), (0, INT64_MAX)], None),
    ],
)
def test_amounts_that_cannot_be(prices: list[tuple[int, int]], reason: str | None) -> None:
    """Given zero, negative or overflowing amounts. When the charge is looked at. Then it is refused, and only then."""
    refusal = malformed(charge_of(*prices))

    assert (refusal.reason if refusal else None) == reason


def test_shapes_that_cannot_be() -> None:
    """Given charges of broken form. When they are looked at. Then each is refused with its reason."""
    charge = charge_of((100, 0), (80, 0), (50, 0))
    customer, reseller, partner = charge.tiers
    broken = {
        "no tiers": charge._replace(tiers=()),
        "too many tiers": charge._replace(tiers=(customer,) * 17),
        "lower-case currency": charge._replace(currency="eur"),
        "NUL in the item": charge._replace(item="a\0b"),
        "order number too long": charge._replace(order_number="9" * 101),
        "cloud phone id too long": charge._replace(cloud_phone_id="9" * 101),
        "gap in the chain": charge._replace(tiers=(customer, partner)),
        "a buyer twice": charge._replace(tiers=(customer, Tier(RESELLER, CUSTOMER, 1, 0), customer)),
    }

    reasons = {name: (refusal.reason if (refusal := malformed(each)) else None) for name, each in broken.items()}

    assert malformed(charge) is None
    assert reasons == dict.fromkeys(list(broken)[:6], "INVALID_ARGUMENT") | {
        "gap in the chain": "CHAIN_MISMATCH",
        "a buyer twice": "CHAIN_MISMATCH",
    }
    assert reseller.buyer_id == RESELLER


def test_money_that_no_wallet_can_hold_is_refused() -> None:
    """Given a wallet near the top of 64 bits. When more is received or earned. Then it is refused, whole."""
    book = Book(chain_of_wallets(INT64_MAX - 10, earns=True), NOW)

    assert isinstance(over := book.recharge(recharge_of(CUSTOMER, 11), uuid4()), Refusal)
    assert isinstance(earned := book.charge(charge_of((11, 0), (0, 0), (0, 0)), uuid4()), Refusal)
    assert {over.reason, earned.reason} == {"AMOUNT_OUT_OF_RANGE"}
    assert not book.lines


def test_nothing_is_dated_before_the_last_line_of_its_wallet() -> None:
    """Given a wallet whose last line is an hour ahead of the clock. When it is charged. Then that instant holds."""
    wallets = chain_of_wallets(1000)
    wallets[1].last_posted_at = NOW + timedelta(hours=1)
    book = Book(wallets, NOW)

    outcome = book.charge(charge_of((100, 0), (80, 0), (50, 0)), uuid4())

    assert isinstance(outcome, Posted)
    assert outcome.posted_at == NOW + timedelta(hours=1)
    assert {transaction.posted_at for transaction in book.transactions} == {outcome.posted_at}


@pytest.mark.parametrize("field", ["amount_micros", "balance_after_micros", "seller_id", "sequence", "tier"])
def test_a_changed_line_breaks_the_chain(field: str) -> None:
    """Given an intact chain. When a field of one line is changed. Then the chain is broken at that line."""
    book = Book([wallet_of(PARTNER, PLATFORM, balance=1000)], NOW)
    for number in range(5):
        tier = Tier(PARTNER, PLATFORM, 10 + number, 0)
        book.charge(Charge(f"r{number}", bytes(32), PARTNER, "EUR", None, "", "x", (tier,)), uuid4())
    entries = list(zip(book.lines, book.transactions, strict=True))
    assert broken_at(entries) is None

    line, transaction = entries[2]
    changed = UUID(int=9) if field == "seller_id" else getattr(line, field) + 1
    entries[2] = (line._replace(**{field: changed}), transaction)

    assert broken_at(entries) == entries[2][0].sequence


def test_a_changed_transaction_or_a_missing_line_breaks_the_chain() -> None:
    """Given an intact chain. When what was bought is changed, or a line is missing. Then the chain is broken there."""
    book = Book([wallet_of(PARTNER, PLATFORM, balance=1000)], NOW)
    for number in range(3):
        tier = Tier(PARTNER, PLATFORM, 10, 0)
        book.charge(Charge(f"r{number}", bytes(32), PARTNER, "EUR", None, "", "x", (tier,)), uuid4())
    entries = list(zip(book.lines, book.transactions, strict=True))

    renamed = [entries[0], (entries[1][0], entries[1][1]._replace(item="y")), entries[2]]

    assert broken_at(renamed) == 2
    assert broken_at([entries[0], entries[2]]) == 3


def test_what_was_written_before_there_were_kinds_stays_intact() -> None:
    """Given a line of kind 0, hashed as it was then. When a line of now follows. Then both are intact."""
    wallet = wallet_of(PARTNER, PLATFORM, balance=1000)
    book = Book([wallet], NOW)
    tier = Tier(PARTNER, PLATFORM, 10, 0)
    book.charge(Charge("r1", bytes(32), PARTNER, "EUR", None, "", "x", (tier,)), uuid4())
    old = book.transactions[0]._replace(kind=0)
    line = book.lines[0]._replace(hash=line_hash_1(FIRST_HASH, transaction_digest(old), book.lines[0]))
    wallet.last_hash = line.hash
    book.charge(Charge("r2", bytes(32), PARTNER, "EUR", None, "", "x", (tier,)), uuid4())
    entries = [(line, old), (book.lines[1], book.transactions[1])]

    assert broken_at(entries) is None
    assert broken_at([(line, old._replace(kind=2)), entries[1]]) == 1
    assert broken_at([entries[0], (book.lines[1]._replace(credits_micros=1), book.transactions[1])]) == 2


# Random sequences against the plainest model there is: a dict of balances.

LIMITS = {CUSTOMER: 30, RESELLER: 0, PARTNER: 100}
price = st.tuples(st.integers(0, 60), st.integers(0, 12))
top_up = st.tuples(st.just("top-up"), st.sampled_from(CHAIN[:3]), st.integers(1, 120))
purchase = st.tuples(st.just("purchase"), st.integers(0, 2), st.lists(price, min_size=3, max_size=3))
repeat = st.tuples(st.just("repeat"), st.integers(0, 30), st.booleans())
steps = st.lists(st.one_of(top_up, purchase, purchase, repeat), max_size=40)


class Model:
    """What should happen, with nothing but a dict."""

    def __init__(self, earning: set[UUID]) -> None:
        self.balance = dict.fromkeys(CHAIN[:3], 0)
        self.earning = earning

    def purchase(self, start: int, prices: list[tuple[int, int]]) -> bool:
        after = dict(self.balance)
        for tier in range(start, 3):
            buyer, seller = CHAIN[tier], CHAIN[tier + 1]
            net, tax = prices[tier]
            after[buyer] -= net + tax
            if after[buyer] < -LIMITS[buyer]:
                return False
            if seller in self.earning:
                after[seller] += net
        self.balance = after
        return True


def run_sequence(moves: list[tuple[object, ...]], earning: set[UUID], batch: int) -> None:
    model = Model(earning)
    wallets = [
        wallet_of(buyer, seller, limit=LIMITS[buyer], earns=buyer in earning)
        for buyer, seller in itertools.pairwise(CHAIN)
    ]
    history: dict[UUID, list[tuple[object, object]]] = {wallet.id: [] for wallet in wallets}
    asked: list[tuple[Charge, Outcome]] = []
    remembered: dict[tuple[UUID, str], Posted] = {}
    for start in range(0, len(moves), batch):
        book = Book(wallets, NOW + timedelta(seconds=start), remembered)
        for number, move in enumerate(moves[start : start + batch], start):
            play(book, model, asked, number, move)
        transactions = {transaction.id: transaction for transaction in book.transactions}
        for line in book.lines:
            history[line.wallet_id].append((line, transactions[line.transaction_id]))
        for transaction_id in transactions:
            assert sum(line.legs_sum_micros for line in book.lines if line.transaction_id == transaction_id) == 0
        remembered = book.remembered
    for wallet in wallets:
        lines = [line for line, _ in history[wallet.id]]
        assert wallet.balance_micros == model.balance[wallet.organization_id]
        assert [line.sequence for line in lines] == list(range(1, wallet.sequence + 1))
        assert all(line.balance_after_micros >= -wallet.credit_limit_micros for line in lines)
        running = 0
        for line in lines:
            running += line.amount_micros
            assert line.balance_after_micros == running
        assert broken_at(history[wallet.id]) is None
        assert wallet.last_hash == (lines[-1].hash if lines else FIRST_HASH)


def play(book: Book, model: Model, asked: list[tuple[Charge, Outcome]], number: int, move: tuple[object, ...]) -> None:
    match move:
        case ("top-up", UUID() as owner, int(amount)):
            assert isinstance(book.recharge(recharge_of(owner, amount, f"t{number}"), uuid4()), Posted)
            model.balance[owner] += amount
        case ("purchase", int(start), list(prices)):
            charge = charge_of(*prices, request=f"r{number}")
            charge = charge._replace(tiers=charge.tiers[start:])
            if malformed(charge) is not None:
                assert sum(prices[start]) == 0
                return
            outcome = book.charge(charge, uuid4())
            assert isinstance(outcome, Posted) == model.purchase(start, prices), outcome
            if isinstance(outcome, Posted):
                asked.append((charge, outcome))
        case ("repeat", int(index), bool(changed)) if asked:
            charge, first = asked[index % len(asked)]
            if changed:
                refusal = book.charge(charge._replace(request_sha256=bytes(32)), uuid4())
                assert isinstance(refusal, Refusal)
                assert refusal.reason == "REQUEST_ID_REUSED"
            else:
                assert book.charge(charge, uuid4())[:3] == first[:3]
        case _:
            pass


earning_sets = st.sets(st.sampled_from([RESELLER, PARTNER]))


@given(moves=steps, earning=earning_sets, batch=st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_random_sequences_agree_with_a_plain_model(
    moves: list[tuple[object, ...]], earning: set[UUID], batch: int
) -> None:
    """Given any sequence of top-ups, purchases and repeats. When played. Then balances, chains and sums are right."""
    run_sequence(moves, earning, batch)


@pytest.mark.slow
@given(moves=steps, earning=earning_sets, batch=st.integers(1, 12))
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_random_sequences_agree_with_a_plain_model(
    moves: list[tuple[object, ...]], earning: set[UUID], batch: int
) -> None:
    """Given 10,000 sequences of top-ups, purchases and repeats. When played. Then all of them agree with the model."""
    run_sequence(moves, earning, batch)


def test_a_wallet_key_finds_its_wallet() -> None:
    """Given a wallet. When it is looked for by its key. Then it is that one, and no other currency's."""
    wallet = wallet_of(CUSTOMER, RESELLER)
    book = Book([wallet], NOW)

    assert book.wallets[WalletKey(PARTNER, CUSTOMER, "EUR")] is wallet
    assert WalletKey(PARTNER, CUSTOMER, "USD") not in book.wallets

"""The whole life of orders against a plain model: bought and paid in every way, called off, timed out, refunded; and
cloud phones beside them; in any order.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
from farthing.orders.events.v1.events_pb2 import OrdersEvent
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.usage.events.v1.events_pb2 import PhoneSession, UsageEvent
from farthing.wallet.events.v1.events_pb2 import TopUpSettled, WalletEvent
from farthing.wallet.v1 import holds_pb2, wallets_pb2
from google.type.money_pb2 import Money
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from orders.clients import WalletClient
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from sqlalchemy import text

from .conftest import MakeWorld, World
from .scripted_wallet import ScriptedWallet
from .test_phones import down, fee, session_of, up
from .test_phones import read as read_phone

# So long that a lease ends only where a step ends it.
LONG = timedelta(hours=1)
State = orders_pb2.Order
Method = orders_pb2.PaymentMethod.ValueType
PENDING, COMPLETED, CANCELED = State.STATE_PENDING_PAYMENT, State.STATE_COMPLETED, State.STATE_CANCELED
PARTLY, REFUNDED = State.STATE_PARTLY_REFUNDED, State.STATE_REFUNDED
PAID = (COMPLETED, PARTLY, REFUNDED)
# What wallet does to every question of a step: `drop` does what is asked, but its answer is lost.
FAULTS = ("", "", "", "drop", "error:UNAVAILABLE", "refuse", "refused:PAYMENT_ACCOUNT_UNUSABLE")
# (position, how, how much); no lines: all of the order.
wish = st.one_of(
    st.tuples(st.integers(1, 2), st.just("quantity"), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.just("amount"), st.integers(1, 4_000_000)),
    st.tuples(st.integers(1, 2), st.just("all"), st.just(0)),
)
fault = st.sampled_from(FAULTS)
which = st.integers(0, 3)
BALANCE, BANK = orders_pb2.PAYMENT_METHOD_BALANCE, orders_pb2.PAYMENT_METHOD_BANK_TRANSFER
WAITS = {
    BANK: timedelta(days=7),
    orders_pb2.PAYMENT_METHOD_PROVIDER: timedelta(hours=1),
    orders_pb2.PAYMENT_METHOD_SANDBOX: timedelta(hours=1),
}
method = st.sampled_from([BALANCE, BALANCE, *WAITS])
place = st.tuples(st.just("place"), method, st.integers(1, 3), st.integers(1, 2), fault)
phone = st.sampled_from(["up", "fee", "fee_again", "down", "cancel", "refund"])
step = st.one_of(
    place,
    st.tuples(st.just("place_again"), which, fault),
    st.tuples(st.just("settle"), which),
    st.tuples(st.just("fail"), which),
    st.tuples(st.just("end_hold"), which),
    st.tuples(st.just("cancel"), which, st.booleans()),
    st.tuples(st.just("time_out"), st.sampled_from([1, 8])),
    st.tuples(st.just("jobs"), fault),
    st.tuples(st.just("refund"), which, st.lists(wish, max_size=2, unique_by=lambda each: each[0]), fault),
    st.tuples(st.just("refund"), which, st.lists(wish, max_size=2, unique_by=lambda each: each[0]), fault),
    st.tuples(st.just("refund_again"), which, fault),
    st.tuples(st.just("phone"), st.integers(0, 1), phone, st.integers(1, 3_000_000)),
)
life = st.tuples(place, st.lists(step, min_size=4, max_size=16)).map(lambda parts: [parts[0], *parts[1]])


@dataclass
class GivenBack:
    """A refund of the model: gross and units by position."""

    request: orders_pb2.RefundOrderRequest
    parts: dict[int, tuple[int, int]]
    posted: bool = False
    state: int = orders_pb2.Refund.STATE_PENDING


@dataclass
class Bought:
    """An order of the model. `charged` is what wallet knows, `state` what orders knows."""

    request: orders_pb2.PlaceOrderRequest
    due: Any
    id: str = ""
    state: int = PENDING
    # Wallet has its top-up; orders knows it.
    top_up_made: bool = False
    top_up_known: bool = False
    called_off: bool = False
    ended: bool = False
    received: bool = False
    charged: bool = False
    refused: bool = False
    kept: bool = False
    gross: list[int] = field(default_factory=list)
    refunds: list[GivenBack] = field(default_factory=list)

    def quantity(self, position: int) -> int:
        return self.request.items[position - 1].quantity

    def back(self, position: int) -> tuple[int, int]:
        """Gross and units that were given back of a line."""
        parts = [each.parts[position] for each in self.posted if position in each.parts]
        return sum(gross for gross, _ in parts), sum(units for _, units in parts)

    @property
    def from_outside(self) -> bool:
        return self.request.payment_method != BALANCE

    @property
    def posted(self) -> list[GivenBack]:
        return [each for each in self.refunds if each.state == orders_pb2.Refund.STATE_POSTED]

    @property
    def waits(self) -> bool:
        """For wallet's answer to a question."""
        if self.state == PENDING:
            return not self.from_outside or self.received or not self.top_up_known
        return self.state == CANCELED and (not self.kept if self.received else self.called_off and not self.ended)

    def ask(self, fault: str) -> bool:
        """What one question to wallet makes of the order; False where its answer is lost."""
        lost = fault.startswith("error")
        if lost or not self.waits:
            return not lost or not self.waits
        if self.state == CANCELED and self.received:
            self.kept = fault != "drop"
            return self.kept
        if self.from_outside and not self.received:
            return self.ask_for_top_up(fault)
        if not self.charged and fault.startswith("refuse"):
            self.state, self.refused, self.kept = CANCELED, True, self.from_outside
            return True
        lost, self.charged = fault == "drop" and not self.charged, True
        if not lost:
            self.state = COMPLETED
        return not lost

    def ask_for_top_up(self, fault: str) -> bool:
        """That it be made, or ended; False where the answer is lost."""
        if not (self.top_up_made or fault.startswith("refused")):
            self.top_up_made = True
        if fault == "drop":
            return False
        self.top_up_known = self.top_up_made
        if self.state == CANCELED:
            self.ended = True
        elif not self.top_up_made:
            self.state, self.refused = CANCELED, True
        return True

    def plan(self, wishes: list[tuple[int, str, int]]) -> tuple[str, dict[int, tuple[int, int]]]:
        """Why not, or what a refund gives back."""
        if any(each.state == orders_pb2.Refund.STATE_PENDING for each in self.refunds) or self.state not in PAID:
            return "ORDER_STATE", {}
        parts: dict[int, tuple[int, int]] = {}
        every = [(position, "all", 0) for position in (1, 2) if self.back(position)[0] < self.gross[position - 1]]
        for position, how, much in wishes or every:
            gross, units = self.gross[position - 1], self.quantity(position)
            left, left_units = gross - self.back(position)[0], units - self.back(position)[1]
            if not left:
                return "NOTHING_TO_REFUND", {}
            by = {"quantity": (gross // units * much, much), "amount": (much, 0), "all": (left, left_units)}[how]
            if by[0] > left or by[1] > left_units:
                return "REFUND_EXCEEDS_CHARGE", {}
            parts[position] = by
        return ("", parts) if parts else ("NOTHING_TO_REFUND", {})

    def ask_refund(self, refund: GivenBack, fault: str) -> bool:
        """What one question to wallet makes of a pending refund; False where its answer is lost."""
        if fault.startswith("error"):
            return False
        if not refund.posted and fault.startswith("refuse"):
            refund.state = orders_pb2.Refund.STATE_REFUSED
            return True
        lost, refund.posted = fault == "drop" and not refund.posted, True
        if not lost:
            refund.state = orders_pb2.Refund.STATE_POSTED
            self.state = REFUNDED if sum(self.back(each)[0] for each in (1, 2)) == sum(self.gross) else PARTLY
        return not lost


@dataclass
class Phone:
    """A cloud phone of the model: what its order has cost so far."""

    session: PhoneSession
    fees: list[UsageEvent] = field(default_factory=list)
    total: int = 0
    opened: bool = False
    off: bool = False


def micros(money: Money) -> int:
    return money.units * 1_000_000 + money.nanos // 1000


async def outcome(call: Awaitable[Any]) -> tuple[Any, Problem | None]:
    try:
        return await call, None
    except Problem as problem:
        return None, problem


class Life:
    """Plays steps on the commands and on the model; both must say the same."""

    def __init__(self, world: World, since: int) -> None:
        self.world, self.since, self.began = world, since, world.clock.now()
        self.orders: list[Bought] = []
        self.phones = [Phone(session_of(world)) for _ in range(2)]
        for phone in self.phones:
            # Hypothesis seeds `random`: the same numbers in each life.
            phone.session.order_number = f"FA-261123-{uuid4().hex[:8].upper()}"

    async def play(self, name: str, *args: Any) -> None:
        if name in ("place", "time_out", "jobs", "phone"):
            await getattr(self, name)(*args)
        else:
            await getattr(self, name)(self.orders[args[0] % len(self.orders)], *args[1:])
        self.world.wallet.script.clear()
        await self.compare()

    def tell(self, fault: str) -> None:
        """All of a step's questions meet the same."""
        said = f"refuse:{self.world.reseller.id}" if fault == "refuse" else fault
        self.world.wallet.script[:] = [said] * 200 if said else []

    async def end_leases(self) -> None:
        for table, column in (("orders", "charge_lease_until"), ("refunds", "lease_until")):
            ended = text(f"UPDATE {table} SET {column} = farthing_now() WHERE root_id = :root_id")
            async with self.world.database.transaction(EVERYTHING) as connection:
                await connection.execute(ended, {"root_id": self.world.partner.id})

    # Steps.

    async def place(self, method: Method, some: int, others: int, fault: str) -> None:
        if len(self.orders) == 4:
            return
        request = self.world.purchase(some)
        request.items.append(orders_pb2.NewOrderItem(sku_id=self.world.package_id, quantity=others))
        request.payment_method = method
        bought = Bought(request, self.world.clock.now() + WAITS.get(method, timedelta()))
        await self.request(bought, fault)
        self.orders.append(bought)
        items = (await self.read(bought)).items
        bought.gross = [micros(item.net) + micros(item.tax) for item in items]

    async def place_again(self, bought: Bought, fault: str) -> None:
        await self.end_leases()
        await self.request(bought, fault)

    async def request(self, bought: Bought, fault: str) -> None:
        self.tell(fault)
        order, problem = await outcome(self.world.place(bought.request))
        # Where the money is here, or to be kept, a repeat asks nothing: the job does.
        asks = bought.state == PENDING and not bought.received and bought.waits
        answered = not asks or bought.ask(fault)
        if problem is None:
            assert answered and not bought.refused
            assert order.state == bought.state
            bought.id = order.id
        else:
            expected = grpc.StatusCode.FAILED_PRECONDITION if answered else grpc.StatusCode.UNAVAILABLE
            assert (problem.code, bought.refused) == (expected, answered)
            bought.id = problem.metadata["order_id"]

    async def settle(self, bought: Bought) -> None:
        top_up = self.world.wallet.top_ups.get(bought.id)
        if top_up is None:
            return
        root_id = self.world.partner.id
        if top_up.state == wallets_pb2.TopUp.STATE_SETTLED:
            event = TopUpSettled(root_id=str(root_id), top_up=top_up)
        else:
            event = self.world.wallet.settle(bought.id, root_id)
        await self.world.hear(WalletEvent(top_up_settled=event))
        bought.received = bought.top_up_known = True

    async def fail(self, bought: Bought) -> None:
        top_up = self.world.wallet.top_ups.get(bought.id)
        if top_up is None or top_up.state == wallets_pb2.TopUp.STATE_SETTLED:
            return
        failed = self.world.wallet.fail(bought.id, self.world.partner.id, "declined")
        await self.world.hear(WalletEvent(top_up_failed=failed))
        if bought.state == PENDING:
            bought.state, bought.refused = CANCELED, True

    async def end_hold(self, bought: Bought) -> None:
        top_up = self.world.wallet.top_ups.get(bought.id)
        if top_up and self.world.wallet.holds.get(top_up.hold_id) == holds_pb2.Hold.STATE_ACTIVE:
            self.world.wallet.holds[top_up.hold_id] = holds_pb2.Hold.STATE_EXPIRED

    async def cancel(self, bought: Bought, by_seller: bool) -> None:
        who = self.world.reseller if by_seller else self.world.customer
        request = orders_pb2.CancelOrderRequest(request_id=str(uuid4()), id=bought.id)
        done, problem = await outcome(self.world.call(who, "CancelOrder", request))
        if bought.state == PENDING and bought.from_outside and not bought.received:
            bought.state, bought.called_off = CANCELED, True
            assert problem is None and done.state == CANCELED
            assert (await self.world.call(who, "CancelOrder", request)).state == CANCELED
        else:
            assert problem is not None and problem.reason == "ORDER_STATE"

    async def time_out(self, days: int) -> None:
        self.world.clock.advance(timedelta(days=days))
        late = [each for each in self.orders if each.state == PENDING and each.from_outside and not each.received]
        due = [each for each in late if each.due <= self.world.clock.now()]
        assert await self.world.paying.cancel_overdue() == len(due)
        for each in due:
            each.state, each.called_off = CANCELED, True

    async def jobs(self, fault: str) -> None:
        await self.end_leases()
        self.tell(fault)
        waiting = [each for each in self.orders if each.waits]
        answered = [each.ask(fault) for each in waiting]
        assert await self.world.paying.resolve_pending() == sum(answered)
        self.tell(fault)
        pending = [(each, refund) for each in self.orders for refund in each.refunds if refund.state == 1]
        answered = [each.ask_refund(refund, fault) for each, refund in pending]
        assert await self.world.refunds.resolve_pending() == sum(answered)

    async def phone(self, number: int, what: str, amount: int) -> None:
        phone = self.phones[number]
        if what == "up":
            await self.world.hear(up(phone.session))
        elif what == "down":
            await self.world.hear(down(phone.session))
            phone.off = True
        elif what == "fee":
            phone.fees.append(fee(self.world, phone.session, len(phone.fees), amount))
            await self.world.hear(phone.fees[-1])
            phone.total += amount + amount * 19 // 100
        elif what == "fee_again" and phone.fees:
            await self.world.hear(phone.fees[amount % len(phone.fees)])
        elif what in ("cancel", "refund") and phone.opened:
            request: Any = orders_pb2.CancelOrderRequest(request_id=str(uuid4()), id=phone.session.order_id)
            if what == "refund":
                request = orders_pb2.RefundOrderRequest(request_id=str(uuid4()), id=request.id, reason="broken")
            method = "CancelOrder" if what == "cancel" else "RefundOrder"
            _, problem = await outcome(self.world.call(self.world.reseller, method, request))
            assert problem is not None and problem.reason == "ORDER_STATE"
        phone.opened |= what in ("up", "down", "fee")

    async def refund(self, bought: Bought, wishes: list[tuple[int, str, int]], fault: str) -> None:
        lines = [orders_pb2.RefundLine(position=position) for position, _, _ in wishes]
        for line, (_, how, much) in zip(lines, wishes, strict=True):
            if how == "quantity":
                line.quantity = much
            elif how == "amount":
                money = Money(currency_code="EUR", units=much // 1_000_000, nanos=much % 1_000_000 * 1000)
                line.amount.CopyFrom(money)
        request = orders_pb2.RefundOrderRequest(request_id=str(uuid4()), id=bought.id, lines=lines, reason="broken")
        why_not, parts = bought.plan(wishes)
        self.tell(fault)
        if why_not:
            _, problem = await outcome(self.world.call(self.world.reseller, "RefundOrder", request))
            assert problem is not None and problem.reason == why_not
        else:
            bought.refunds.append(GivenBack(request, parts))
            await self.request_refund(bought, fault)

    async def refund_again(self, bought: Bought, fault: str) -> None:
        if bought.refunds:
            await self.end_leases()
            self.tell(fault)
            await self.request_refund(bought, fault)

    async def request_refund(self, bought: Bought, fault: str) -> None:
        made = bought.refunds[-1]
        refund, problem = await outcome(self.world.call(self.world.reseller, "RefundOrder", made.request))
        pending = made.state == orders_pb2.Refund.STATE_PENDING
        if pending and not bought.ask_refund(made, fault):
            assert problem is not None and problem.code is grpc.StatusCode.UNAVAILABLE
        else:
            assert problem is None and refund.state == made.state
            assert micros(refund.total) == sum(gross for gross, _ in made.parts.values())

    # What always holds.

    async def read(self, bought: Bought) -> orders_pb2.Order:
        """With all of its tiers, as the platform sees it."""
        request = orders_pb2.GetOrderRequest(id=bought.id)
        found = await self.world.call(self.world.platform, "GetOrder", request)
        assert isinstance(found, orders_pb2.Order)
        return found

    async def compare(self) -> None:
        told = await self.told()
        for bought in self.orders:
            order = await self.read(bought)
            assert order.state == bought.state
            assert [micros(item.refunded) for item in order.items] == [bought.back(each)[0] for each in (1, 2)]
            assert (bought.id in self.world.wallet.posted) == bought.charged
            self.compare_tiers(bought, order)
            names = [name for name, id_ in told if id_ == bought.id]
            assert {name: names.count(name) for name in names} == {
                name: count
                for name, count in (
                    ("order_placed", 1),
                    ("order_completed", int(bought.state in PAID)),
                    ("order_canceled", int(bought.state == CANCELED)),
                    ("order_payment_kept", int(bought.kept)),
                    ("order_refunded", len(bought.posted)),
                )
                if count
            }

        for phone in self.phones:
            if phone.opened:
                order = await read_phone(self.world, phone.session)
                assert order.state == (COMPLETED if phone.off else orders_pb2.Order.STATE_RUNNING)
                assert micros(order.total) == phone.total
                assert phone.session.order_id not in [id_ for _, id_ in told]

    def compare_tiers(self, bought: Bought, order: orders_pb2.Order) -> None:
        """What wallet was asked to give back, once each, is what the order says; whole where the order is."""
        asked = {
            each.request_id: each
            for each in self.world.wallet.refunds_asked
            if each.original_transaction_id == order.transaction_id and each.request_id in self.world.wallet.posted
        }
        known = [each for each in bought.refunds if each.posted]
        assert len(asked) == len(known)
        for number, tier in enumerate(order.tiers):
            paid, back = (micros(tier.net), micros(tier.tax)), (micros(tier.refunded_net), micros(tier.refunded_tax))
            posted = (
                sum(each.tiers[number].net_micros for each in asked.values()),
                sum(each.tiers[number].tax_micros for each in asked.values()),
            )
            for given_back in (back, posted):
                assert all(0 <= part <= whole for part, whole in zip(given_back, paid, strict=True))
            assert back == posted or len(known) > len(bought.posted)
            assert back == paid or bought.state != REFUNDED

    async def told(self) -> list[tuple[str | None, str]]:
        """Event and order of each line of the outbox since the beginning."""
        query = text("SELECT payload FROM outbox WHERE root_id = :root_id AND id > :since ORDER BY id")
        async with self.world.database.transaction(EVERYTHING) as connection:
            found = {"root_id": self.world.partner.id, "since": self.since}
            payloads = (await connection.execute(query, found)).scalars().all()
        events = [OrdersEvent.FromString(payload) for payload in payloads]
        names = [event.WhichOneof("event") for event in events]
        return [(name, getattr(event, name or "").order.id) for name, event in zip(names, events, strict=True)]

    async def end(self) -> None:
        """With a wallet that answers, all is decided; what nobody paid times out."""
        await self.play("jobs", "")
        await self.play("time_out", 8)
        await self.play("jobs", "")
        assert all(each.state in (*PAID, CANCELED) and not each.waits for each in self.orders)
        known = [self.world.wallet.top_ups[each.id] for each in self.orders if each.top_up_made]
        assert all(top_up.state != wallets_pb2.TopUp.STATE_PENDING for top_up in known), "somebody could still pay"
        query = text("SELECT count(*) FROM audit_events WHERE action = 'ORDER_CANCELED' AND target_id = :id")
        async with self.world.database.transaction(EVERYTHING) as connection:
            for each in self.orders:
                lines = (await connection.execute(query, {"id": each.id})).scalar_one()
                assert lines == each.called_off
        assert all(refund.state != 1 for each in self.orders for refund in each.refunds)


@pytest.fixture
async def patient(make_world: MakeWorld, wallet_channel: tuple[ScriptedWallet, grpc.aio.Channel]) -> World:
    """A world of prices that do not divide well, whose leases end by the steps alone."""
    world = await make_world()
    # An order is of one type.
    world.package_id = await world.sku(catalogue_pb2.PRODUCT_TYPE_PROXY, "French proxies")
    for sku_id, prices in ((world.sku_id, (199, 157, 101)), (world.package_id, (233, 211, 1))):
        for seller, cents in zip(world.sellers, prices, strict=True):
            await world.price(seller, sku_id, cents)
    await world.tax(world.reseller, 190_000)
    await world.tax(world.partner, 77_000)
    wallet = WalletClient(wallet_channel[1], 5.0)
    world.paying = replace(world.paying, wallet=wallet, lease=LONG)
    world.orders = replace(world.orders, paying=world.paying)
    world.refunds = replace(world.refunds, wallet=wallet, lease=LONG)
    world.order_rpc._orders, world.order_rpc._refunds = world.orders, world.refunds
    return world


async def live(world: World, steps: list[tuple[Any, ...]]) -> None:
    async with world.database.transaction(EVERYTHING) as connection:
        since = (await connection.execute(text("SELECT coalesce(max(id), 0) FROM outbox"))).scalar_one()
    life, began = Life(world, since), world.clock.now()
    try:
        for name, *args in steps:
            await life.play(name, *args)
        await life.end()
    finally:
        # The next must find nothing of this one under way, even where it failed.
        world.wallet.script.clear()
        await life.end_leases()
        world.clock.advance(timedelta(days=3650))
        for work in (world.paying.cancel_overdue, world.paying.resolve_pending, world.refunds.resolve_pending):
            await work()
            await life.end_leases()
        world.clock.advance(began - world.clock.now())


@given(life)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_life_of_orders_is_as_the_model_says(patient: World, steps: list[tuple[Any, ...]]) -> None:
    """Given any steps, when played on orders and model, then states, refunds and events agree after each."""
    await live(patient, steps)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
@given(life)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
async def test_1_000_lives_of_orders_are_as_the_model_says(
    patient: World, part: int, steps: list[tuple[Any, ...]]
) -> None:
    """Given 100 lists of steps, others in each part, when played, then states, refunds and events always agree."""
    await live(patient, steps)

"""Vouchers made, told, ended and used, through their handlers, against a real PostgreSQL as the runtime role."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.wallet.v1 import vouchers_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_service
from wallet.domain.vouchers import VoucherKey, code_sha256
from wallet.rpc.vouchers import VouchersRpc

from .world import House, Organization, Tree, eur, member_of, refused, request_id

Wallet = wallets_pb2.Wallet
Lot = vouchers_pb2.VoucherLot
# Far from any clock's present.
LATER = datetime(2999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def vouchers(house: House) -> VouchersRpc:
    """The handlers."""
    return VouchersRpc(house.database, Pager("test"), VoucherKey("secret"))


@pytest.fixture
async def wallet(house: House, tree: Tree) -> Wallet:
    """The customer's wallet, held with the reseller."""
    return await house.wallet_of(tree.customer)


def a_lot(seller: Organization, count: int = 3, **fields: Any) -> Any:
    """A request for a lot of vouchers of 5 EUR."""
    asked = {"name": "Summer", "amount": eur(5), "expires_at": LATER, **fields}
    return vouchers_pb2.CreateVoucherLotRequest(request_id=request_id(), seller_id=seller.id, count=count, **asked)


def redemption(wallet: Wallet, code: str) -> Any:
    """A request to use a code."""
    return vouchers_pb2.RedeemVoucherRequest(request_id=request_id(), wallet_id=wallet.id, code=code)


async def codes_of(vouchers: VouchersRpc, lot: Lot) -> list[Any]:
    """Every voucher of the lot, as its caller gets them told."""
    request = vouchers_pb2.ExportVoucherCodesRequest(lot_id=lot.id)
    return [code async for response in vouchers.ExportVoucherCodes(request, None) for code in response.codes]


async def made(vouchers: VouchersRpc, seller: Organization, count: int = 3, **fields: Any) -> tuple[Lot, list[str]]:
    """A lot of the seller's own, and its codes."""
    with member_of(seller):
        lot = await vouchers.CreateVoucherLot(a_lot(seller, count, **fields), None)
        return lot, [voucher.code for voucher in await codes_of(vouchers, lot)]


# Codes


@given(st.uuids(), st.integers(1, 10_000), st.data())
def test_a_code_is_the_same_however_it_is_written(lot_id: UUID, number: int, data: st.DataObject) -> None:
    """Given a code, when it is written small, spaced, undashed or with letters for digits, then it is the same code."""
    code = VoucherKey("secret").code(lot_id, number)
    letters = {"0": st.sampled_from("0oO"), "1": st.sampled_from("1iIlL"), "-": st.sampled_from(["-", "", " "])}
    written = "".join(data.draw(letters.get(each, st.sampled_from([each, each.lower()]))) for each in code)
    assert code_sha256(written) == code_sha256(code)
    assert VoucherKey("secret").code(lot_id, number) == code


def test_codes_differ_by_key_lot_and_number() -> None:
    """Given two keys, lots and numbers, when their codes are made, then no two are the same."""
    codes = {
        VoucherKey(key).code(UUID(int=lot), number) for key in ("a", "b") for lot in (1, 2) for number in range(1, 501)
    }
    assert len(codes) == 2000


# Lots


async def test_a_lot_is_made_and_told(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given a seller, when it makes a lot, then it is replayed and listed, its codes are told, and none is stored."""
    request = a_lot(tree.reseller, 1100)
    with member_of(tree.reseller, "finance"):
        lot = await vouchers.CreateVoucherLot(request, None)
        assert await vouchers.CreateVoucherLot(request, None) == lot
        codes = await codes_of(vouchers, lot)
        listed = await vouchers.ListVoucherLots(vouchers_pb2.ListVoucherLotsRequest(seller_id=tree.reseller.id), None)
    assert (lot.count, lot.redeemed_count, lot.amount, lot.created_by_name) == (1100, 0, eur(5), "Carla Caller")
    assert list(listed.lots) == [lot]
    assert len({voucher.code for voucher in codes}) == 1100
    assert not any(voucher.HasField("redeemed_at") for voucher in codes)
    stored = await house.rows("SELECT code_sha256 FROM vouchers WHERE lot_id = :id ORDER BY number", id=lot.id)
    assert [bytes(row.code_sha256) for row in stored] == [code_sha256(voucher.code) for voucher in codes]
    assert await _audited(house, lot) == ["VOUCHER_LOT_CREATED", "VOUCHER_CODES_EXPORTED"]


async def test_lots_are_listed_in_pages(tree: Tree, vouchers: VouchersRpc) -> None:
    """Given five lots, when they are listed by two, then each comes once, the newest first."""
    made_ids = [(await made(vouchers, tree.reseller, 1))[0].id for _ in range(5)]
    request = vouchers_pb2.ListVoucherLotsRequest(seller_id=tree.reseller.id, page_size=2)
    ids: list[str] = []
    with member_of(tree.reseller):
        while True:
            page = await vouchers.ListVoucherLots(request, None)
            ids += [lot.id for lot in page.lots]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
    assert ids == made_ids[::-1]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"amount": eur(0)}, "AMOUNT_OUT_OF_RANGE"),
        ({"amount": eur(-1)}, "AMOUNT_OUT_OF_RANGE"),
        ({"expires_at": datetime(2001, 1, 1, tzinfo=UTC)}, "INVALID_ARGUMENT"),
    ],
)
async def test_lots_that_cannot_be(tree: Tree, vouchers: VouchersRpc, fields: Any, reason: str) -> None:
    """Given a lot worth nothing, or over already, when it is made, then it is refused by its field."""
    with member_of(tree.reseller), refused(reason) as caught:
        await vouchers.CreateVoucherLot(a_lot(tree.reseller, **fields), None)
    assert list(caught.value.fields) == list(fields)


@pytest.mark.parametrize("code", ["", "usd", "XX", "ZZZ", "EUR ", "X" * 10_000])
async def test_lots_in_no_currency(tree: Tree, vouchers: VouchersRpc, code: str) -> None:
    """Given an amount in what is no currency, when a lot is made of it, then it is refused, not told at length."""
    with member_of(tree.reseller), refused("INVALID_ARGUMENT") as caught:
        await vouchers.CreateVoucherLot(a_lot(tree.reseller, amount=eur(5, code)), None)
    assert list(caught.value.fields) == ["amount.currency_code"]
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "instant", [{"seconds": 2**62}, {"seconds": -(2**62)}, {"seconds": 32_472_144_000, "nanos": 2_000_000_000}]
)
async def test_lots_that_end_at_no_instant(tree: Tree, vouchers: VouchersRpc, instant: dict[str, int]) -> None:
    """Given an end that is no instant, when a lot is made with it, then it is refused by its field."""
    with member_of(tree.reseller), refused("INVALID_ARGUMENT") as caught:
        await vouchers.CreateVoucherLot(a_lot(tree.reseller, expires_at=Timestamp(**instant)), None)
    assert list(caught.value.fields) == ["expires_at"]


async def test_lots_of_others_do_not_exist(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given a reseller's lot, when a buyer or a stranger asks for it, then there is none; those above may see it."""
    lot, codes = await made(vouchers, tree.reseller)
    for stranger in (tree.customer, tree.sibling):
        with member_of(stranger):
            with refused("NOT_FOUND"):
                await codes_of(vouchers, lot)
            with refused("NOT_FOUND"):
                await vouchers.VoidVoucherLot(_ending(lot), None)
            with refused("NOT_FOUND"):
                await vouchers.CreateVoucherLot(a_lot(tree.reseller), None)
            with refused("NOT_FOUND"):
                request = vouchers_pb2.ListVoucherLotsRequest(seller_id=tree.reseller.id)
                await vouchers.ListVoucherLots(request, None)
    with member_of(tree.partner):
        assert [voucher.code for voucher in await codes_of(vouchers, lot)] == codes


async def test_codes_are_not_told_with_another_key(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given a lot, when the key has been changed since, then no wrong codes are told, but the old ones still work."""
    lot, (code, *_) = await made(vouchers, tree.reseller)
    changed = VouchersRpc(house.database, Pager("test"), VoucherKey("another"))
    with member_of(tree.reseller), refused("DEPENDENCY_UNAVAILABLE"):
        await codes_of(changed, lot)
    with member_of(tree.customer):
        assert (await changed.RedeemVoucher(redemption(await house.wallet_of(tree.customer), code), None)).reference


# Use


async def test_a_voucher_is_money_on_the_wallet(
    house: House, tree: Tree, vouchers: VouchersRpc, wallet: Wallet
) -> None:
    """Given a code, when a member uses it, then its amount is on the wallet, given by the seller, told and balanced."""
    lot, (code, *_) = await made(vouchers, tree.reseller)
    request = redemption(wallet, code.lower().replace("-", " "))
    with member_of(tree.customer, "member"):
        top_up = await vouchers.RedeemVoucher(request, None)
        assert await vouchers.RedeemVoucher(request, None) == top_up
        assert await house.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=top_up.id), None) == top_up
    assert (top_up.state, top_up.method) == (wallets_pb2.TopUp.STATE_SETTLED, wallets_pb2.TOP_UP_METHOD_VOUCHER)
    assert (top_up.amount, top_up.created_by_email) == (eur(5), "carla@caller.example")
    assert code not in str(top_up)
    assert await house.balance_micros(wallet) == 5_000_000
    rows = await house.rows(
        "SELECT account, organization_id, amount_micros FROM postings WHERE transaction_id = :id",
        id=top_up.transaction_id,
    )
    assert {(row.account, str(row.organization_id), row.amount_micros) for row in rows} == {
        ("CREDITS", tree.reseller.id, -5_000_000),
        ("WALLET", tree.customer.id, 5_000_000),
    }
    settled = [
        event.top_up_settled for event in await house.events_of(tree.customer) if event.HasField("top_up_settled")
    ]
    assert [event.top_up for event in settled] == [top_up]
    with member_of(tree.reseller):
        (listed,) = (
            await vouchers.ListVoucherLots(vouchers_pb2.ListVoucherLotsRequest(seller_id=tree.reseller.id), None)
        ).lots
        assert listed.redeemed_count == 1
        assert [voucher.HasField("redeemed_at") for voucher in await codes_of(vouchers, lot)] == [True, False, False]


async def test_of_many_who_use_a_code_at_once_one_gets_it(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given one code and three wallets of the seller's, when nine try it at once, then one wallet gets it, once."""
    _, (code, *_) = await made(vouchers, tree.reseller)
    with as_service():
        buyers = [tree.customer, *[await house.create(tree.reseller, "buyer") for _ in range(2)]]
        wallets = [await house.wallet_of(buyer) for buyer in buyers]
        answers = await asyncio.gather(
            *(vouchers.RedeemVoucher(redemption(wallet, code), None) for wallet in wallets * 3), return_exceptions=True
        )
    assert sorted(_reasons(answers)) == ["", *["VOUCHER_NOT_VALID"] * 8]
    assert sorted([await house.balance_micros(wallet) for wallet in wallets]) == [0, 0, 5_000_000]


async def test_a_code_that_is_not_valid_says_no_more(
    house: House, tree: Tree, vouchers: VouchersRpc, wallet: Wallet
) -> None:
    """Given codes unknown, used, void, of another seller or currency, then each is refused with one answer."""
    used = (await made(vouchers, tree.reseller, 1))[1][0]
    lot, (void,) = await made(vouchers, tree.reseller, 1)
    foreign = (await made(vouchers, tree.partner, 1))[1][0]
    dollars = (await made(vouchers, tree.reseller, 1, amount=eur(5, "USD")))[1][0]
    with member_of(tree.reseller):
        await vouchers.VoidVoucherLot(_ending(lot), None)
    said = set()
    with member_of(tree.customer):
        await vouchers.RedeemVoucher(redemption(wallet, used), None)
        for code in (used, void, foreign, dollars, "FV-0000-0000-0000-0000", "é\U0001f600", "-"):
            with refused("VOUCHER_NOT_VALID", grpc.StatusCode.FAILED_PRECONDITION) as caught:
                await vouchers.RedeemVoucher(redemption(wallet, code), None)
            said.add(caught.value.message)
    assert len(said) == 1
    assert await house.balance_micros(wallet) == 5_000_000


async def test_a_code_expires(house: House, tree: Tree, vouchers: VouchersRpc, wallet: Wallet) -> None:
    """Given a voucher whose time ends a moment later, when it is used after that moment, then it is refused."""
    now = await house.value("SELECT farthing_now()")
    _, (code,) = await made(vouchers, tree.reseller, 1, expires_at=now + timedelta(seconds=1))
    await house.value("SELECT 1 FROM pg_sleep(1.1)")
    with member_of(tree.customer), refused("VOUCHER_NOT_VALID"):
        await vouchers.RedeemVoucher(redemption(wallet, code), None)


async def test_a_lot_is_ended_once_and_what_was_used_stays(
    house: House, tree: Tree, vouchers: VouchersRpc, wallet: Wallet
) -> None:
    """Given a lot one of which is used, when it is ended twice, then the first time stands, and so does the money."""
    lot, (used, left, _) = await made(vouchers, tree.reseller)
    with member_of(tree.customer):
        await vouchers.RedeemVoucher(redemption(wallet, used), None)
    with member_of(tree.reseller):
        ended = await vouchers.VoidVoucherLot(_ending(lot), None)
        assert await vouchers.VoidVoucherLot(_ending(lot), None) == ended
    assert ended.HasField("voided_at")
    assert ended.redeemed_count == 1
    with member_of(tree.customer), refused("VOUCHER_NOT_VALID"):
        await vouchers.RedeemVoucher(redemption(wallet, left), None)
    assert await house.balance_micros(wallet) == 5_000_000
    assert (await _audited(house, lot)).count("VOUCHER_LOT_VOIDED") == 1


async def test_used_and_ended_at_once(house: House, tree: Tree, vouchers: VouchersRpc, wallet: Wallet) -> None:
    """Given a lot, when its codes are used while it is ended, then each is money or nothing, and none is used after."""
    lot, codes = await made(vouchers, tree.reseller, 8)
    with as_service():
        answers = await asyncio.gather(
            *(vouchers.RedeemVoucher(redemption(wallet, code), None) for code in codes[:4]),
            vouchers.VoidVoucherLot(_ending(lot), None),
            *(vouchers.RedeemVoucher(redemption(wallet, code), None) for code in codes[4:]),
            return_exceptions=True,
        )
        reasons = _reasons(answers)
        used = reasons.count("") - 1
        assert set(reasons) <= {"", "VOUCHER_NOT_VALID"}
        for code in codes:
            with refused("VOUCHER_NOT_VALID"):
                await vouchers.RedeemVoucher(redemption(wallet, code), None)
    late = "SELECT count(*) FROM vouchers v JOIN voucher_lots l ON l.id = v.lot_id WHERE redeemed_at > voided_at"
    assert await house.value(late) == 0
    assert await house.balance_micros(wallet) == used * 5_000_000


async def test_the_platforms_vouchers_are_used_in_every_root(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given the platform's vouchers, when partners of two roots use one each, then both get it; a third use is none."""
    _, (one, two, *_) = await made(vouchers, house.platform)
    for partner, code in ((tree.partner, one), (tree.sibling, two)):
        wallet = await house.wallet_of(partner)
        with member_of(partner):
            await vouchers.RedeemVoucher(redemption(wallet, code), None)
            assert await house.balance_micros(wallet) == 5_000_000
            with refused("VOUCHER_NOT_VALID"):
                await vouchers.RedeemVoucher(redemption(wallet, one), None)


async def test_wallets_of_others_cannot_be_filled(house: House, tree: Tree, vouchers: VouchersRpc) -> None:
    """Given a code, when it is used on a wallet that the caller may not see, then the wallet does not exist."""
    _, (code, *_) = await made(vouchers, tree.reseller)
    with member_of(tree.customer), refused("NOT_FOUND"):
        await vouchers.RedeemVoucher(redemption(Wallet(id=str(uuid4())), code), None)
    with member_of(tree.customer), refused("NOT_FOUND"):
        await vouchers.RedeemVoucher(redemption(await house.wallet_of(tree.nephew), code), None)


# How


def _ending(lot: Lot) -> Any:
    return vouchers_pb2.VoidVoucherLotRequest(request_id=request_id(), id=lot.id)


def _reasons(answers: Sequence[object]) -> list[str]:
    return [answer.reason if isinstance(answer, Problem) else "" for answer in answers]


async def _audited(house: House, lot: Lot) -> list[str]:
    rows = await house.rows("SELECT action FROM audit_events WHERE target_id = :id ORDER BY id", id=lot.id)
    return [row.action for row in rows]

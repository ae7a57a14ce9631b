"""A wallet with lines of every sort, and what a filter leaves of them, found out line by line in memory."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.folding import fold
from servicekit.testing import as_service
from wallet.store.ledger import post_line

from .ledger_world import Chain, World

ITEMS = (
    "Proxy",
    "proxy 100% residential",
    "PROXY_pack",
    "Proxypack\\x",
    "Straße nach Köln",
    "STRASSE",
    "İstanbul paketi",
    "خادم وكيل",
    "שרת פרוקסי",
    "代理服务器套餐",
    "ﬁne ﬁlter",
    "ＰＲＯＸＹ　ｗｉｄｅ",
    "Ὀδυσσεύς",
    "прокси-сервер",
    "café",
    "cafe\u0301 cre\u0300me",
    "=SUM(A1:A9)",
    "@cmd|' /C calc'!A0",
    "expense report",
    "\u202emirror\u202c",
    "x" * 500,
    "👩‍👩‍👧 family",
)
NUMBERS = (
    *(f"FA-2611{day:02d}-{code}" for day in (1, 2, 23) for code in ("7K3M9Q2X", "7K3M0000", "0ABCDEFG")),
    "2026-000009",
    "fa-lower 7",
    "%_\\",
)
PHONES = ("", "", "phone-1", "phone_1", "PHONE-1", "机-1")


@dataclass(frozen=True)
class Row:
    """A line as the tables have it."""

    sequence: int
    type: int
    item: str
    order_number: str
    cloud_phone_id: str
    amount: int
    balance_after: int
    posted_at: datetime
    transaction_id: UUID
    original_id: UUID | None
    kind: int


async def rows_of(world: World, wallet_id: UUID) -> list[Row]:
    """All lines of a wallet, the oldest first."""
    found = await world.pool.fetch(
        "SELECT l.sequence, l.type, t.item, t.order_number, t.cloud_phone_id, l.amount_micros, "
        "l.balance_after_micros, l.posted_at, t.id, t.original_id, t.kind FROM lines l "
        "JOIN transactions t ON t.root_id = l.root_id AND t.id = l.transaction_id "
        "WHERE l.wallet_id = $1 ORDER BY l.sequence",
        wallet_id,
    )
    return [Row(*row) for row in found]


async def fill(world: World, charges: Any, chain: Chain, count: int, seed: int) -> None:
    """Posts about `count` transactions of every type to the chain, some of them refunded."""
    dice = random.Random(seed)
    posted = []
    for start in range(0, count, 20):
        messages = [_charge(chain, dice) for _ in range(min(20, count - start))]
        with as_service("orders"):
            for message in messages:
                reply = await charges.PostCharge(pb.PostChargeRequest(charge=message), None)
                assert not reply.result.HasField("refusal"), reply
                posted.append((message, reply.result.transaction_id))
        async with world.pool.acquire() as connection, connection.transaction():
            for _ in range(2):
                recharge = chain.recharge(dice.choice((1, 2, 3)), dice.choice((500, 7_000_000)))
                await post_line(connection, recharge._replace(item=dice.choice(("Top-up", "Proxy", "Überweisung"))))
    with as_service("orders"):
        for message, transaction_id in dice.sample(posted, max(1, count // 15)):
            refund = pb.Refund(
                request_id=str(uuid4()), original_transaction_id=transaction_id, tiers=message.tiers, reason="broken"
            )
            answer = await charges.PostRefund(pb.PostRefundRequest(refund=refund), None)
            assert not answer.result.HasField("refusal"), answer


def _charge(chain: Chain, dice: random.Random) -> pb.Charge:
    ids = [str(id_) for id_ in chain.organization_ids]
    price = dice.choice((1, 5, 5, 30, 1_250_000))
    tiers = [
        pb.ChargeTier(buyer_id=ids[n], seller_id=ids[n + 1], net_micros=price * (3 - n), tax_micros=dice.choice((0, 1)))
        for n in range(3)
    ]
    return pb.Charge(
        request_id=str(uuid4()),
        currency="EUR",
        tiers=tiers,
        order_id=str(uuid4()),
        order_number=dice.choice(NUMBERS),
        item=dice.choice(ITEMS),
        cloud_phone_id=dice.choice(PHONES),
    )


def number_key(text: str) -> str:
    """An order number without spaces, dashes and small letters."""
    kept = (letter for letter in text if letter not in " \t\n\r\v\f-")
    return "".join(letter.upper() if "a" <= letter <= "z" else letter for letter in kept)


def leaves(asked: pb.EntryFilter, row: Row) -> bool:
    """Whether a filter leaves a line: as its comments in the proto say, one condition after the other."""
    at = _micros(row.posted_at)
    search = asked.search.strip()
    return (
        (not asked.HasField("posted_from") or asked.posted_from.ToNanoseconds() <= at * 1000)
        and (not asked.HasField("posted_to") or at * 1000 < asked.posted_to.ToNanoseconds())
        and (not asked.types or row.type in asked.types)
        and (not asked.items or any(fold(part) in fold(row.item) for part in asked.items))
        and number_key(row.order_number).startswith(number_key(asked.order_number))
        and asked.cloud_phone_id in ("", row.cloud_phone_id)
        and (not search or _searched(search, row))
    )


def _searched(search: str, row: Row) -> bool:
    names = {1: "recharge", 2: "expense", 3: "earnings", 4: "system"}
    number = number_key(search)
    return (
        fold(search) in fold(row.item)
        or fold(search) == names[row.type]
        or (bool(number) and number_key(row.order_number).startswith(number))
    )


def sorted_as(order: int, rows: Sequence[Row]) -> list[Row]:
    """The lines in the order of farthing.wallet.v1.EntryOrder."""
    keys: dict[int, Any] = {
        pb.ENTRY_ORDER_UNSPECIFIED: lambda row: -row.sequence,
        pb.ENTRY_ORDER_NEWEST: lambda row: -row.sequence,
        pb.ENTRY_ORDER_OLDEST: lambda row: row.sequence,
        pb.ENTRY_ORDER_AMOUNT_DESCENDING: lambda row: (-row.amount, -row.sequence),
        pb.ENTRY_ORDER_AMOUNT_ASCENDING: lambda row: (row.amount, row.sequence),
    }
    return sorted(rows, key=keys[order])


def stamp(instant: datetime, nanos: int = 0) -> Timestamp:
    """An instant as a message, some nanoseconds later."""
    made = Timestamp()
    made.FromNanoseconds(_micros(instant) * 1000 + nanos)
    return made


def _micros(instant: datetime) -> int:
    message = Timestamp()
    message.FromDatetime(instant)
    return message.ToMicroseconds()

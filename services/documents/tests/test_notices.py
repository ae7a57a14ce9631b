"""Notices: each event is mailed once to each side, to the right people, in their language, whatever it holds."""

import asyncio
import email
import email.policy
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

import pytest
from documents.rpc import DocumentRpc
from farthing.documents.v1 import documents_pb2 as messages
from farthing.wallet.events.v1.events_pb2 import OrganizationCreated, OrganizationUpdated, WalletEvent
from farthing.wallet.v1 import organizations_pb2, wallets_pb2
from servicekit.clock import SYSTEM_CLOCK
from servicekit.consumers import NotYet
from servicekit.ids import new_id
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import as_caller
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from .conftest import Ended

KINDS = (
    "balance_low",
    "top_up_failed",
    "order_refunded",
    "order_canceled",
    "order_payment_kept",
    "adjustment_posted",
)
# Why, as each says it.
SAID = {
    "top_up_failed": "Reason: Out of stock",
    "order_refunded": "Reason: Out of stock",
    "order_canceled": "Reason: Ann Buyer canceled the order. Note: Out of stock",
    "order_payment_kept": "Reason: the seller canceled the order. Note: Out of stock",
    "adjustment_posted": "Reason: Out of stock",
}
LANGUAGES = ("en", "de", "fr", "es", "zh", "ar")


async def rows(world, query: str, **values):
    async with world.database.transaction(EVERYTHING) as connection:
        return (await connection.execute(text(query), values)).mappings().all()


async def notices(world, event_id: UUID):
    """The notices of an event with their deliveries; the buyer's first."""
    return await rows(
        world,
        "SELECT n.*, v.state, v.message_id, v.recipients, v.accepted, v.refused, v.attempts, v.last_error"
        " FROM notices n JOIN deliveries v ON v.root_id = n.root_id AND v.notice_id = n.id"
        " WHERE n.event_id = :id ORDER BY n.audience",
        id=event_id,
    )


async def heard(world, event) -> UUID:
    event_id = new_id()
    await world.hear(event, event_id)
    return event_id


def kept(workers, row) -> EmailMessage:
    """The one mail that the server keeps of a notice, as a standard reader reads it."""
    (mail,) = workers.mails(row["message_id"])
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert not [part.defects for part in read.walk() if part.defects]
    return read


def text_of(mail: EmailMessage, subtype: str = "plain") -> str:
    return mail.get_body((subtype,)).get_content()


def calling(organization, *, platform: bool = False):
    return as_caller(UUID(organization.id), None if platform else UUID(organization.root_id))


@pytest.fixture
def rpc(world, workers) -> DocumentRpc:
    return DocumentRpc(world.database, workers.archive, Pager("key"), SYSTEM_CLOCK, timedelta(minutes=10))


async def listed(rpc, **request) -> list[messages.Notice]:
    return list((await rpc.ListNotices(messages.ListNoticesRequest(**request), None)).notices)


@pytest.mark.parametrize("name", KINDS)
async def test_each_event_is_one_mail_to_each_side(world, workers, name: str) -> None:
    """Given an event that comes three times, when the jobs run, then each side has one mail, to the right people."""
    event = world.told(name)
    event_id = await heard(world, event)
    await world.hear(event, event_id)
    await workers.settle()
    await world.hear(event, event_id)
    await workers.settle()
    to_buyer, *to_seller = await notices(world, event_id)
    assert len(to_seller) == (name == "order_payment_kept")
    ann, boss = f"ann@{world.customer.domain}", f"boss@{world.customer.domain}"
    by_person = name.startswith("order_") or name == "top_up_failed"
    assert list(to_buyer["recipients"]) == ([ann, boss] if by_person else [boss])
    mail = kept(workers, to_buyer)
    assert to_buyer["state"] == "SENT"
    assert mail["X-RcptTo"] == ", ".join(to_buyer["recipients"])
    assert mail["To"] == to_buyer["recipients"][0]
    assert mail["From"].addresses[0].display_name == "Partner & Söhne"
    assert mail["Reply-To"] == f"boss@{world.partner.domain}"
    assert mail["Subject"] == to_buyer["subject"]
    assert "€12.50" in text_of(mail) or "€119.00" in text_of(mail)
    assert (SAID[name] if name != "balance_low" else "") in " ".join(text_of(mail).split())
    assert ("Reason: " in text_of(mail)) == (name != "balance_low")
    assert "In English" not in text_of(mail)
    assert not list(mail.iter_attachments())
    for row in to_seller:
        mail = kept(workers, row)
        assert mail["X-RcptTo"] == f"boss@{world.partner.domain}"
        assert "Ann Buyer paid €12.50" in text_of(mail)


async def test_finance_hears_of_a_low_balance(world, workers) -> None:
    """Given a customer with a boss, two in finance and a member, when its balance is low, then the first three know."""
    customer = organizations_pb2.Organization()
    customer.CopyFrom(world.customer)
    customer.version += 1
    for name, role in (("fin1", "FINANCE"), ("fin2", "FINANCE"), ("clerk", "MEMBER"), ("boss2", "ADMIN")):
        customer.members.add(
            id=str(new_id()),
            name=name,
            email=f"{name}@{customer.domain}",
            role=organizations_pb2.MemberRole.Value(f"MEMBER_ROLE_{role}"),
        )
    await world.hear(WalletEvent(organization_updated=OrganizationUpdated(organization=customer)))
    event_id = await heard(world, world.told("balance_low"))
    await workers.settle()
    (row,) = await notices(world, event_id)
    assert list(row["recipients"]) == [f"{name}@{customer.domain}" for name in ("boss", "fin1", "fin2")]
    mail = kept(workers, row)
    assert [address.addr_spec for address in mail["Cc"].addresses] == row["recipients"][1:]
    assert "less than €20.00" in text_of(mail)


async def test_an_automatic_top_up_says_when_it_is_tried_again(world, workers) -> None:
    """Given automatic top-ups that failed, one to be tried again, when told, then only that one says when."""
    again, ended = world.told("top_up_failed"), world.told("top_up_failed")
    for event in (again, ended):
        event.top_up_failed.top_up.automatic = True
    again.top_up_failed.next_attempt_at.FromDatetime(datetime(2026, 11, 24, 8, 5, tzinfo=UTC))
    first, second = await heard(world, again), await heard(world, ended)
    await workers.settle()
    (one,), (two,) = await notices(world, first), await notices(world, second)
    assert "tried again at 2026-11-24 08:05 UTC" in text_of(kept(workers, one))
    assert "not tried again" in text_of(kept(workers, two))
    assert str(one["top_up_id"]) == again.top_up_failed.top_up.id


async def test_an_adjustment_is_added_or_taken(world, workers) -> None:
    """Given adjustments up and down, when told, then words say which, and no amount has a sign."""
    for micros, said in ((1_000_001, "€1.000001 was added"), (-1_000_001, "€1.000001 was taken")):
        event_id = await heard(world, world.told("adjustment_posted", micros=micros))
        await workers.settle()
        (row,) = await notices(world, event_id)
        assert said in text_of(kept(workers, row))


@pytest.mark.parametrize(("language", "said"), [("en", "card has expired"), ("de", "abgelaufen"), ("zh", "已过期")])
async def test_why_a_payment_failed_is_said_in_the_readers_language(world, workers, language: str, said: str) -> None:
    """Given an expired card, when the top-up or the order that it was to pay is told of, then in the reader's language
    and not in the provider's words."""
    buyer = await world.organization("Buyer", world.partner, language=language)
    failed, canceled = world.told("top_up_failed", buyer=buyer), world.told("order_canceled", buyer=buyer)
    failed.top_up_failed.top_up.failure = wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED
    canceled.order_canceled.order.cancellation.CopyFrom(
        Ended(cause=Ended.CAUSE_PAYMENT_FAILED, payment_failure=wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED)
    )
    for event in (failed, canceled):
        event_id = await heard(world, event)
        await workers.settle()
        (row,) = await notices(world, event_id)
        mail = text_of(kept(workers, row))
        assert said in mail
        assert "Out of stock" not in mail


async def test_one_thing_is_told_once(world) -> None:
    """Given the failed top-up of an order, and an order canceled after its money came, when told, then by no notice of
    their own: OrderCanceled and OrderPaymentKept tell of them."""
    failed, canceled = world.told("top_up_failed"), world.told("order_canceled")
    failed.top_up_failed.top_up.order_id = str(new_id())
    canceled.order_canceled.order.payment.received_at.CopyFrom(canceled.order_canceled.order.canceled_at)
    for event in (failed, canceled):
        assert await notices(world, await heard(world, event)) == []


async def test_a_seller_reads_what_it_may_have_to_do_with(world, workers) -> None:
    """Given money for what could not be sold, when kept, then the buyer hears of its seller, and that one of itself."""
    event = world.told("order_payment_kept")
    event.order_payment_kept.order.cancellation.CopyFrom(Ended(cause=Ended.CAUSE_SELLER_CANNOT_SELL))
    event_id = await heard(world, event)
    await workers.settle()
    to_buyer, to_seller = [text_of(kept(workers, row)) for row in await notices(world, event_id)]
    assert "your seller cannot sell this" in to_buyer
    assert "you, or a seller above you, could not sell this" in to_seller


async def test_a_nameless_canceler_is_the_buyer_to_both_sides(world, workers) -> None:
    """Given an order that somebody of the buyer's without a name canceled, and its money, when told, then both sides
    read that the buyer canceled it."""
    event = world.told("order_payment_kept")
    event.order_payment_kept.order.cancellation.CopyFrom(Ended(cause=Ended.CAUSE_PURCHASER))
    event_id = await heard(world, event)
    await workers.settle()
    for row in await notices(world, event_id):
        assert "Reason: the buyer canceled the order." in text_of(kept(workers, row))


@pytest.mark.parametrize("name", ["top_up_failed", "order_canceled"])
async def test_an_instant_of_long_ago_is_poison(world, name: str) -> None:
    """Given an event of the year 1, which no mail can be dated by, when it comes, then ValueError says so and nothing
    is written."""
    event, event_id = world.told(name), new_id()
    at = event.top_up_failed.failed_at if name == "top_up_failed" else event.order_canceled.order.canceled_at
    at.FromJsonString("0001-01-01T00:00:00Z")
    with pytest.raises(ValueError, match="0001-01-01T00:00:00Z is before 1970"):
        await world.hear(event, event_id)
    assert await notices(world, event_id) == []


async def test_a_cause_that_is_not_known_here_is_told_in_words(world, workers) -> None:
    """Given an event of another release, whose cause has no words here, when told, then in the words it came with."""
    event = world.told("order_canceled")
    event.order_canceled.order.cancellation.cause = 999
    event_id = await heard(world, event)
    await workers.settle()
    (row,) = await notices(world, event_id)
    assert "Reason: In English" in text_of(kept(workers, row))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_each_side_reads_its_own_language(world, workers, language: str) -> None:
    """Given buyer and seller of different languages, when money is kept, then each reads its own, Arabic from right."""
    other = LANGUAGES[(LANGUAGES.index(language) + 1) % len(LANGUAGES)]
    seller = await world.organization("公司 & Söhne", world.platform, language=other)
    buyer = await world.organization("Buyer", seller, language=language)
    event_id = await heard(world, world.told("order_payment_kept", buyer=buyer))
    await workers.settle()
    for row, spoken in zip(await notices(world, event_id), (language, other), strict=True):
        mail = kept(workers, row)
        assert mail["Content-Language"] == spoken
        direction = "rtl" if spoken == "ar" else "ltr"
        assert f'lang="{spoken}" dir="{direction}"' in text_of(mail, "html")
        assert row["order_number"] in mail["Subject"]
        assert mail["Subject"] == row["subject"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("language", ["en", "ar"])
async def test_hostile_words_stay_words(world, workers, name: str, language: str) -> None:
    """Given names and reasons with line breaks, HTML, braces and 10,000 characters, when mailed, then no header is
    added, no line is too long, and HTML shows them as text."""
    evil = 'Evil"\r\nBcc: victim@x.example\r\n\r\n<script>{issuer}</script> =?utf-8?q?=0D=0ABcc:x?= \u202e'
    evil += "x" * 10_000
    seller = await world.organization(evil, world.platform, language=language)
    buyer = await world.organization(evil, seller, language=language)
    event = world.told(name, buyer=buyer, reason=f"\x00{evil}", product=f"\x00{evil}")
    if name.startswith("order_"):
        order = getattr(event, name).order
        order.number, order.paying_user_name = evil, evil
    elif name == "top_up_failed":
        event.top_up_failed.top_up.created_by_name = evil
        event.top_up_failed.top_up.order_number = evil
    event_id = await heard(world, event)
    await workers.settle()
    for row in await notices(world, event_id):
        (raw,) = workers.mails(row["message_id"])
        assert all(len(line) < 998 for line in raw.as_bytes().split(b"\n"))
        mail = kept(workers, row)
        assert mail["Bcc"] is None
        assert len(mail["From"].addresses) == 1
        assert "\n" not in row["subject"]
        assert len(row["subject"]) < 500
        assert "<script>" not in text_of(mail, "html")
        assert "\u202e" not in text_of(mail)
        assert len(text_of(mail)) < 3000
    assert row["state"] == "SENT"


async def test_refused_deferring_and_missing_mailboxes(world, workers) -> None:
    """Given mailboxes that are refused, busy or missing, when mailed, then each fares as a receipt's would."""
    refused = await world.organization("Refused", world.partner, boss="refused@there.example")
    busy = await world.organization("Busy", world.partner, boss="deferring@there.example")
    lonely = await world.organization("Lonely", world.partner, boss="")
    one = await heard(world, world.told("order_canceled", buyer=refused))
    two = await heard(world, world.told("order_canceled", buyer=busy))
    three = await heard(world, world.told("adjustment_posted", buyer=lonely))
    four = await heard(world, world.told("adjustment_posted", buyer=refused))
    await workers.settle()
    (row,) = await notices(world, one)
    assert (row["state"], list(row["refused"])) == ("SENT", ["refused@there.example"])
    (row,) = await notices(world, two)
    assert (row["state"], list(row["accepted"]), row["attempts"]) == ("DEFERRED", [f"ann@{busy.domain}"], 1)
    await asyncio.sleep(1.1)
    await workers.settle()
    (row,) = await notices(world, two)
    assert row["attempts"] == 2
    assert kept(workers, row)["X-RcptTo"] == f"ann@{busy.domain}"
    (row,) = await notices(world, three)
    assert row["state"] == "FAILED"
    assert "mailbox" in row["last_error"]
    (row,) = await notices(world, four)
    assert (row["state"], row["attempts"]) == ("FAILED", 1)


@pytest.mark.parametrize("name", KINDS)
async def test_an_unknown_organization_waits(world, workers, name: str) -> None:
    """Given an event of a customer not known yet, when it comes, then it waits, and is told once it is known."""
    late = world.organization_message("Late", world.partner)
    event, event_id = world.told(name, buyer=late), new_id()
    with pytest.raises(NotYet, match=late.id):
        await world.hear(event, event_id)
    assert await notices(world, event_id) == []
    await world.hear(WalletEvent(organization_created=OrganizationCreated(organization=late)))
    await world.hear(event, event_id)
    assert len(await notices(world, event_id)) == (2 if name == "order_payment_kept" else 1)


async def test_what_cannot_be_told_is_poison(world) -> None:
    """Given a refund in no currency, when it comes, then ValueError says so and nothing is written."""
    event, event_id = world.told("order_refunded"), new_id()
    event.order_refunded.order.total.currency_code = event.order_refunded.refund.total.currency_code = "???"
    with pytest.raises(ValueError, match=r"\?\?\?"):
        await world.hear(event, event_id)
    assert await notices(world, event_id) == []


async def test_a_notice_is_as_of_then_and_cannot_change(world, workers) -> None:
    """Given a notice that waits, when the customer gets another boss and somebody tries to change the notice, then it
    goes to the boss of then, and PostgreSQL refuses the change."""
    event_id = await heard(world, world.told("adjustment_posted"))
    changed = organizations_pb2.Organization()
    changed.CopyFrom(world.customer)
    changed.version += 1
    changed.language = "de"
    changed.members[0].email = f"new@{changed.domain}"
    await world.hear(WalletEvent(organization_updated=OrganizationUpdated(organization=changed)))
    for statement in (
        "UPDATE notices SET subject = 'x' WHERE event_id = :id",
        "DELETE FROM notices WHERE event_id = :id",
    ):
        with pytest.raises(DBAPIError, match=r"permission denied|append-only"):
            await rows(world, statement, id=event_id)
    await workers.settle()
    (row,) = await notices(world, event_id)
    mail = kept(workers, row)
    assert mail["X-RcptTo"] == f"boss@{changed.domain}"
    assert mail["Content-Language"] == "en"


async def test_two_lanes_mail_once(world, workers) -> None:
    """Given twenty notices and three lanes at once, when they run, then each is tried once."""
    ids = [await heard(world, world.told("order_refunded")) for _ in range(20)]
    await asyncio.gather(*(workers.settle() for _ in range(3)))
    for event_id in ids:
        (row,) = await notices(world, event_id)
        assert (row["state"], row["attempts"]) == ("SENT", 1)
        kept(workers, row)


async def test_who_sees_which_notice(world, rpc) -> None:
    """Given notices of a customer, its seller and a sibling, when each lists, then it sees its own and those below;
    and with them their deliveries."""
    sibling = await world.organization("Sibling", world.partner)
    stranger = await world.organization("Stranger", world.platform)
    await world.hear(world.told("order_payment_kept"))
    await world.hear(world.told("order_canceled", buyer=sibling))

    async def seen(organization, *, platform: bool = False) -> set[tuple[str, str]]:
        with calling(organization, platform=platform):
            found = await listed(rpc)
        assert all(each.delivery.state == messages.Delivery.STATE_QUEUED for each in found)
        return {(each.issuer_id, each.organization_id) for each in found}

    to_customer, to_sibling = (world.partner.id, world.customer.id), (world.partner.id, sibling.id)
    to_seller = (world.partner.id, world.partner.id)
    assert await seen(world.customer) == {to_customer}
    assert await seen(sibling) == {to_sibling}
    assert await seen(world.partner) == {to_customer, to_sibling, to_seller}
    assert await seen(world.platform, platform=True) >= {to_customer, to_sibling, to_seller}
    assert await seen(stranger) == set()
    with calling(sibling):
        foreign = messages.NoticeFilter(organization_id=world.customer.id)
        assert await listed(rpc, filter=foreign) == []


async def test_filters_and_pages(world, rpc) -> None:
    """Given a notice of each kind, when listed by filter and by pages of two, then each comes where it must, once."""
    events = {name: world.told(name) for name in KINDS}
    for event in events.values():
        await world.hear(event)
    order = events["order_canceled"].order_canceled.order
    with calling(world.customer):
        for name in KINDS:
            kind = messages.NoticeKind.Value(f"NOTICE_KIND_{name.upper()}")
            (found,) = await listed(rpc, filter=messages.NoticeFilter(kind=kind))
            assert found.kind == kind
        (found,) = await listed(rpc, filter=messages.NoticeFilter(order_id=order.id))
        assert (found.order_number, found.organization_id) == (order.number, world.customer.id)
        top_up_id = events["order_payment_kept"].order_payment_kept.top_up_id
        (found,) = await listed(rpc, filter=messages.NoticeFilter(top_up_id=top_up_id))
        assert found.kind == messages.NOTICE_KIND_ORDER_PAYMENT_KEPT
        at = found.occurred_at
        assert await listed(rpc, filter=messages.NoticeFilter(occurred_to=at)) == []
        assert len(await listed(rpc, filter=messages.NoticeFilter(occurred_from=at))) == len(KINDS)
        ids: list[str] = []
        token = ""
        while True:
            page = await rpc.ListNotices(messages.ListNoticesRequest(page_size=2, page_token=token), None)
            ids += [each.id for each in page.notices]
            if not page.next_page_token:
                break
            token = page.next_page_token
    assert len(ids) == len(set(ids)) == len(KINDS)
    with calling(world.partner), pytest.raises(Problem) as refused:
        await rpc.ListNotices(messages.ListNoticesRequest(page_size=2, page_token=token), None)
    assert refused.value.reason == "PAGE_TOKEN_INVALID"

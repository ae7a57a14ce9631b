"""Numbers, keys, mailboxes, the manifest's chain, and how a mail fares."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from documents.domain import (
    GENESIS,
    MAIL_BACKOFF_S,
    Answer,
    DeliveryState,
    DocumentType,
    ManifestLine,
    Source,
    after_attempt,
    backoff,
    chain_faults,
    document_number,
    mailboxes,
    new_delivery,
    object_key,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMIT = timedelta(days=5)
ROOT = UUID(int=1)


def chain(length: int) -> list[ManifestLine]:
    lines: list[ManifestLine] = []
    for sequence in range(1, length + 1):
        line = ManifestLine.after(
            lines[-1].hash if lines else GENESIS,
            root_id=ROOT,
            sequence=sequence,
            document_id=UUID(int=sequence),
            object_key=f"acme.example/2026/{sequence}.pdf",
            object_version=f"v{sequence}",
            sha256=bytes([sequence % 256]) * 32,
            size_bytes=sequence,
        )
        lines.append(line)
    return lines


def test_number_and_key() -> None:
    """Given an issuer, a year and a sequence, when they are written, then they read as people and the store want."""
    assert document_number(2026, 42) == "R-2026-000042"
    assert document_number(2026, 1_234_567) == "R-2026-1234567"
    assert object_key("acme.example", 2026, "R-2026-000042") == "acme.example/2026/R-2026-000042.pdf"


def test_year_is_that_of_utc() -> None:
    """Given a payment in the first hour of a year in Berlin, when its year is asked, then it is UTC's old one."""
    paid = datetime.fromisoformat("2027-01-01T00:30:00+01:00")
    source = Source(DocumentType.TOP_UP_RECEIPT, ROOT, uuid4(), uuid4(), uuid4(), "", 1, "EUR", paid, b"")
    assert source.year == 2026


def test_same_mailbox_once() -> None:
    """Given a purchaser who is the boss, spelled differently, when mailboxes are taken, then there is one."""
    assert mailboxes("Ann@Acme.example ", "ann@acme.EXAMPLE") == ("Ann@Acme.example",)
    assert mailboxes("ann@acme.example", "bob@acme.example") == ("ann@acme.example", "bob@acme.example")


def test_what_is_no_mailbox_is_left_out() -> None:
    """Given addresses that are none or would break out of a header, when mailboxes are taken, then none is used."""
    bad = ["", "ann", "a@b@c", "a b@c.example", "a@c.example\r\nBcc: x@y.example", "<a@c.example>", "ä@c.example"]
    assert mailboxes(*bad) == ()


@given(st.integers(1, 30), st.data())
def test_any_change_breaks_the_chain(length: int, data: st.DataObject) -> None:
    """Given an intact chain, when any one field of any line is changed or a line taken out, then a fault is found."""
    lines = chain(length)
    assert chain_faults(lines) == []
    index = data.draw(st.integers(0, length - 1))
    changes = (
        {"document_id": UUID(int=10**9)},
        {"object_key": "other.example/1.pdf"},
        {"object_version": "v-other"},
        {"sha256": b"x" * 32},
        {"size_bytes": 10**9},
        {"previous_hash": b"x" * 32},
        {"hash": b"x" * 32},
        {"root_id": UUID(int=10**9)},
        {"sequence": 10**9},
    )
    changed = list(lines)
    changed[index] = replace(lines[index], **data.draw(st.sampled_from(changes)))
    assert chain_faults(changed)
    if index < length - 1:
        assert chain_faults(lines[:index] + lines[index + 1 :])


def test_nobody_to_mail_fails_with_a_reason() -> None:
    """Given neither purchaser nor boss has a mailbox, when the mail is queued, then it stands failed and says why."""
    delivery = new_delivery((), NOW)
    assert delivery.state is DeliveryState.FAILED
    assert "mailbox" in delivery.last_error


def test_one_refused_for_good_the_other_accepted() -> None:
    """Given two recipients, when one is refused with 550, then the mail is sent and the error names that one."""
    delivery = new_delivery(("ann@a.example", "refused@a.example"), NOW)
    answers = {"ann@a.example": Answer(250, "ok"), "refused@a.example": Answer(550, "no such mailbox")}
    after = after_attempt(delivery, answers, NOW, LIMIT)
    assert after.state is DeliveryState.SENT
    assert after.last_error == "refused@a.example refused: 550 no such mailbox"
    assert after.next_attempt_at is None


def test_one_put_off_is_tried_alone() -> None:
    """Given two recipients, when one is put off with 451, then only that one is tried again."""
    delivery = new_delivery(("ann@a.example", "deferring@a.example"), NOW)
    answers = {"ann@a.example": Answer(250, "ok"), "deferring@a.example": Answer(451, "busy")}
    first = after_attempt(delivery, answers, NOW, LIMIT)
    assert first.state is DeliveryState.DEFERRED
    assert first.pending == ("deferring@a.example",)
    assert first.next_attempt_at == NOW + timedelta(seconds=1)
    second = after_attempt(first, {"deferring@a.example": Answer(250, "ok")}, NOW + LIMIT, LIMIT)
    assert second.state is DeliveryState.SENT
    assert second.last_error == ""
    assert second.sent_at == NOW


def test_backoff_grows_and_stays() -> None:
    """Given more and more tries, when the wait is asked, then it grows to an hour and stays there."""
    waits = [backoff(MAIL_BACKOFF_S, attempts).total_seconds() for attempts in range(1, 12)]
    assert waits[:4] == [1, 5, 30, 120]
    assert waits == sorted(waits)
    assert waits[-1] == 3600


def test_given_up_after_days() -> None:
    """Given a server that is never reached, when five days are over, then the mail has failed and says so."""
    delivery = new_delivery(("ann@a.example",), NOW)
    before = after_attempt(delivery, {}, NOW + LIMIT - timedelta(seconds=1), LIMIT)
    assert before.state is DeliveryState.DEFERRED
    after = after_attempt(before, {}, NOW + LIMIT, LIMIT)
    assert after.state is DeliveryState.FAILED
    assert "given up" in after.last_error


@given(st.lists(st.lists(st.sampled_from([0, 250, 421, 451, 550, 554]), min_size=3, max_size=3), max_size=12))
def test_deliveries_keep_their_books(rounds: list[list[int]]) -> None:
    """Given any answers, when a mail is tried again and again, then each recipient gets one final answer."""
    recipients = ("a@x.example", "b@x.example", "c@x.example")
    delivery = new_delivery(recipients, NOW)
    for attempt, codes in enumerate(rounds, start=1):
        if delivery.state not in (DeliveryState.QUEUED, DeliveryState.DEFERRED):
            break
        pending = delivery.pending
        answers = {who: Answer(code, "said") for who, code in zip(recipients, codes, strict=True) if who in pending}
        delivery = after_attempt(delivery, answers, NOW, LIMIT)
        assert delivery.attempts == attempt
        assert set(delivery.accepted) | set(delivery.refused) | set(delivery.pending) == set(recipients)
        assert not set(delivery.accepted) & set(delivery.refused)
        assert len(delivery.refusals) == len(delivery.refused)
        assert all(who in delivery.last_error for who in delivery.refused)
        if delivery.pending:
            assert delivery.state is DeliveryState.DEFERRED
            assert delivery.next_attempt_at is not None
        else:
            assert delivery.state is (DeliveryState.SENT if delivery.accepted else DeliveryState.FAILED)
            assert delivery.next_attempt_at is None

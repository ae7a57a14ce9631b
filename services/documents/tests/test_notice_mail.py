"""What notices say: every case in every language, whatever names and reasons hold."""

import email
import email.policy
from datetime import UTC, datetime
from string import Formatter
from uuid import uuid4

import pytest
from directory.domain import Member, Organization, Role
from documents.domain import Audience, NoticeKind
from documents.letters import LETTERS
from documents.mailer import write
from documents.notice_causes import CAUSES, Cause
from documents.notice_letters import NOTICE_LETTERS, Case
from documents.notice_mail import notice_message, notice_recipients
from documents.views import NoticeView
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
SENDER = "receipts@farthing.test"
HEADERS = [
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
]


def organization(name: str, language: str) -> Organization:
    return Organization(
        id=uuid4(),
        root_id=uuid4(),
        parent_id=None,
        ancestor_ids=(),
        name=name,
        domain="a.example",
        currency="EUR",
        language=language,
        created_at=AT,
        members=(Member(uuid4(), name, "boss@a.example", Role.BOSS),),
    )


def message(view: NoticeView, issuer: Organization, recipient: Organization):
    return notice_message(
        view,
        message_id="<1@farthing.test>",
        recipients=notice_recipients(view, recipient),
        issuer=issuer,
        recipient=recipient,
        occurred_at=AT,
    )


def test_every_language_says_every_case() -> None:
    """Given the languages of receipts, when looked up, then each has words of its own for every case."""
    assert set(NOTICE_LETTERS) == set(LETTERS)
    for letter in NOTICE_LETTERS.values():
        assert set(letter.subjects) == set(letter.sentences) == set(Case)
    for case in Case:
        assert len({letter.sentences[case] for letter in NOTICE_LETTERS.values()}) == len(NOTICE_LETTERS)


def test_every_language_says_every_cause() -> None:
    """Given the languages of receipts, when looked up, then each has words of its own for every cause, with the same
    places in them."""
    assert set(CAUSES) == set(LETTERS)
    for cause in Cause:
        said = [words[cause] for words in CAUSES.values()]
        assert len(set(said)) == len(said)
        assert len({tuple(sorted(field for _, field, *_ in Formatter().parse(each) if field)) for each in said}) == 1
    assert len({letter.note for letter in NOTICE_LETTERS.values()} | {"Nota: {note}"}) == len(NOTICE_LETTERS)


@pytest.mark.parametrize("language", NOTICE_LETTERS)
@pytest.mark.parametrize("cause", Cause)
def test_a_cause_is_said_in_the_language_of_its_reader(language: str, cause: Cause) -> None:
    """Given a canceled order, its cause, and a note that somebody wrote, when told, then the cause stands in the
    reader's language with what belongs to it, and the note as it was written."""
    view = NoticeView(
        NoticeKind.ORDER_CANCELED,
        Audience.BUYER,
        "EUR",
        7_250_000,
        order_number="FA-1",
        cause=cause,
        reason="Zu teuer",
        canceler_name="Zoe",
        due_at=AT,
        needed_micros=4_560_000,
        available_micros=-1_230_000,
    )
    made = message(view, organization("Seller", "en"), organization("Buyer", language))
    reason, note = made.sentences[-2:]
    words = CAUSES[language][cause]
    assert words.split("{")[0] in reason
    for place, value in (("canceler", "Zoe"), ("due", "2026-11-23 12:30 UTC"), ("needed", "4"), ("available", "1")):
        assert value in reason or f"{{{place}}}" not in words
    assert note.endswith("Zu teuer")
    assert "{" not in " ".join([made.subject, *made.sentences])


@pytest.mark.parametrize("language", NOTICE_LETTERS)
def test_what_was_told_is_in_the_mail(language: str) -> None:
    """Given every kind, side and sign, when told in a language, then order, amount, reason and items are in the mail,
    and no place is left unfilled."""
    for kind in NoticeKind:
        for audience in Audience:
            for micros, automatic, again in ((7_250_000, False, None), (-7_250_000, True, AT), (0, True, None)):
                view = NoticeView(
                    kind,
                    audience,
                    "EUR",
                    micros,
                    threshold_micros=9_000_000,
                    person_name="Ann",
                    person_email="ann@a.example",
                    order_number="FA-1",
                    items=("2 × Proxies",),
                    reason="Because",
                    automatic=automatic,
                    next_attempt_at=again,
                )
                made = message(view, organization("Seller", "en"), organization("Buyer", language))
                said = " ".join([made.subject, *made.sentences, made.closing])
                assert "{" not in said
                assert "Because" in said
                assert "2 × Proxies" in said
                assert ("FA-1" in said) == kind.startswith("ORDER_")
                assert made.language == language


@given(name=st.text(max_size=300), reason=st.text(max_size=3000), language=st.sampled_from(sorted(NOTICE_LETTERS)))
def test_no_text_changes_the_headers(name: str, reason: str, language: str) -> None:
    """Given any names and reasons, when the mail is written, then it has the headers it must have, each once."""
    view = NoticeView(
        NoticeKind.ORDER_REFUNDED,
        Audience.BUYER,
        "EUR",
        1,
        person_name=name,
        person_email="ann@a.example",
        order_number=name,
        items=(reason, name),
        reason=reason,
    )
    wire = write(message(view, organization(name, "en"), organization(name, language)), SENDER)
    assert all(len(line) < 998 for line in wire.split(b"\r\n"))
    assert b"\n" not in wire.replace(b"\r\n", b"")
    read = email.message_from_bytes(wire, policy=email.policy.default)
    assert read.keys() == HEADERS
    assert [part.get_content_type() for part in read.iter_parts()] == ["text/plain", "text/html"]
    assert read["From"].addresses[0].addr_spec == SENDER
    assert (read["To"], read["Cc"]) == ("ann@a.example", "boss@a.example")

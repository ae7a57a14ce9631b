"""What a notice's mail says, to whom: in the language of its recipient's organization."""

from __future__ import annotations

from datetime import datetime

from directory.domain import Organization, Role
from money import format_money

from documents.domain import Audience, NoticeKind, mailboxes
from documents.languages import supported_language
from documents.letters import LETTERS
from documents.mailer import NAME_MAX, Message, issuer_name
from documents.notice_causes import CAUSES
from documents.notice_letters import NOTICE_LETTERS, Case
from documents.text import plain
from documents.views import NoticeView

_REASON_MAX = 500
_ITEMS_SHOWN = 10


def notice_recipients(view: NoticeView, recipient: Organization) -> tuple[str, ...]:
    """Whose mailboxes get it, each once: the one who bought or asked, and the boss; of a low balance, finance too."""
    boss = recipient.boss.email if recipient.boss else ""
    if view.kind is NoticeKind.BALANCE_LOW:
        return mailboxes(boss, *(member.email for member in recipient.members if member.role is Role.FINANCE))
    return mailboxes(boss) if view.audience is Audience.SELLER else mailboxes(view.person_email, boss)


def notice_message(
    view: NoticeView,
    *,
    message_id: str,
    recipients: tuple[str, ...],
    issuer: Organization,
    recipient: Organization,
    occurred_at: datetime,
) -> Message:
    """The mail of a notice. The same notice gives the same message. MoneyError for an amount in no currency."""
    language = supported_language(recipient.language)
    letter, frame, case = NOTICE_LETTERS[language], LETTERS[language], _case(view)
    person = plain(view.person_name, NAME_MAX) or plain(view.person_email, NAME_MAX)
    boss = plain(recipient.boss.name, NAME_MAX) if recipient.boss else ""
    shown = view.items[:_ITEMS_SHOWN]
    words = {
        "issuer": issuer_name(issuer),
        # What was taken is said in words, not with a sign.
        "amount": format_money(
            abs(view.amount_micros) if case is Case.DEBITED else view.amount_micros, view.currency, language
        ),
        "threshold": format_money(view.threshold_micros, view.currency, language),
        "order": plain(view.order_number, NAME_MAX),
        "person": person or "?",
        "name": boss if view.audience is Audience.SELLER else plain(view.person_name, NAME_MAX) or boss,
        "time": _instant(view.next_attempt_at),
        "items": "; ".join(plain(item, NAME_MAX) for item in shown) + (" …" if len(view.items) > len(shown) else ""),
        "canceler": plain(view.canceler_name, NAME_MAX) or "?",
        "due": _instant(view.due_at),
        "needed": format_money(view.needed_micros, view.currency, language),
        "available": format_money(view.available_micros, view.currency, language),
    }
    said = plain(view.reason, _REASON_MAX)
    words["reason"] = said if view.cause is None else CAUSES[language][view.cause].format(**words)
    words["note"] = said if view.cause is not None else ""
    sentences = (
        frame.greeting if words["name"] else "",
        letter.sentences[case],
        letter.items if words["items"] else "",
        letter.reason if words["reason"] else "",
        letter.note if words["note"] else "",
    )
    return Message(
        message_id=message_id,
        recipients=recipients,
        issuer=issuer,
        language=language,
        subject=letter.subjects[case].format(**words),
        sentences=tuple(sentence.format(**words) for sentence in sentences if sentence),
        closing=frame.automatic.format(**words),
        date=occurred_at,
    )


def _instant(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def _case(view: NoticeView) -> Case:
    match view.kind:
        case NoticeKind.BALANCE_LOW:
            return Case.BALANCE_LOW
        case NoticeKind.TOP_UP_FAILED if view.automatic:
            return Case.TOP_UP_RETRIED if view.next_attempt_at else Case.TOP_UP_ENDED
        case NoticeKind.TOP_UP_FAILED:
            return Case.TOP_UP_FAILED
        case NoticeKind.ORDER_REFUNDED:
            return Case.REFUNDED
        case NoticeKind.ORDER_CANCELED:
            return Case.CANCELED
        case NoticeKind.ORDER_PAYMENT_KEPT:
            return Case.KEPT if view.audience is Audience.BUYER else Case.KEPT_FOR_BUYER
        case NoticeKind.ADJUSTMENT_POSTED:
            return Case.CREDITED if view.amount_micros >= 0 else Case.DEBITED

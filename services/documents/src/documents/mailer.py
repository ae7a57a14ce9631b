"""Mails: each one message to all whom it concerns, through a few SMTP connections that are used again.

The same receipt or notice gives the same message, byte for byte, with the same Message-ID: a receiving mail store
that gets it twice (a crash after DATA) keeps it once.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, quote
from html import escape
from typing import Any

import aiosmtplib
from directory.domain import Organization
from money import format_money, round_to_minor
from servicekit.faults import fault_point

from documents.domain import MEDIA_TYPE, Answer, DocumentType, file_name, mailboxes
from documents.languages import RIGHT_TO_LEFT, supported_language
from documents.letters import LETTERS
from documents.text import clean, plain

# An idle connection older than this may be closed at the other end already.
IDLE_MAX_S = 20.0
NAME_MAX = 100


@dataclass(frozen=True, slots=True)
class Mail:
    """What a mail is made from. `recipients` are all of them, purchaser first, whoever is still pending."""

    type: DocumentType
    message_id: str
    recipients: tuple[str, ...]
    purchaser_name: str
    issuer: Organization
    number: str
    order_number: str
    total_micros: int
    currency: str
    issued_at: datetime
    pdf: bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What every mail of ours is: sentences in the issuer's name, to the first recipient, copies to the others.

    Nothing in it holds a line break (`documents.text`).
    """

    message_id: str
    recipients: tuple[str, ...]
    issuer: Organization
    language: str
    subject: str
    sentences: tuple[str, ...]
    closing: str
    date: datetime
    attachment: Attachment | None = None


def issuer_name(issuer: Organization) -> str:
    """The name that a mail is in."""
    return plain(issuer.name, NAME_MAX)


def receipt_message(mail: Mail) -> Message:
    """The mail of a receipt: to the purchaser, Cc the boss; in the issuer's language."""
    language = supported_language(mail.issuer.language)
    letter = LETTERS[language]
    rounded, _ = round_to_minor(mail.total_micros, mail.currency)
    words = {
        "issuer": issuer_name(mail.issuer),
        "number": mail.number,
        "order": clean(mail.order_number, NAME_MAX),
        "total": format_money(rounded, mail.currency, language),
        "name": clean(mail.purchaser_name, NAME_MAX),
    }
    what = letter.purchase if mail.type is DocumentType.PURCHASE_RECEIPT else letter.top_up
    greeting = letter.greeting if words["name"] else ""
    return Message(
        message_id=mail.message_id,
        recipients=mail.recipients,
        issuer=mail.issuer,
        language=language,
        subject=letter.subject.format(**words),
        sentences=tuple(text.format(**words) for text in (greeting, what, letter.attached) if text),
        closing=letter.automatic.format(**words),
        date=mail.issued_at,
        attachment=Attachment(file_name(mail.number), MEDIA_TYPE, mail.pdf),
    )


def compose(mail: Mail, sender: str) -> bytes:
    """The mail of a receipt as it goes over the wire."""
    return write(receipt_message(mail), sender)


def write(message: Message, sender: str) -> bytes:
    """A message as it goes over the wire."""
    boss = message.issuer.boss
    headers = [
        ("From", f"{_words('From', issuer_name(message.issuer), quoted=True)} <{sender}>"),
        ("To", message.recipients[0]),
        # An address a line: a line has a limit, the finance members of an organization have none.
        ("Cc", ",\r\n ".join(message.recipients[1:])),
        ("Reply-To", next(iter(mailboxes(boss.email)), "") if boss else ""),
        ("Subject", _words("Subject", message.subject)),
        ("Date", format_datetime(message.date.astimezone(UTC))),
        ("Message-ID", message.message_id),
        ("MIME-Version", "1.0"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Language", message.language),
    ]
    boundary = f"=_{message.message_id.strip('<>').partition('@')[0]}"
    body = _multipart(
        "alternative",
        f"{boundary}_1",
        _part("text/plain; charset=utf-8", "\r\n\r\n".join([*message.sentences, message.closing, ""]).encode()),
        _part("text/html; charset=utf-8", _html(message.sentences, message.closing, message.language).encode()),
    )
    if file := message.attachment:
        attached = _part(f'{file.media_type}; name="{file.name}"', file.content, f'attachment; filename="{file.name}"')
        body = _multipart("mixed", f"{boundary}_0", body, attached)
    head = "".join(f"{header}: {value}\r\n" for header, value in headers if value)
    return head.encode("ascii") + body


# Assembled by hand: the standard library's EmailMessage takes several times as long as drawing the receipt does.


def _words(header: str, text: str, *, quoted: bool = False) -> str:
    """Text as a header carries it: as it is, or encoded and folded (RFC 2047). `text` holds no control characters."""
    # Readers take ASCII that looks encoded for what it would decode to.
    if text.isascii() and "=?" not in text:
        return f'"{quote(text)}"' if quoted else text
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _part(content_type: str, content: bytes, disposition: str = "") -> bytes:
    shown = f"Content-Disposition: {disposition}\r\n" if disposition else ""
    head = f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n{shown}\r\n"
    return head.encode("ascii") + base64.encodebytes(content).replace(b"\n", b"\r\n")


def _multipart(kind: str, boundary: str, *parts: bytes) -> bytes:
    head = f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'
    between = f"--{boundary}\r\n".encode("ascii")
    body = b"".join(between + part + b"\r\n" for part in parts)
    return head.encode("ascii") + body + f"--{boundary}--\r\n".encode("ascii")


def _html(sentences: Sequence[str], closing: str, language: str) -> str:
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    body = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return (
        f'<!DOCTYPE html><html lang="{language}" dir="{direction}"><head><meta charset="utf-8"></head>'
        '<body style="font:16px/1.5 system-ui,sans-serif;color:#16181d;max-width:36em;margin:2em auto">'
        f'{body}<p style="color:#6b7280;font-size:13px">{escape(closing)}</p></body></html>\n'
    )


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail goes. `tls` is auto, starttls, implicit or none."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls: str = "auto"
    timeout_s: float = 15.0


class _Connection(aiosmtplib.SMTP):
    """An SMTP connection that knows how much it has carried and since when it rests."""

    carried = 0
    resting_since = 0.0

    async def data(self, message: Any, *arguments: Any, **options: Any) -> aiosmtplib.SMTPResponse:
        await fault_point("documents.before_data")
        response = await super().data(message, *arguments, **options)
        await fault_point("documents.after_data")
        return response


class Mailer:
    """At most `connections` at once; each carries `messages` and is then replaced (servers count per connection)."""

    def __init__(self, server: MailServer, sender: str, *, connections: int = 8, messages: int = 50) -> None:
        self._server = server
        self.sender = sender
        self._messages = messages
        self._slots = asyncio.Semaphore(connections)
        self._resting: list[_Connection] = []

    async def send(self, message: bytes, recipients: Sequence[str]) -> Mapping[str, Answer]:
        """Sends to these recipients and tells what the server said about each. Raises nothing for mail's troubles.

        Only a recipient or a content refused for good is final; a server that refuses *us* (sender, login) is
        put right by the operator, so it counts as not reached.
        """
        try:
            async with self._connection() as connection:
                refusals, _ = await connection.sendmail(self.sender, list(recipients), message)
                connection.carried += 1
        except aiosmtplib.SMTPRecipientsRefused as error:
            said = {each.recipient: Answer(each.code, each.message) for each in error.recipients}
            return {recipient: said.get(recipient, Answer(0, "no answer")) for recipient in recipients}
        except aiosmtplib.SMTPDataError as error:
            return dict.fromkeys(recipients, Answer(error.code, error.message))
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            text = f"the mail server {self._server.host}:{self._server.port} did not take it: {error}"
            return dict.fromkeys(recipients, Answer(0, text))
        accepted = Answer(250, "accepted")
        return {
            recipient: Answer(refusals[recipient].code, refusals[recipient].message)
            if recipient in refusals
            else accepted
            for recipient in recipients
        }

    async def close(self) -> None:
        """Takes leave of the server."""
        while self._resting:
            await self._leave(self._resting.pop())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        async with self._slots:
            connection = await self._rested() or await self._connect()
            try:
                yield connection
            except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException):
                # An answer, if not the one hoped for: the connection is as good as before.
                await self._rest(connection)
                raise
            except BaseException:
                connection.close()
                raise
            await self._rest(connection)

    async def _rested(self) -> _Connection | None:
        while self._resting:
            connection = self._resting.pop()
            if connection.is_connected and time.monotonic() - connection.resting_since < IDLE_MAX_S:
                return connection
            await self._leave(connection)
        return None

    async def _rest(self, connection: _Connection) -> None:
        if connection.is_connected and connection.carried < self._messages:
            connection.resting_since = time.monotonic()
            self._resting.append(connection)
        else:
            await self._leave(connection)

    async def _leave(self, connection: _Connection) -> None:
        # A connection that is gone needs no farewell.
        with suppress(aiosmtplib.SMTPException, OSError):
            await connection.quit(timeout=2.0)
        connection.close()

    async def _connect(self) -> _Connection:
        server = self._server
        connection = _Connection(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            timeout=server.timeout_s,
            use_tls=server.tls == "implicit",
            start_tls={"auto": None, "starttls": True}.get(server.tls, False),
        )
        await connection.connect()
        return connection

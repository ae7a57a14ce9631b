"""Mails as others read them, and the connections they go through."""

import asyncio
import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime
from email.header import decode_header, make_header
from uuid import uuid4

import pytest
from directory.domain import Member, Organization, Role
from documents.domain import DocumentType
from documents.mailer import Mail, Mailer, MailServer, compose
from money import INT64_MAX

SENDER = "receipts@farthing.test"
ISSUED_AT = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


def issuer(name: str = "Partner & Söhne", language: str = "en") -> Organization:
    return Organization(
        id=uuid4(),
        root_id=uuid4(),
        parent_id=None,
        ancestor_ids=(),
        name=name,
        domain="partner.example",
        currency="EUR",
        language=language,
        created_at=ISSUED_AT,
        members=(Member(uuid4(), "Boss", "boss@partner.example", Role.BOSS),),
    )


def mail(seller: Organization) -> Mail:
    return Mail(
        type=DocumentType.PURCHASE_RECEIPT,
        message_id=f"<{uuid4()}@farthing.test>",
        recipients=("ann@customer.example", "boss@customer.example"),
        purchaser_name="Ann <script>",
        issuer=seller,
        number="R-2026-000042",
        order_number="FA-1",
        total_micros=119_000_000,
        currency="EUR",
        issued_at=ISSUED_AT,
        pdf=bytes(range(256)) * 100,
    )


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh", "ar"])
def test_a_standard_reader_understands_it(language: str) -> None:
    """Given a receipt in any language, when the standard library reads its mail, then every part is whole."""
    written = mail(issuer("Größe und 公司 " * 6, language))
    wire = compose(written, SENDER)
    assert all(len(line) < 998 for line in wire.split(b"\r\n"))
    assert b"\n" not in wire.replace(b"\r\n", b"")
    read = email.message_from_bytes(wire, policy=email.policy.default)
    assert not [part.defects for part in read.walk() if part.defects]
    # The modern parser loses blanks between the encoded words of a name (RFC 2047, 6.2); the old one reads them right.
    sender = str(make_header(decode_header(email.message_from_bytes(wire)["From"])))
    assert sender == f"{('Größe und 公司 ' * 6).strip()} <{SENDER}>"
    assert read["From"].addresses[0].addr_spec == SENDER
    assert (read["To"], read["Cc"]) == ("ann@customer.example", "boss@customer.example")
    assert read["Reply-To"] == "boss@partner.example"
    assert "R-2026-000042" in read["Subject"]
    assert read["Date"].datetime == ISSUED_AT
    plain = read.get_body(("plain",)).get_content()
    rich = read.get_body(("html",)).get_content()
    assert "FA-1" in plain
    assert "<script>" in plain
    assert "<script>" not in rich
    (attachment,) = read.iter_attachments()
    assert attachment.get_content() == written.pdf
    assert attachment.get_filename() == "R-2026-000042.pdf"


def test_the_mail_of_the_largest_amount_can_be_written() -> None:
    """Given a total whose cents lie beyond the largest amount, when its mail is made, then it names them."""
    largest = replace(mail(issuer()), type=DocumentType.TOP_UP_RECEIPT, total_micros=INT64_MAX)
    read = email.message_from_bytes(compose(largest, SENDER), policy=email.policy.default)
    assert "€9,223,372,036,854.78" in read.get_body(("plain",)).get_content()


def test_the_same_mail_is_the_same_bytes() -> None:
    """Given one receipt, when its mail is made twice, then both are the same, byte for byte."""
    written = mail(issuer())
    assert compose(written, SENDER) == compose(written, SENDER)


def test_a_name_cannot_break_out_of_its_header() -> None:
    """Given an issuer whose name holds line breaks and quotes, when its mail is read, then there is no header more."""
    written = mail(issuer('Evil"\r\nBcc: victim@x.example\r\n\r\nbody'))
    read = email.message_from_bytes(compose(written, SENDER), policy=email.policy.default)
    assert read["Bcc"] is None
    assert len(read["From"].addresses) == 1
    assert read["From"].addresses[0].addr_spec == SENDER


def test_one_recipient_has_no_copy() -> None:
    """Given a purchaser who is the boss, when the mail is made, then it has no Cc."""
    read = email.message_from_bytes(compose(replace(mail(issuer()), recipients=("a@b.example",)), SENDER))
    assert read["Cc"] is None


async def test_connections_are_used_again_and_rotated(stack) -> None:
    """Given a limit of five messages, when twelve go one after the other, then they take three connections."""
    server = MailServer(stack.env()["SMTP_HOST"], int(stack.env()["SMTP_PORT"]))
    mailer = Mailer(server, SENDER, connections=2, messages=5)
    connect, made = mailer._connect, []

    async def counted():
        made.append(await connect())
        return made[-1]

    mailer._connect = counted
    for _ in range(12):
        answers = await mailer.send(compose(mail(issuer()), SENDER), ["ann@customer.example"])
        assert answers["ann@customer.example"].accepted
    assert len(made) == 3
    await mailer.close()


async def test_a_server_that_hangs_is_not_reached() -> None:
    """Given a server that accepts connections and says nothing, when a mail goes out, then it is put off in time."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mailer = Mailer(MailServer("127.0.0.1", port, timeout_s=0.3), SENDER)
    answers = await mailer.send(b"Subject: x\r\n\r\n", ["ann@customer.example"])
    server.close()
    assert answers["ann@customer.example"].code == 0
    assert "did not take it" in answers["ann@customer.example"].text

"""An SMTP server that keeps every message it accepts in a Maildir, for demos, tests and people to read.

A message is on disk (file and folder synced) before the sender gets its 250. As receiving mail stores do
(RFC 7352), it keeps a Message-ID once per recipient; repeats are accepted, not kept, and written down
in `duplicates.jsonl` beside the Maildir, so that a test can see them.

Mailboxes for tests: a local part that starts with `refused` gets 550, one with `deferring` 451.
"""

import argparse
import asyncio
import email.parser
import email.policy
import email.utils
import json
import mailbox
import os
import signal
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

MESSAGE_BYTES_MAX = 50 * 1024 * 1024
DUPLICATES = "duplicates.jsonl"


class MaildirSink:
    """aiosmtpd's handler. `folder` is the Maildir; it is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maildir = mailbox.Maildir(folder, create=True)
        self._kept: set[tuple[str, str]] = set()
        for message in self._maildir:
            recipients = [address for _, address in email.utils.getaddresses(message.get_all("X-RcptTo", []))]
            self._kept.update((str(message["Message-ID"] or "").strip(), recipient) for recipient in recipients)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuses or defers the mailboxes made for it, takes every other."""
        local_part = address.lower().partition("@")[0]
        if local_part.startswith("refused"):
            return f"550 5.1.1 <{address}> no such mailbox here"
        if local_part.startswith("deferring"):
            return f"451 4.2.1 <{address}> mailbox busy, try again later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Keeps the message for the recipients that do not have it yet."""
        content = envelope.original_content or b""
        headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(content)
        message_id = str(headers["Message-ID"] or "").strip()
        recipients = list(dict.fromkeys(address.lower() for address in envelope.rcpt_tos))
        new = [address for address in recipients if not message_id or (message_id, address) not in self._kept]
        repeated = [address for address in recipients if address not in new]
        if new:
            self._keep(content, str(envelope.mail_from or ""), new)
            self._kept.update((message_id, address) for address in new if message_id)
        if repeated:
            self._write_down_duplicate(message_id, repeated)
        return "250 2.0.0 kept" if new else "250 2.0.0 kept before"

    def _keep(self, content: bytes, sender: str, recipients: list[str]) -> None:
        # The message stays as it was sent, after the envelope; a Maildir has LF line ends.
        envelope = f"X-MailFrom: {sender}\r\nX-RcptTo: {', '.join(recipients)}\r\n".encode()
        self._maildir.add((envelope + content).replace(b"\r\n", b"\n"))
        _sync_folder(self._folder / "new")

    def _write_down_duplicate(self, message_id: str, recipients: list[str]) -> None:
        line = json.dumps({"message_id": message_id, "recipients": recipients})
        with (self._folder.parent / DUPLICATES).open("a") as duplicates:
            duplicates.write(line + "\n")
            duplicates.flush()
            os.fsync(duplicates.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _serve(host: str, port: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    sink = MaildirSink(folder)

    def session() -> SMTP:
        return SMTP(sink, hostname="mail.farthing.test", data_size_limit=MESSAGE_BYTES_MAX, enable_SMTPUTF8=True)

    server = await loop.create_server(session, host, port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with server:
        await stopped.wait()


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    arguments = argparse.ArgumentParser(description="Keeps the mail it accepts in a Maildir.")
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--maildir", type=Path, required=True)
    given = arguments.parse_args()
    given.maildir.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(given.host, given.port, given.maildir))


if __name__ == "__main__":
    main()

"""The mails of the demo, as the mail server keeps them."""

import hashlib
import mailbox
from collections.abc import Mapping
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.utils import getaddresses
from pathlib import Path


@dataclass(frozen=True)
class Letter:
    """A mail that was kept. `sha256` is that of its PDF."""

    sender: str
    recipients: tuple[str, ...]
    subject: str
    attachment: str
    sha256: bytes


def letters(environment: Mapping[str, str], message_id: str) -> list[Letter]:
    """The kept mails with that Message-ID; none where the mail server is not the local stack's."""
    folder = environment.get("SMTP_MAILDIR")
    if not folder or not Path(folder).is_dir():
        return []
    found = []
    for message in mailbox.Maildir(folder, create=False):
        if str(message["Message-ID"] or "").strip() != message_id:
            continue
        for part in message.walk():
            content = part.get_payload(decode=True)
            if part.get_content_type() == "application/pdf" and isinstance(content, bytes):
                found.append(
                    Letter(
                        sender=str(make_header(decode_header(str(message["From"] or "")))),
                        recipients=tuple(address for _, address in getaddresses(message.get_all("X-RcptTo", []))),
                        subject=str(make_header(decode_header(str(message["Subject"] or "")))),
                        attachment=part.get_filename() or "",
                        sha256=hashlib.sha256(content).digest(),
                    )
                )
    return found

"""The SMTP sink as a process of the stack, and whether it answers."""

import smtplib
import sys
from pathlib import Path

from local_stack.environment import HOST


def argv(port: int, maildir: Path) -> list[str]:
    """The command that runs the sink in the foreground."""
    module = ("-m", "local_stack.smtp_sink")
    return [sys.executable, *module, "--host", HOST, "--port", str(port), "--maildir", str(maildir)]


def answers(host: str, port: int, timeout_s: float = 3.0) -> bool:
    """True if an SMTP server greets at host:port."""
    try:
        with smtplib.SMTP(host, port, timeout=timeout_s) as server:
            return server.noop()[0] == 250
    except (OSError, smtplib.SMTPException):
        return False

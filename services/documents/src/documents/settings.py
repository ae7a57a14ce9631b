"""What `documents` reads from its environment, besides what every service reads."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from servicekit.settings import Settings


class DocumentsSettings(Settings):
    """Each field is the environment variable of the same name, in capitals."""

    # Where the archive lies; the server must pass `documents archive probe`.
    s3_endpoint: str
    # Under which address callers reach it, for download links; S3_ENDPOINT where it is empty.
    s3_public_endpoint: str = ""
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_region: str = "us-east-1"
    s3_bucket: str = "farthing-archive"
    s3_timeout_s: float = 8.0
    # How long a document is locked at first, and below how much the lock is extended again: together, for ever.
    retention_years: float = Field(default=10.0, gt=0)
    retention_extend_below_years: float = Field(default=5.0, gt=0)
    download_url_minutes: int = Field(default=10, ge=1, le=7 * 24 * 60)

    smtp_host: str
    smtp_port: int = 25
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    # `auto` upgrades with STARTTLS where the server offers it.
    smtp_tls: Literal["auto", "starttls", "implicit", "none"] = "auto"
    smtp_connections: int = Field(default=8, ge=1, le=100)
    smtp_messages_per_connection: int = Field(default=50, ge=1)
    smtp_timeout_s: float = 10.0
    mail_from: str = ""
    mail_give_up_days: float = Field(default=5.0, gt=0)

    # Worker processes that draw PDFs.
    render_processes: int = Field(default_factory=lambda: max(1, os.cpu_count() or 1), ge=1)
    # For how long work that was taken is not taken again: the longest wait after a kill -9.
    lease_s: float = Field(default=15.0, gt=0)

    @property
    def mail_domain(self) -> str:
        """The right side of MAIL_FROM, and of every Message-ID."""
        return self.mail_from.partition("@")[2]

    @model_validator(mode="after")
    def _together(self) -> DocumentsSettings:
        if not self.mail_from:
            if not self.development:
                raise ValueError("MAIL_FROM is not set: give the mailbox that receipts are sent from")
            self.mail_from = "receipts@farthing.test"
        if self.mail_from.count("@") != 1:
            raise ValueError(f"MAIL_FROM is {self.mail_from!r}: give one mailbox, such as receipts@example.com")
        if bool(self.smtp_username) != bool(self.smtp_password.get_secret_value()):
            raise ValueError("SMTP_USERNAME and SMTP_PASSWORD come together: set both or none")
        if self.smtp_username and self.smtp_tls in ("auto", "none") and not self.development:
            raise ValueError("SMTP_USERNAME needs SMTP_TLS=starttls or implicit: passwords never travel in the clear")
        if self.retention_extend_below_years >= self.retention_years:
            raise ValueError(
                f"RETENTION_EXTEND_BELOW_YEARS is {self.retention_extend_below_years}: "
                f"it must be less than RETENTION_YEARS, {self.retention_years}"
            )
        return self


def from_environment() -> DocumentsSettings:
    """The settings of this process. Raises pydantic's ValidationError naming each variable that is missing."""
    read: Any = DocumentsSettings
    settings: DocumentsSettings = read()
    return settings

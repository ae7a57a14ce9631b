"""Servers that are not ours: an address in the environment replaces the local one.

The names differ from those `farthing stack env` prints, so that a shell which evaluated that output
does not turn every later stack into a client of the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from local_stack.errors import StackError

POSTGRES_VARIABLE = "FARTHING_EXTERNAL_POSTGRES"
KAFKA_VARIABLE = "FARTHING_EXTERNAL_KAFKA"
S3_VARIABLE = "FARTHING_EXTERNAL_S3"
SMTP_VARIABLE = "FARTHING_EXTERNAL_SMTP"
VARIABLES = {"postgres": POSTGRES_VARIABLE, "kafka": KAFKA_VARIABLE, "s3": S3_VARIABLE, "smtp": SMTP_VARIABLE}


@dataclass(frozen=True)
class Postgres:
    """A superuser's way in; the stack makes its roles and databases there."""

    host: str
    port: int
    user: str
    password: str


@dataclass(frozen=True)
class S3:
    """An S3 endpoint (`http://host:port`) with credentials that may create a bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str


@dataclass(frozen=True)
class Smtp:
    """An SMTP server; `maildir` is where what it accepts can be read, or empty."""

    host: str
    port: int
    maildir: str


@dataclass(frozen=True)
class Addresses:
    """Which servers are replaced; None means that the stack runs its own."""

    postgres: Postgres | None
    kafka: str | None
    s3: S3 | None
    smtp: Smtp | None

    def replaces(self, server: str) -> bool:
        """True if `server` (postgres, kafka, s3 or smtp) is somebody else's."""
        return getattr(self, server) is not None


def read(environment: Mapping[str, str]) -> Addresses:
    """Reads the four variables. Raises StackError naming the one that cannot be understood."""
    return Addresses(
        _postgres(environment.get(POSTGRES_VARIABLE)),
        environment.get(KAFKA_VARIABLE) or None,
        _s3(environment.get(S3_VARIABLE)),
        _smtp(environment.get(SMTP_VARIABLE)),
    )


def _postgres(text: str | None) -> Postgres | None:
    if not text:
        return None
    url = urlsplit(text)
    if url.scheme not in ("postgresql", "postgres") or not (url.hostname and url.username and url.password):
        raise StackError(f"{POSTGRES_VARIABLE} should read postgresql://SUPERUSER:PASSWORD@HOST:PORT")
    return Postgres(url.hostname, url.port or 5432, unquote(url.username), unquote(url.password))


def _s3(text: str | None) -> S3 | None:
    if not text:
        return None
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not (url.hostname and url.username and url.password):
        raise StackError(f"{S3_VARIABLE} should read http://ACCESS_KEY:SECRET_KEY@HOST:PORT[?region=REGION]")
    region = parse_qs(url.query).get("region", ["us-east-1"])[0]
    host = url.hostname if url.port is None else f"{url.hostname}:{url.port}"
    return S3(f"{url.scheme}://{host}", unquote(url.username), unquote(url.password), region)


def _smtp(text: str | None) -> Smtp | None:
    if not text:
        return None
    url = urlsplit(text)
    if url.scheme != "smtp" or not url.hostname:
        raise StackError(f"{SMTP_VARIABLE} should read smtp://HOST:PORT[?maildir=PATH], not {text!r}")
    return Smtp(url.hostname, url.port or 25, parse_qs(url.query).get("maildir", [""])[0])

"""Puts into servers that answer what the services expect: databases and roles, topics, the archive's bucket.

As a command (`python -m local_stack.furnish`) it does so for the servers that the environment names, with the
variables `farthing stack env` prints, and makes development credentials in FARTHING_CREDENTIALS. That is how
docker-compose.yml sets itself up.
"""

import datetime
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from local_stack import artifacts, credentials, kafka_process, layout, postgres, s3, topics
from local_stack.errors import StackError

TOPICS_FILE = artifacts.REPOSITORY / "protos" / "topics.yaml"
READY_BOUND_S = 60.0
POLL_S = 0.5


def make_credentials(folder: Path) -> None:
    """Makes the token signing key (`tokens/`) and the certificates (`tls/`), once per folder."""
    credentials.make_signing_key(folder / "tokens")
    now = datetime.datetime.now(datetime.UTC)
    credentials.make_certificates(folder / "tls", layout.CERTIFICATE_NAMES, now)


def server(name: str, values: Mapping[str, str], topics_file: Path = TOPICS_FILE) -> None:
    """Furnishes one server (postgres, kafka or s3; smtp needs nothing). Safe to repeat."""
    if name == "postgres":
        postgres.make_databases(values)
    elif name == "kafka":
        topics.create(values["KAFKA_BOOTSTRAP"], topics.read(topics_file))
    elif name == "s3":
        s3.make_bucket(values)


def _wait(name: str, answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_BOUND_S
    while not answers():
        if time.monotonic() > deadline:
            raise StackError(f"{name} does not answer after {READY_BOUND_S:.0f} s")
        time.sleep(POLL_S)


def main() -> None:
    """Waits for the servers that the environment names, then furnishes them."""
    values = os.environ
    try:
        make_credentials(Path(values["FARTHING_CREDENTIALS"]))
        _wait("PostgreSQL", lambda: postgres.answers(values))
        _wait("Kafka", lambda: kafka_process.answers(values["KAFKA_BOOTSTRAP"]))
        _wait("S3", lambda: s3.answers(values))
        for name in ("postgres", "kafka", "s3"):
            server(name, values)
    except StackError as error:
        sys.exit(f"farthing: {error}")
    except KeyError as error:
        sys.exit(f"farthing: {error} is not in the environment; `farthing stack env` shows what is expected")


if __name__ == "__main__":
    main()

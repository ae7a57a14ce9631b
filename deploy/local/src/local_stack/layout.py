"""What every stack is made of: the names of its parts and services, and its kept ports and passwords."""

import json
from dataclasses import dataclass
from pathlib import Path

from local_stack import credentials, ports

SERVICES = ("orders", "wallet", "subscriptions", "documents", "usage")
SERVERS = ("postgres", "kafka", "s3", "smtp")
PARTS = SERVERS + SERVICES
CERTIFICATE_NAMES = (*SERVICES, "operator")

_PORTS = (
    *("postgres", "kafka", "kafka_controller", "s3", "smtp"),
    *(f"{service}_{listener}" for service in SERVICES for listener in ("grpc", "internal_grpc", "metrics")),
)
_SECRETS = (
    *("postgres", "s3_access_key", "s3_secret_key"),
    *(f"{service}_{role}" for service in SERVICES for role in ("owner", "app")),
)


@dataclass(frozen=True)
class State:
    """What is chosen once per folder and kept: ports by name, passwords and keys by name."""

    ports: dict[str, int]
    secrets: dict[str, str]


def load(folder: Path) -> State | None:
    """Reads the kept state; None if this folder has never held a stack."""
    try:
        kept = json.loads((folder / "state.json").read_text())
    except FileNotFoundError:
        return None
    return State(kept["ports"], kept["secrets"])


def load_or_make(folder: Path) -> State:
    """Reads the kept state, or chooses free ports and passwords and keeps them (mode 600)."""
    state = load(folder)
    if state is not None:
        return state
    folder.mkdir(parents=True, exist_ok=True)
    state = State(
        dict(zip(_PORTS, ports.choose(len(_PORTS)), strict=True)),
        {name: credentials.password() for name in _SECRETS},
    )
    kept = json.dumps({"ports": state.ports, "secrets": state.secrets}, indent=2)
    credentials.write_private(folder / "state.json", kept.encode())
    return state

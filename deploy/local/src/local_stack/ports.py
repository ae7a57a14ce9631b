"""Chooses TCP ports on 127.0.0.1 that are free and that no outgoing connection will be given."""

import random
import socket
from pathlib import Path

LOWEST = 15_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def is_free(port: int) -> bool:
    """True if nothing listens on 127.0.0.1:`port` at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(count: int) -> list[int]:
    """Returns `count` different free ports, below the kernel's ephemeral range where it leaves room.

    A port inside that range could be taken by an outgoing connection while its server is down,
    and the server would then not come back on its kept port.
    """
    ceiling = _ephemeral_start()
    if ceiling - LOWEST < 20 * count:
        ceiling = 65_000
    candidates = list(range(LOWEST, ceiling))
    random.SystemRandom().shuffle(candidates)
    chosen = [port for port, _ in zip(filter(is_free, candidates), range(count), strict=False)]
    if len(chosen) < count:
        raise OSError(f"found only {len(chosen)} free ports of {count} between {LOWEST} and {ceiling}")
    return chosen


def _ephemeral_start() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768

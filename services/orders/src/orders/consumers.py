"""What orders hears: the organizations, of which it keeps a copy."""

from typing import Any

from directory.consumer import organization_consumer
from servicekit.consumers import Consumer


def consumers() -> list[Consumer[Any]]:
    """Of wallet's topic, everything but the organizations is passed over."""
    return [organization_consumer("orders")]

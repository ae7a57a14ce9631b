"""Wiring of `usage`."""

from directory.consumer import organization_consumer
from directory.scopes import Scopes
from servicekit.service import Runtime, ServiceDefinition, Wiring, run
from servicekit.settings import Settings


async def wire(runtime: Runtime[Settings]) -> Wiring:
    """The service from its parts."""
    return Wiring(consumers=[organization_consumer("usage")], scope_of=Scopes(runtime.database).of)


def main() -> None:
    """The console script `usage`."""
    run(ServiceDefinition("usage", Settings, wire))

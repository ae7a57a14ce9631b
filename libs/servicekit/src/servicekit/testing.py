"""For tests of services: a migrated database, and a caller."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from servicekit.call import Call, Principal, service_call, serving
from servicekit.database import Database
from servicekit.migrate import migrate
from servicekit.scope import Scope
from servicekit.service import migrations_of

_migrated: set[str] = set()


async def service_database(env: Mapping[str, str], service: str, *, pool_size: int = 5) -> Database:
    """The database of `service` as its runtime role, migrated. `env` is what the stack's `env()` gives."""
    owner = env[f"{service.upper()}_OWNER_DATABASE_URL"]
    if owner not in _migrated:
        await migrate(owner, migrations_of(service))
        _migrated.add(owner)
    return Database(env[f"{service.upper()}_DATABASE_URL"], pool_size=pool_size, application=f"test-{service}")


@contextmanager
def as_caller(
    organization_id: UUID,
    root_id: UUID | None,
    *,
    roles: tuple[str, ...] = ("boss",),
    name: str = "Test Caller",
    email: str = "caller@example.test",
    method: str = "/test/Method",
) -> Iterator[Call]:
    """Serves the block as a member of an organization; `root_id` None makes it the platform's."""
    principal = Principal(
        kind="member",
        subject=email,
        name=name,
        email=email,
        organization_id=organization_id,
        roles=frozenset(roles),
    )
    call = Call(principal, Scope(organization_id, root_id), method)
    with serving(call):
        yield call


@contextmanager
def as_service(service: str = "operator", method: str = "/test/Method") -> Iterator[Call]:
    """Serves the block as one of our own services."""
    call = service_call(service, method)
    with serving(call):
        yield call


async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0, every_s: float = 0.05) -> None:
    """Waits until `condition()` (sync or async) is true; AssertionError with its last answer after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return
        if time.monotonic() > end_s:
            raise AssertionError(f"still not so after {timeout_s} s; the last answer was {answer!r}")
        await asyncio.sleep(every_s)

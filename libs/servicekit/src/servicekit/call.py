"""Who is calling, and how far that call sees; set by the server for each call."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from servicekit.scope import EVERYTHING, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """A person who acts for an organization, or one of our own services."""

    kind: Literal["member", "service"]
    subject: str
    name: str = ""
    email: str = ""
    organization_id: UUID | None = None
    roles: frozenset[str] = field(default_factory=frozenset)
    service: str | None = None

    @property
    def requester(self) -> str:
        """Within whose request ids a `request_id` is unique (AIP-155)."""
        return str(self.organization_id) if self.kind == "member" else f"service:{self.service}"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one caller. `method` is the full name, such as `/farthing.orders.v1.OrderService/PlaceOrder`."""

    principal: Principal
    scope: Scope
    method: str


_current: ContextVar[Call] = ContextVar("farthing_call")


def current_call() -> Call:
    """The call being served. Raises LookupError outside of one."""
    return _current.get()


@contextmanager
def serving(call: Call) -> Iterator[None]:
    """Makes `call` the current one within the block."""
    token = _current.set(call)
    try:
        yield
    finally:
        _current.reset(token)


def service_call(service: str, method: str) -> Call:
    """The call of one of our own services, or of the operator."""
    principal = Principal(kind="service", subject=service, roles=frozenset({"service"}), service=service)
    return Call(principal, EVERYTHING, method)

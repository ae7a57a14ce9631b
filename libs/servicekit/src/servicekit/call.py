"""Who is calling, and how far that call sees; set by the server for each call."""

from contextvars import ContextVar, Token
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
    """One call of one caller. `method` is the full name, such as `/farthing.orders.v1.OrderService/PlaceOrder`.

    `origin` is where it came from: the connection's address, and whom a gateway says it speaks for.
    """

    principal: Principal
    scope: Scope
    method: str
    origin: str = ""


_current: ContextVar[Call] = ContextVar("farthing_call")


def current_call() -> Call:
    """The call being served. Raises LookupError outside of one."""
    return _current.get()


class serving:  # noqa: N801 - read as a word: `with serving(call):`
    """Makes `call` the current one within the block, and gives it."""

    __slots__ = ("_call", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._token: Token[Call] | None = None

    def __enter__(self) -> Call:
        self._token = _current.set(self._call)
        return self._call

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


def service_call(service: str, method: str) -> Call:
    """The call of one of our own services, or of the operator."""
    principal = Principal(kind="service", subject=service, roles=frozenset({"service"}), service=service)
    return Call(principal, EVERYTHING, method)

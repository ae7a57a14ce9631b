"""Every change can be asked for again safely (AIP-155, mission X2).

The reply is stored in the transaction of the change. A repeat gets the stored reply; the same id with another body
is refused; a repeat that comes while the first is under way waits for it.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from servicekit.call import current_call
from servicekit.database import Database
from servicekit.problems import already_exists
from servicekit.scope import EVERYTHING, Scope


class Repeatable(Protocol):
    """A request with a `request_id`."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


R = TypeVar("R", bound=Message)

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_FIND = text(
    "SELECT body_sha256, reply FROM requests "
    "WHERE root_id = :root_id AND requester = :requester AND method = :method AND request_id = :request_id"
)
_STORE = text(
    "INSERT INTO requests (root_id, requester, method, request_id, body_sha256, reply) "
    "VALUES (:root_id, :requester, :method, :request_id, :body_sha256, :reply)"
)


async def once(
    database: Database,
    root_id: UUID,
    request: Repeatable,
    reply_type: type[R],
    change: Callable[[AsyncConnection], Awaitable[R]],
    *,
    transaction_scope: Scope = EVERYTHING,
) -> R:
    """The reply of `change`, run in one transaction, once for each `request_id` of this caller and method.

    An exception of `change` rolls all of it back and stores nothing, so that a repeat tries again.
    """
    call = current_call()
    key = {
        "root_id": root_id,
        "requester": call.principal.requester,
        "method": call.method,
        "request_id": request.request_id,
    }
    body = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    async with database.transaction(transaction_scope) as connection:
        await connection.execute(_LOCK, {"key": _lock_of(*key.values())})
        stored = (await connection.execute(_FIND, key)).one_or_none()
        if stored is not None:
            if bytes(stored.body_sha256) != body:
                raise already_exists(
                    f"The request id '{request.request_id}' was used before with another body; take a new one.",
                    reason="REQUEST_ID_REUSED",
                )
            reply = reply_type()
            reply.ParseFromString(bytes(stored.reply))
            return reply
        reply = await change(connection)
        await connection.execute(_STORE, {**key, "body_sha256": body, "reply": reply.SerializeToString()})
        return reply


def _lock_of(*parts: object) -> int:
    digest = hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)

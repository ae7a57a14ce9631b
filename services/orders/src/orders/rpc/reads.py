"""What every list needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.paging import Cursor, Pager

# Untyped on purpose: the types in grpc's stubs lack what the library has.
Context = Any
PAGE_BYTES = 2_000_000
Row = TypeVar("Row")
M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Reads:
    """What reading needs."""

    database: Database
    clock: Clock
    pager: Pager

    def page(
        self,
        found: list[Row],
        size: int,
        to_message: Callable[[Row], M | None],
        place: Callable[[Row], Cursor],
        bound_to: Message | str = "",
    ) -> tuple[list[M], str]:
        """A page of what was found, with one row more than a page holds; and the token of the next page, or "".

        `place` is where a row stands in the list. What `to_message` gives None for is passed over, and the list goes on
        behind it. A page ends early where it would grow past what a gRPC message should hold.
        """
        messages: list[M] = []
        size_bytes = passed = 0
        for row in found[:size]:
            message = to_message(row)
            if message is not None:
                size_bytes += message.ByteSize()
                if messages and size_bytes > PAGE_BYTES:
                    break
                messages.append(message)
            passed += 1
        if passed == len(found):
            return messages, ""
        return messages, self.pager.encode(place(found[passed - 1]), bound_to=bound_to)


def without_page(request: M) -> M:
    """The request's filter alone: what a page token is bound to."""
    filter_ = type(request)()
    filter_.CopyFrom(request)
    for field in ("page_size", "page_token"):
        filter_.ClearField(field)
    return filter_

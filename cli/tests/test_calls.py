"""Streams of services, as commands read them."""

import asyncio
from typing import Any

import pytest
from farthing_cli.calls import stream
from google.protobuf.empty_pb2 import Empty


class Pieces:
    """A stream without an end, whose reader is interrupted just when its third piece has come."""

    def __init__(self, reader: "asyncio.Task[Any]") -> None:
        self.reader, self.count, self.cancelled = reader, 0, False

    async def read(self) -> int:
        self.count += 1
        await asyncio.sleep(0)
        if self.count == 3:
            self.reader.cancel()
        return self.count

    def cancel(self) -> None:
        self.cancelled = True


async def test_an_interruption_ends_a_stream_whenever_it_comes() -> None:
    """Given a stream that goes on and on. When its reader is interrupted as a piece comes. Then it ends, here and
    there."""
    opened: list[Pieces] = []

    def method(request: Any, metadata: Any) -> Pieces:
        current = asyncio.current_task()
        assert current is not None
        opened.append(Pieces(current))
        return opened[0]

    async def read() -> None:
        async for piece in stream(method, Empty(), "token"):
            assert piece < 100, "the interruption was lost"

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(read())
    assert opened[0].cancelled

"""A child process with its pipes on the event loop.

In place of `asyncio.create_subprocess_exec`, which on uvloop forks: gRPC's handlers of forks are called in the child
then, and now and then abort it before it becomes the program. `subprocess` uses vfork, which calls none.
"""

import asyncio
import subprocess
import tempfile
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import Sequence


class Child:
    """Write to `stdin`, read from `stdout`; what it says on stderr is kept for `said`.

    The process runs once this is made; `connect` comes before `stdin` and `stdout` are used, `end` last of all.
    """

    stdin: StreamWriter
    stdout: StreamReader

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
        )
        self._transports: list[asyncio.BaseTransport] = []

    async def connect(self, limit_bytes: int) -> None:
        """Puts its pipes on the running loop; `stdout` holds about `limit_bytes` before the child has to wait."""
        loop = asyncio.get_running_loop()
        self.stdout = StreamReader(limit=limit_bytes)
        reading, _ = await loop.connect_read_pipe(lambda: StreamReaderProtocol(self.stdout), self._process.stdout)
        self._transports.append(reading)
        # Of the two protocols that streams have, the one that is public; it knows when to pause.
        protocol = StreamReaderProtocol(StreamReader())
        writing, _ = await loop.connect_write_pipe(lambda: protocol, self._process.stdin)
        self._transports.append(writing)
        self.stdin = StreamWriter(writing, protocol, None, loop)

    def kill(self) -> None:
        """Ends it at once; nothing where it has ended."""
        self._process.kill()

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self._process.wait)

    def said(self) -> str:
        """The last 2,000 bytes of its stderr."""
        self._errors.seek(0)
        return self._errors.read()[-2000:].decode(errors="replace")

    async def end(self) -> None:
        """Kills it where it still runs, and closes all that belongs to it."""
        self.kill()
        for transport in self._transports:
            if transport.is_closing():
                continue
            # What is not written yet has nobody to read it.
            transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and len(self._transports) < 2:
                pipe.close()
        await self.wait()
        self._errors.close()

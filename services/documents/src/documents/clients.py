"""The archive and its gate, for the event loop: every call of the blocking archive runs in a thread of our own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

from documents.archive import Archive
from documents.domain import Archived
from documents.probe import Check, probe

T = TypeVar("T")
_THREADS = 16
_RECENT_BYTES_MAX = 32 * 1024 * 1024


class ArchiveUnfit(Exception):  # noqa: N818
    """The object store lets a locked document be deleted or changed: nothing is archived there."""


class ArchiveClient:
    """The archive without blocking. `ready` is set once the store has passed its probe; `open_gate` sees to that.

    What was just archived is kept for a moment, so that its mail need not fetch it back.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.ready = asyncio.Event()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="archive")
        self._recent: OrderedDict[bytes, bytes] = OrderedDict()
        self._recent_bytes = 0

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def open_gate(self, now: datetime) -> list[Check]:
        """Probes the store. Raises ArchiveUnfit naming each check that failed, ArchiveDown where it does not answer."""
        checks = await self._in_thread(lambda: probe(self.archive.endpoint, now))
        failed = [f"{check.name}: {check.found}" for check in checks if not check.ok]
        if failed:
            raise ArchiveUnfit(
                f"{self.archive.endpoint.url} must not be used as an archive; give another S3_ENDPOINT, with object "
                f"lock that holds. It failed: {'; '.join(failed)}"
            )
        self.ready.set()
        return checks

    async def put(self, key: str, content: bytes, retain_until: datetime, *, maybe_there: bool) -> Archived:
        """As `Archive.put`."""
        archived = await self._in_thread(lambda: self.archive.put(key, content, retain_until, maybe_there=maybe_there))
        self._remember(archived.sha256, content)
        return archived

    async def read(self, key: str, version: str, sha256: bytes) -> bytes:
        """As `Archive.read`, from memory where it was put a moment ago."""
        recent = self._recent.get(sha256)
        if recent is not None:
            return recent
        return await self._in_thread(lambda: self.archive.read(key, version, sha256))

    async def verified_pieces(self, key: str, version: str, sha256: bytes) -> AsyncIterator[bytes]:
        """As `Archive.verified_pieces`."""
        pieces = self.archive.verified_pieces(key, version, sha256)
        while (piece := await self._in_thread(lambda: next(pieces, None))) is not None:
            yield piece

    async def retain(self, key: str, version: str, until: datetime) -> None:
        """As `Archive.retain`."""
        await self._in_thread(lambda: self.archive.retain(key, version, until))

    async def retained_until(self, key: str, version: str) -> datetime | None:
        """As `Archive.retained_until`."""
        return await self._in_thread(lambda: self.archive.retained_until(key, version))

    async def sha256_of(self, key: str, version: str) -> bytes:
        """As `Archive.sha256_of`."""
        return await self._in_thread(lambda: self.archive.sha256_of(key, version))

    def link(self, key: str, version: str, name: str, expires_in: timedelta) -> str:
        """As `Archive.link`, which asks nobody."""
        return self.archive.link(key, version, name, expires_in)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _remember(self, sha256: bytes, content: bytes) -> None:
        if sha256 not in self._recent:
            self._recent[sha256] = content
            self._recent_bytes += len(content)
        while self._recent_bytes > _RECENT_BYTES_MAX:
            _, dropped = self._recent.popitem(last=False)
            self._recent_bytes -= len(dropped)

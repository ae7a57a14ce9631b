"""Comparing sorted streams side by side, each row held once: how databases are joined that cannot be."""

from collections.abc import AsyncIterator
from typing import Any

Group = tuple[list[Any], ...]


async def side_by_side(*streams: AsyncIterator[Any]) -> AsyncIterator[tuple[Any, Group]]:
    """Every key of streams sorted by `row["key"]`, with the rows that each stream has under it (often one, or none)."""
    heads = [await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        key = min(head["key"] for head in heads if head is not None)
        group: list[list[Any]] = []
        for index, stream in enumerate(streams):
            rows = []
            while (head := heads[index]) is not None and head["key"] == key:
                rows.append(head)
                heads[index] = await anext(stream, None)
            group.append(rows)
        yield key, tuple(group)

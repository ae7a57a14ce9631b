"""The other side of the row `receipts`: Typst alone. The sources are made before; a process a core compiles them."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC

import typst
from documents.convert import receipt_view, source_of_order
from documents.fonts import fonts
from documents.render import _TEMPLATES, _content, _source

from bench.receipts_world import CUSTOMER, PAID_AT, PARTNER, purchase


def measure(count: int) -> float:
    """Receipts a second, from the start of all processes' work to the end of the last."""
    processes = os.cpu_count() or 1
    sources = [_receipt(number) for number in range(1, count + 1)]
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(processes + 1), context.Barrier(processes + 1)
    workers = [
        context.Process(target=_work, args=(sources[each::processes], ready, done), daemon=True)
        for each in range(processes)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    started_s = time.perf_counter()
    done.wait()
    return count / (time.perf_counter() - started_s)


def _receipt(number: int) -> bytes:
    source = source_of_order(purchase().order_completed)
    view = receipt_view(
        source.type,
        source.payload,
        number=f"2026-{number:06d}",
        issued_at=PAID_AT,
        issuer=PARTNER,
        recipient=CUSTOMER,
    )
    return _source(_content(view))


def _work(sources: Sequence[bytes], ready, done) -> None:  # type: ignore[no-untyped-def]
    compiler = typst.Compiler(root=str(_TEMPLATES), font_paths=fonts(), ignore_system_fonts=True)
    options = {"format": "pdf", "timestamp": PAID_AT.astimezone(UTC), "pdf_tags": True, "pdf_standards": ["a-3b"]}
    compiler.compile(sources[0], **options)
    ready.wait()
    for source in sources:
        compiler.compile(source, **options)
    done.wait()


if __name__ == "__main__":
    print(json.dumps(measure(int(json.load(sys.stdin)))))

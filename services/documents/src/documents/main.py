"""The console script `documents`: migrate, serve, archive probe, archive verify."""

from __future__ import annotations


def main() -> None:
    """Runs the service. Imported late: each drawing worker imports this module again, and needs nothing of it."""
    from servicekit.service import run

    from documents.wiring import DEFINITION

    run(DEFINITION)

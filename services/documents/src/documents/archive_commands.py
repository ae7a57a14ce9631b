"""`documents archive probe` and `documents archive verify`, for operators and for the `farthing` command."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from servicekit.clock import SYSTEM_CLOCK
from servicekit.database import Database

from documents.archive import Archive, ArchiveDown, Endpoint
from documents.audit import Finding, verify
from documents.clients import ArchiveClient
from documents.probe import probe
from documents.settings import DocumentsSettings, from_environment

app = typer.Typer(help="The archive of documents.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def endpoint_of(settings: DocumentsSettings) -> Endpoint:
    """The object store of these settings."""
    return Endpoint(
        url=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        bucket=settings.s3_bucket,
        timeout_s=settings.s3_timeout_s,
    )


@app.command("probe")
def probe_command(as_json: AsJson = False) -> None:
    """Tries whether the object store's locks hold. Exit code 1 where one does not."""
    settings = from_environment()
    try:
        checks = probe(endpoint_of(settings), SYSTEM_CLOCK.now())
    except ArchiveDown as error:
        raise _down(settings, error) from error
    ok = all(check.ok for check in checks)
    results = [{"name": check.name, "ok": check.ok, "found": check.found} for check in checks]
    _answer(as_json, ok, {"endpoint": settings.s3_endpoint, "bucket": settings.s3_bucket, "checks": results})


@app.command("verify")
def verify_command(as_json: AsJson = False) -> None:
    """Compares every document with its manifest line, its object and its lock. Exit code 1 where one differs."""
    settings = from_environment()
    try:
        findings = asyncio.run(_verify(settings))
    except ArchiveDown as error:
        raise _down(settings, error) from error
    ok = all(finding.ok for finding in findings)
    results = [
        {
            "name": finding.name,
            "ok": finding.ok,
            "found": finding.compared,
            "fault_count": finding.fault_count,
            "faults": finding.faults,
        }
        for finding in findings
    ]
    _answer(as_json, ok, {"endpoint": settings.s3_endpoint, "bucket": settings.s3_bucket, "checks": results})


async def _verify(settings: DocumentsSettings) -> list[Finding]:
    database = Database(settings.database_url.get_secret_value(), pool_size=2, application="documents-verify")
    client = ArchiveClient(Archive(endpoint_of(settings)))
    try:
        return await verify(database, client, SYSTEM_CLOCK.now())
    finally:
        client.close()
        await database.close()


def _answer(as_json: bool, ok: bool, result: dict[str, Any]) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": ok, **result}, ensure_ascii=False))
    else:
        typer.echo(f"archive {result['endpoint']}, bucket {result['bucket']}")
        for check in result["checks"]:
            typer.echo(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']}: {check['found']}")
            for fault in check.get("faults", ()):
                typer.echo(f"        {fault}")
    if not ok:
        raise typer.Exit(1)


def _down(settings: DocumentsSettings, error: ArchiveDown) -> typer.Exit:
    typer.echo(f"{error}\nIs S3_ENDPOINT right? It is {settings.s3_endpoint}", err=True)
    return typer.Exit(1)

"""Wires `documents`: what it serves, hears and does by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from directory.scopes import Scopes
from farthing.documents.v1 import documents_pb2
from farthing.documents.v1.documents_pb2_grpc import add_DocumentServiceServicer_to_server
from servicekit.server import Servicer
from servicekit.service import Runtime, ServiceDefinition, Wiring

from documents.archive import Archive
from documents.archive_commands import app as archive_app
from documents.archive_commands import endpoint_of
from documents.clients import ArchiveClient
from documents.consumers import consumers
from documents.jobs import Archiver, Gatekeeper, Keeper, NoticeBag, Postman, ReceiptBag, jobs
from documents.mailer import Mailer, MailServer
from documents.rendering import Renderer
from documents.rpc import DocumentRpc
from documents.settings import DocumentsSettings

WORKER_CONNECTIONS = 6


async def wire(runtime: Runtime[DocumentsSettings]) -> Wiring:
    """Builds everything from the settings."""
    settings, database, clock = runtime.settings, runtime.database, runtime.clock
    archive = ArchiveClient(Archive(endpoint_of(settings), public_url=settings.s3_public_endpoint))
    runtime.closing.callback(archive.close)
    renderer = await runtime.closing.enter_async_context(Renderer(settings.render_processes))
    mailer = Mailer(
        MailServer(
            settings.smtp_host,
            settings.smtp_port,
            username=settings.smtp_username,
            password=settings.smtp_password.get_secret_value(),
            tls=settings.smtp_tls,
            timeout_s=settings.smtp_timeout_s,
        ),
        settings.mail_from,
        connections=settings.smtp_connections,
        messages=settings.smtp_messages_per_connection,
    )
    runtime.closing.push_async_callback(mailer.close)
    archived = asyncio.Event()
    pool = await database.pool(WORKER_CONNECTIONS)
    rpc = DocumentRpc(database, archive, runtime.pager, clock, timedelta(minutes=settings.download_url_minutes))
    return Wiring(
        servicers=[
            Servicer(
                add_DocumentServiceServicer_to_server,
                rpc,
                documents_pb2.DESCRIPTOR.services_by_name["DocumentService"],
            )
        ],
        consumers=consumers(settings.mail_domain),
        jobs=jobs(
            Archiver(pool, archive, renderer, settings=settings, clock=clock, archived=archived),
            Postman(pool, ReceiptBag(archive), mailer, settings=settings, clock=clock, filled=archived),
            Postman(pool, NoticeBag(), mailer, settings=settings, clock=clock, filled=asyncio.Event()),
            Keeper(pool, archive, settings=settings, clock=clock),
            Gatekeeper(archive, renderer, clock),
        ),
        scope_of=Scopes(database).of,
    )


DEFINITION = ServiceDefinition(
    name="documents", settings=DocumentsSettings, wire=wire, commands={"archive": archive_app}
)

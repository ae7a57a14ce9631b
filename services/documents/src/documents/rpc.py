"""DocumentService: documents, downloads, links, notices. There is nothing here that changes or deletes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import structlog
from farthing.documents.v1 import documents_pb2 as messages
from farthing.documents.v1.documents_pb2_grpc import DocumentServiceServicer
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database, driver
from servicekit.ids import new_id
from servicekit.instants import boundary
from servicekit.paging import Pager, page_size
from servicekit.problems import Problem, not_found, precondition, unavailable

from documents.archive import ArchiveDamaged, ArchiveDown, ArchiveRefused
from documents.clients import ArchiveClient
from documents.convert import document_message, notice_to_message
from documents.domain import MEDIA_TYPE, DocumentState, DocumentType, NoticeKind, file_name
from documents.store import notices, receipts
from documents.store.rows import Row

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DocumentRpc(DocumentServiceServicer):
    """Callers see what their organization, or one below it, received or issued (mission O2)."""

    def __init__(
        self, database: Database, archive: ArchiveClient, pager: Pager, clock: Clock, link_life: timedelta
    ) -> None:
        self._database = database
        self._archive = archive
        self._pager = pager
        self._clock = clock
        self._link_life = link_life

    async def ListDocuments(
        self, request: messages.ListDocumentsRequest, context: Context
    ) -> messages.ListDocumentsResponse:
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.filter)
        wanted = _filter(request.filter, cursor)
        async with self._database.transaction(current_call().scope) as connection:
            rows = await receipts.list_documents(await driver(connection), wanted, size + 1)
        token = ""
        if len(rows) > size:
            token = self._pager.encode(_place(rows[size - 1], "issued_at"), bound_to=request.filter)
        found = [document_message(row) for row in rows[:size]]
        return messages.ListDocumentsResponse(documents=found, next_page_token=token)

    async def ListNotices(self, request: messages.ListNoticesRequest, context: Context) -> messages.ListNoticesResponse:
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.filter)
        wanted = _notice_filter(request.filter, cursor)
        async with self._database.transaction(current_call().scope) as connection:
            rows = await notices.list_notices(await driver(connection), wanted, size + 1)
        token = ""
        if len(rows) > size:
            token = self._pager.encode(_place(rows[size - 1], "occurred_at"), bound_to=request.filter)
        found = [notice_to_message(row) for row in rows[:size]]
        return messages.ListNoticesResponse(notices=found, next_page_token=token)

    async def GetDocument(self, request: messages.GetDocumentRequest, context: Context) -> messages.Document:
        return document_message(await self._row(request.id))

    async def DownloadDocument(
        self, request: messages.DownloadDocumentRequest, context: Context
    ) -> AsyncIterator[messages.DownloadDocumentResponse]:
        row = await self._archived_row(request.id)
        info: messages.FileInfo | None = messages.FileInfo(
            file_name=file_name(row["number"]),
            media_type=MEDIA_TYPE,
            size_bytes=row["size_bytes"],
            sha256=row["sha256"],
        )
        try:
            async for piece in self._archive.verified_pieces(row["object_key"], row["object_version"], row["sha256"]):
                yield messages.DownloadDocumentResponse(info=info, data=piece)
                info = None
        except ArchiveDown as error:
            log.warning("download failed", document_id=request.id, error=str(error))
            raise unavailable("The archive does not answer now; download the document again in a moment.") from error
        except (ArchiveDamaged, ArchiveRefused) as error:
            raise _damaged(request.id, error) from error

    async def CreateDownloadUrl(
        self, request: messages.CreateDownloadUrlRequest, context: Context
    ) -> messages.DownloadUrl:
        row = await self._archived_row(request.id)
        url = self._archive.link(row["object_key"], row["object_version"], file_name(row["number"]), self._link_life)
        expires_at = Timestamp()
        expires_at.FromDatetime(self._clock.now() + self._link_life)
        return messages.DownloadUrl(url=url, expires_at=expires_at)

    async def _row(self, document_id: str) -> Row:
        async with self._database.transaction(current_call().scope) as connection:
            row = await receipts.get_document(await driver(connection), UUID(document_id))
        if row is None:
            raise not_found(f"document {document_id}")
        return row

    async def _archived_row(self, document_id: str) -> Row:
        row = await self._row(document_id)
        if row["state"] != DocumentState.ARCHIVED:
            raise precondition(
                "DOCUMENT_NOT_READY",
                f"Document {row['number']} has its number but is not in the archive yet; repeat in a moment.",
                document_id=document_id,
            )
        return row


def _damaged(document_id: str, error: Exception) -> Problem:
    incident = str(new_id())
    log.error("the archive is damaged", document_id=document_id, incident=incident, error=str(error))
    return Problem(
        grpc.StatusCode.DATA_LOSS,
        "INTERNAL",
        f"The archived file of document {document_id} is not what was archived; tell the operator incident {incident}.",
        {"incident": incident},
    )


def _place(row: Row, column: str) -> dict[str, str | int]:
    return {"at_us": (row[column] - _EPOCH) // _MICROSECOND, "id": str(row["id"])}


def _before(cursor: dict[str, Any] | None) -> tuple[datetime, UUID] | None:
    return None if cursor is None else (_EPOCH + cursor["at_us"] * _MICROSECOND, UUID(cursor["id"]))


def _notice_filter(asked: messages.NoticeFilter, cursor: dict[str, Any] | None) -> notices.NoticeFilter:
    kind = messages.NoticeKind.Name(asked.kind).removeprefix("NOTICE_KIND_") if asked.kind else ""
    return notices.NoticeFilter(
        organization_id=_id(asked.organization_id),
        kind=NoticeKind(kind) if kind else None,
        order_id=_id(asked.order_id),
        top_up_id=_id(asked.top_up_id),
        occurred_from=boundary(asked, "occurred_from", "filter."),
        occurred_to=boundary(asked, "occurred_to", "filter."),
        before=_before(cursor),
    )


def _filter(asked: messages.DocumentFilter, cursor: dict[str, Any] | None) -> receipts.DocumentFilter:
    kind = messages.DocumentType.Name(asked.type).removeprefix("DOCUMENT_TYPE_") if asked.type else ""
    return receipts.DocumentFilter(
        organization_id=_id(asked.organization_id),
        type=DocumentType(kind) if kind else None,
        order_id=_id(asked.order_id),
        top_up_id=_id(asked.top_up_id),
        issued_from=boundary(asked, "issued_from", "filter."),
        issued_to=boundary(asked, "issued_to", "filter."),
        before=_before(cursor),
    )


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None

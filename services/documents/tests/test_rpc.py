"""What callers get: their own documents and nothing of others, whole files, links."""

import asyncio
import hashlib
import urllib.error
import urllib.request
from datetime import timedelta
from uuid import UUID, uuid4

import grpc
import pytest
from documents.archive import ArchiveDamaged
from documents.rpc import DocumentRpc
from farthing.documents.v1 import documents_pb2 as messages
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.clock import SYSTEM_CLOCK
from servicekit.paging import Pager
from servicekit.problems import Problem
from servicekit.testing import as_caller


@pytest.fixture
def rpc(world, workers) -> DocumentRpc:
    return DocumentRpc(world.database, workers.archive, Pager("key"), SYSTEM_CLOCK, timedelta(minutes=10))


def calling(organization, *, platform: bool = False):
    root = None if platform else UUID(organization.root_id)
    return as_caller(UUID(organization.id), root)


async def listed(rpc, **request) -> list[messages.Document]:
    answer = await rpc.ListDocuments(messages.ListDocumentsRequest(**request), None)
    return list(answer.documents)


def fetched(url: str) -> tuple[bytes, str]:
    """What anybody with the link gets: content and disposition."""
    with urllib.request.urlopen(url) as answer:
        return answer.read(), answer.headers["Content-Disposition"]


async def test_who_sees_what(world, workers, rpc) -> None:
    """Given receipts at two tiers and of a sibling, when each lists, then it sees its own and those below."""
    sibling = await world.organization("Sibling", world.partner)
    stranger = await world.organization("Stranger", world.platform)
    await world.hear(world.order())
    await world.hear(world.order(sibling))
    await world.hear(world.top_up(world.partner))
    await workers.settle()

    async def seen(organization, *, platform: bool = False) -> set[tuple[str, str]]:
        with calling(organization, platform=platform):
            return {(each.issuer_id, each.recipient_id) for each in await listed(rpc)}

    to_customer = (world.partner.id, world.customer.id)
    to_sibling = (world.partner.id, sibling.id)
    to_partner = (world.platform.id, world.partner.id)
    assert await seen(world.customer) == {to_customer}
    assert await seen(sibling) == {to_sibling}
    assert await seen(world.partner) == {to_customer, to_sibling, to_partner}
    assert await seen(world.platform, platform=True) == {to_customer, to_sibling, to_partner}
    assert await seen(stranger) == set()


async def test_foreign_and_unknown_are_told_the_same(world, workers, rpc) -> None:
    """Given another tenant's document, when it is asked for in every way, then it is as if it did not exist."""
    sibling = await world.organization("Sibling", world.partner)
    await world.hear(world.order())
    await workers.settle()
    with calling(world.customer):
        (document,) = await listed(rpc)
    with calling(sibling):
        for document_id in (document.id, str(uuid4())):
            for call in (
                rpc.GetDocument(messages.GetDocumentRequest(id=document_id), None),
                rpc.CreateDownloadUrl(messages.CreateDownloadUrlRequest(id=document_id), None),
                anext(rpc.DownloadDocument(messages.DownloadDocumentRequest(id=document_id), None)),
            ):
                with pytest.raises(Problem) as refused:
                    await call
                assert refused.value.code is grpc.StatusCode.NOT_FOUND
                assert refused.value.message == f"There is no document {document_id}, or it is not yours to see."
        filtered = messages.DocumentFilter(order_id=document.order_id, organization_id=world.customer.id)
        assert await listed(rpc, filter=filtered) == []


async def test_not_archived_yet(world, rpc) -> None:
    """Given a document that has only its number, when it is downloaded, then the answer is: not ready, repeat."""
    event = world.order()
    await world.hear(event)
    with calling(world.customer):
        (document,) = await listed(rpc)
        assert document.state == messages.Document.STATE_ISSUED
        with pytest.raises(Problem) as refused:
            await rpc.CreateDownloadUrl(messages.CreateDownloadUrlRequest(id=document.id), None)
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.reason == "DOCUMENT_NOT_READY"


async def test_download_and_link_give_the_archived_bytes(world, workers, rpc) -> None:
    """Given an archived document, when it is streamed, and fetched by link without a token, then both have its hash."""
    await world.hear(world.order())
    await workers.settle()
    with calling(world.customer):
        (document,) = await listed(rpc)
        request = messages.DownloadDocumentRequest(id=document.id)
        pieces = [piece async for piece in rpc.DownloadDocument(request, None)]
        link = await rpc.CreateDownloadUrl(messages.CreateDownloadUrlRequest(id=document.id), None)
    assert pieces[0].info.file_name == document.file_name == "R-2026-000001.pdf"
    assert pieces[0].info.sha256 == document.sha256
    assert not any(piece.HasField("info") for piece in pieces[1:])
    streamed = b"".join(piece.data for piece in pieces)
    assert len(streamed) == pieces[0].info.size_bytes == document.size_bytes
    assert hashlib.sha256(streamed).digest() == document.sha256
    content, disposition = await asyncio.to_thread(fetched, link.url)
    assert content == streamed
    assert "R-2026-000001.pdf" in disposition
    with pytest.raises(urllib.error.HTTPError):
        await asyncio.to_thread(fetched, link.url.replace(document.object_key, "other.example/1.pdf"))


async def test_a_damaged_file_never_arrives_whole(world, workers, rpc) -> None:
    """Given bytes that do not have the archived hash, when they are streamed, then the last piece is held back."""
    await world.hear(world.order())
    await workers.settle()
    with calling(world.customer):
        (document,) = await listed(rpc)
    received = b""
    with pytest.raises(ArchiveDamaged):
        async for piece in workers.archive.verified_pieces(document.object_key, document.object_version, bytes(32)):
            received += piece
    assert len(received) < document.size_bytes


async def test_pages_hold_every_document_once(world, workers, rpc) -> None:
    """Given seven documents of one instant, when they are listed by three, then each comes once."""
    for _ in range(7):
        await world.hear(world.order())
    found: list[str] = []
    token = ""
    with calling(world.partner):
        while True:
            answer = await rpc.ListDocuments(messages.ListDocumentsRequest(page_size=3, page_token=token), None)
            found += [document.number for document in answer.documents]
            token = answer.next_page_token
            if not token:
                break
            used = token
    assert sorted(found, reverse=True) == found
    assert len(set(found)) == 7
    with calling(world.customer), pytest.raises(Problem) as refused:
        await rpc.ListDocuments(messages.ListDocumentsRequest(page_size=3, page_token=used), None)
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


async def test_filters(world, rpc) -> None:
    """Given a purchase and a top-up, when filtered by type, order and time, then only what matches comes."""
    order, top_up = world.order(), world.top_up()
    await world.hear(order)
    await world.hear(top_up)
    order_id = order.order_completed.order.id
    paid_at = order.order_completed.order.paid_at
    with calling(world.customer):
        by_type = await listed(rpc, filter=messages.DocumentFilter(type=messages.DOCUMENT_TYPE_TOP_UP_RECEIPT))
        assert [each.top_up_id for each in by_type] == [top_up.top_up_settled.top_up.id]
        by_order = await listed(rpc, filter=messages.DocumentFilter(order_id=order_id))
        assert [each.order_id for each in by_order] == [order_id]
        assert await listed(rpc, filter=messages.DocumentFilter(top_up_id=order_id)) == []
        assert await listed(rpc, filter=messages.DocumentFilter(issued_to=paid_at)) == []
        assert len(await listed(rpc, filter=messages.DocumentFilter(issued_from=paid_at))) == 2


async def test_the_first_and_last_microsecond_of_a_filter(world, rpc) -> None:
    """Given a range that begins or ends between two microseconds, when listed, then the one before it is outside."""
    event = world.order()
    await world.hear(event)
    later = Timestamp()
    later.CopyFrom(event.order_completed.order.paid_at)
    later.nanos += 1
    with calling(world.customer):
        assert len(await listed(rpc, filter=messages.DocumentFilter(issued_to=later))) == 1
        assert await listed(rpc, filter=messages.DocumentFilter(issued_from=later)) == []


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(10**15, 0), (-(2**63), 0), (253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)],
)
async def test_what_is_no_instant_is_refused(world, rpc, seconds: int, nanos: int) -> None:
    """Given what is no instant, when documents or notices are filtered by it, then it says which field, and why."""
    never = Timestamp(seconds=seconds, nanos=nanos)
    documents = (messages.DocumentFilter(issued_from=never), messages.DocumentFilter(issued_to=never))
    notices = (messages.NoticeFilter(occurred_from=never), messages.NoticeFilter(occurred_to=never))
    fields = []
    with calling(world.customer):
        for call in (
            *(rpc.ListDocuments(messages.ListDocumentsRequest(filter=each), None) for each in documents),
            *(rpc.ListNotices(messages.ListNoticesRequest(filter=each), None) for each in notices),
        ):
            with pytest.raises(Problem) as refused:
                await call
            assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
            fields += refused.value.fields
    assert fields == [f"filter.{name}" for name in ("issued_from", "issued_to", "occurred_from", "occurred_to")]

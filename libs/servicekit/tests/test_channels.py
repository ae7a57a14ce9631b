"""Given a channel to another service, then it shows our certificate and hands on the trace."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from farthing.documents.v1 import documents_pb2, documents_pb2_grpc
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from farthing.wallet.v1 import wallets_pb2, wallets_pb2_grpc
from servicekit.call import current_call
from servicekit.channels import service_channel
from servicekit.server import Servicer
from servicekit.telemetry import current_traceparent, span

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
DOCUMENT_ID = "019ab000-0000-7000-8000-000000000001"


class Orders(orders_pb2_grpc.OrderServiceServicer):
    async def GetOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        return orders_pb2.Order(id=str(current_call().principal.service), number=current_traceparent())


class Documents(documents_pb2_grpc.DocumentServiceServicer):
    async def DownloadDocument(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield documents_pb2.DownloadDocumentResponse(data=str(current_traceparent()).encode())


class Wallets(wallets_pb2_grpc.WalletServiceServicer):
    async def PostCharges(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            result = wallets_pb2.ChargeResult(request_id=str(current_traceparent()))
            yield wallets_pb2.PostChargesResponse(results=[result])


@pytest.fixture
async def channel(house: Any) -> AsyncIterator[Any]:
    """From `orders` to a server of ours."""
    target = await house.serve(
        Servicer(
            orders_pb2_grpc.add_OrderServiceServicer_to_server,
            Orders(),
            orders_pb2.DESCRIPTOR.services_by_name["OrderService"],
        ),
        Servicer(
            documents_pb2_grpc.add_DocumentServiceServicer_to_server,
            Documents(),
            documents_pb2.DESCRIPTOR.services_by_name["DocumentService"],
        ),
        Servicer(
            wallets_pb2_grpc.add_WalletServiceServicer_to_server,
            Wallets(),
            wallets_pb2.DESCRIPTOR.services_by_name["WalletService"],
        ),
    )
    pair = {
        "tls_cert_file": house.certificates / "orders.pem",
        "tls_key_file": house.certificates / "orders.key",
    }
    async with service_channel(house.settings(**pair), target.internal_grpc_bind) as made:
        yield made


async def test_every_kind_of_call_hands_on_the_trace(channel: Any) -> None:
    """Given work with a trace, When it calls another service, unary or streaming, Then that one continues the trace."""
    with span("work", TRACEPARENT):
        order = await orders_pb2_grpc.OrderServiceStub(channel).GetOrder(orders_pb2.GetOrderRequest(id="x"), timeout=5)
        download = documents_pb2_grpc.DocumentServiceStub(channel).DownloadDocument(
            documents_pb2.DownloadDocumentRequest(id=DOCUMENT_ID), timeout=5
        )
        (piece,) = [reply async for reply in download]
        batches = wallets_pb2_grpc.WalletServiceStub(channel).PostCharges(
            iter([wallets_pb2.PostChargesRequest()]), timeout=5
        )
        (answer,) = [reply async for reply in batches]

    assert (order.id, order.number) == ("orders", TRACEPARENT)
    assert piece.data.decode() == TRACEPARENT
    assert answer.results[0].request_id == TRACEPARENT


async def test_a_call_outside_of_any_work_needs_no_trace(channel: Any) -> None:
    """Given no trace, When a service calls another, Then that one begins a trace of its own."""
    order = await orders_pb2_grpc.OrderServiceStub(channel).GetOrder(orders_pb2.GetOrderRequest(id="x"), timeout=5)

    assert order.number.startswith("00-")


def test_without_a_certificate_there_is_no_channel(house: Any) -> None:
    """Given settings without our certificate, When a channel is asked for, Then the error names the variables."""
    settings = house.settings(tls_cert_file=None, internal_grpc_bind=None)

    with pytest.raises(ValueError, match="TLS_CERT_FILE"):
        service_channel(settings, "127.0.0.1:1")

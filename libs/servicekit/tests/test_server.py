"""Given a real server, then input is checked, errors speak, and limits hold."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from farthing.documents.v1 import documents_pb2, documents_pb2_grpc
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from farthing.wallet.v1 import wallets_pb2, wallets_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from servicekit.problems import not_found, precondition, problem_of
from servicekit.server import Servicer, _with_nul

SECRET = "SELECT secret FROM hidden_table"


class Orders(orders_pb2_grpc.OrderServiceServicer):
    """`GetOrder` does what the id says."""

    def __init__(self) -> None:
        self.finished: list[str] = []

    async def PlaceOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        return orders_pb2.Order(number="F-1")

    async def GetOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        match request.id.partition(" "):
            case ("sleep", _, seconds):
                await asyncio.sleep(float(seconds))
            case ("missing", _, _):
                raise not_found("order 'F-1'")
            case ("refuse", _, _):
                raise precondition("INSUFFICIENT_CREDIT", "Not enough credit.", wallet_id="w-1")
            case ("crash", _, _):
                raise RuntimeError(SECRET)
            case ("refused", _, _):
                raise ConnectionRefusedError(SECRET)
            case ("nul" | "nul\0", _, _):
                raise asyncpg.CharacterNotInRepertoireError(SECRET)
            case ("json\0", _, _):
                raise asyncpg.UntranslatableCharacterError(SECRET)
        self.finished.append(request.id)
        return orders_pb2.Order(number=request.id)


class Documents(documents_pb2_grpc.DocumentServiceServicer):
    """Streams three pieces; the id says where it breaks."""

    async def DownloadDocument(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for piece in (b"one", b"two", b"three"):
            yield documents_pb2.DownloadDocumentResponse(data=piece)
        if request.id.endswith("dead"):
            raise not_found("document")


class Wallets(wallets_pb2_grpc.WalletServiceServicer):
    """Answers each batch."""

    async def PostCharges(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            yield wallets_pb2.PostChargesResponse()


class Knocker:
    """A caller with a good token, and the servicer it calls."""

    def __init__(self, house: Any, settings: Any, channel: Any, orders: Orders) -> None:
        self.house, self.settings, self.channel, self.servicer = house, settings, channel, orders
        self.orders = orders_pb2_grpc.OrderServiceStub(channel)
        self.documents = documents_pb2_grpc.DocumentServiceStub(channel)
        self.metadata = house.metadata()

    async def get(self, what: str, timeout: float | None = 10) -> orders_pb2.Order:
        return await self.orders.GetOrder(orders_pb2.GetOrderRequest(id=what), metadata=self.metadata, timeout=timeout)

    async def refusal(self, work: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await work
        return refused.value


async def knocker(house: Any, **changes: Any) -> Knocker:
    servicer = Orders()
    settings = await house.serve(
        Servicer(
            orders_pb2_grpc.add_OrderServiceServicer_to_server,
            servicer,
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
        **changes,
    )
    return Knocker(house, settings, await house.public(settings), servicer)


def details(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """The detail of type `kind` in an error, or None."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        found = kind()
        if detail.Unpack(found):
            return found
    return None


async def test_invalid_fields_are_named_with_their_paths(house: Any) -> None:
    """Given a request with faults in nested and repeated fields, When it is sent, Then each field is named."""
    door = await knocker(house)
    good = orders_pb2.NewOrderItem(sku_id=str(uuid4()), quantity=1)
    bad = orders_pb2.NewOrderItem(sku_id="x", quantity=0, proxies=[orders_pb2.Proxy(address="a.test", port=70_000)])
    request = orders_pb2.PlaceOrderRequest(items=[good, bad])

    refused = await door.refusal(door.orders.PlaceOrder(request, metadata=door.metadata, timeout=5))

    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    fields = {violation.field for violation in details(refused, error_details_pb2.BadRequest).field_violations}
    assert fields == {"request_id", "items[1].sku_id", "items[1].quantity", "items[1].proxies[0].port"}
    assert details(refused, error_details_pb2.ErrorInfo).reason == "INVALID_ARGUMENT"


async def test_a_valid_request_is_served(house: Any) -> None:
    """Given a request without faults, When it is sent, Then the handler answers."""
    door = await knocker(house)
    item = orders_pb2.NewOrderItem(sku_id=str(uuid4()), quantity=1)
    request = orders_pb2.PlaceOrderRequest(request_id="r-1", items=[item])

    assert (await door.orders.PlaceOrder(request, metadata=door.metadata, timeout=5)).number == "F-1"


async def test_a_problem_carries_its_reason(house: Any) -> None:
    """Given a handler that refuses, When it is called, Then status, reason, domain and metadata arrive."""
    door = await knocker(house)

    refused = await door.refusal(door.get("refuse"))

    info = details(refused, error_details_pb2.ErrorInfo)
    assert refused.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert (info.reason, info.domain, dict(info.metadata)) == ("INSUFFICIENT_CREDIT", "farthing", {"wallet_id": "w-1"})
    problem = problem_of(refused)
    assert problem is not None
    assert (problem.code, problem.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_CREDIT")


async def test_an_unexpected_error_tells_nothing_but_its_number(house: Any) -> None:
    """Given a handler with a bug, When it is called, Then the caller gets INTERNAL and a fault id, and no inside."""
    door = await knocker(house)

    refused = await door.refusal(door.get("crash"))

    info = details(refused, error_details_pb2.ErrorInfo)
    assert refused.code() == grpc.StatusCode.INTERNAL
    assert info.metadata["fault_id"] in str(refused.details())
    everything = str(refused.details()) + str(refused.trailing_metadata())
    assert "hidden_table" not in everything
    assert "RuntimeError" not in everything
    assert "Traceback" not in everything


async def test_a_lost_dependency_may_be_tried_again(house: Any) -> None:
    """Given a handler whose database is gone, When it is called, Then the answer is UNAVAILABLE and tells no more."""
    door = await knocker(house)

    refused = await door.refusal(door.get("refused"))

    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    assert "hidden_table" not in str(refused.details())


async def test_a_text_that_postgresql_cannot_hold_is_the_callers_fault(house: Any) -> None:
    """Given a text with U+0000, which PostgreSQL refuses, When it is sent, Then the answer is INVALID_ARGUMENT."""
    door = await knocker(house)

    assert (await door.refusal(door.get("nul"))).code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("written", ["nul\0", "json\0"])
async def test_the_text_that_postgresql_cannot_hold_is_named(house: Any, written: str) -> None:
    """Given U+0000 in a field, for a text or within JSON, When it is refused, Then the answer names the field."""
    door = await knocker(house)

    refused = await door.refusal(door.get(written))

    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert str(refused.details()).startswith("id has the character U+0000")


def test_a_text_is_found_wherever_it_stands() -> None:
    """Given U+0000 deep within lists of messages, When it is looked for, Then the whole path is named."""
    request = orders_pb2.PlaceOrderRequest(request_id="a\0")
    request.items.add()
    request.items.add().proxies.add(location="b\0")

    assert list(_with_nul(request, "")) == ["request_id", "items[1].proxies[0].location"]


async def test_a_call_ends_at_its_deadline(house: Any) -> None:
    """Given a slow handler, When the caller's deadline passes, or ours for want of one, Then the work ends."""
    door = await knocker(house, max_deadline_s=0.3)

    theirs = await door.refusal(door.get("sleep 5", timeout=0.2))
    ours = await door.refusal(door.get("sleep 5", timeout=None))
    await asyncio.sleep(0.3)

    assert theirs.code() == ours.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "repeat" in str(ours.details())
    assert door.servicer.finished == []


async def test_a_message_too_large_is_refused(house: Any) -> None:
    """Given a limit of 64 KB a message, When a larger one comes, Then it is refused before it is read."""
    door = await knocker(house, max_message_bytes=65_536)

    refused = await door.refusal(door.get("x" * 70_000))

    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await door.get("fine")).number == "fine"


async def test_more_calls_than_the_limit_are_refused(house: Any) -> None:
    """Given a limit of 4 calls at once, When 12 come, Then some are refused at once, and later ones are served."""
    door = await knocker(house, max_concurrent_rpcs=4)

    answers = await asyncio.gather(*(door.get("sleep 0.5") for _ in range(12)), return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert 1 <= len(door.servicer.finished) <= 6
    assert (await door.get("fine")).number == "fine"


async def test_a_stream_passes_the_gate_too(house: Any) -> None:
    """Given a streamed reply, When it is asked for with and without token, with a good and a bad id, Then the same
    rules hold, and an error at the end of the stream keeps its reason."""
    door = await knocker(house)

    async def download(document_id: str, metadata: Any) -> bytes:
        request = documents_pb2.DownloadDocumentRequest(id=document_id)
        pieces = [reply.data async for reply in door.documents.DownloadDocument(request, metadata=metadata, timeout=5)]
        return b"".join(pieces)

    assert await download(str(uuid4())[:-4] + "beef", door.metadata) == b"onetwothree"
    assert (await door.refusal(download(str(uuid4()), None))).code() == grpc.StatusCode.UNAUTHENTICATED
    assert (await door.refusal(download("nonsense", door.metadata))).code() == grpc.StatusCode.INVALID_ARGUMENT
    late = await door.refusal(download(str(uuid4())[:-4] + "dead", door.metadata))
    assert details(late, error_details_pb2.ErrorInfo).reason == "NOT_FOUND"


async def test_every_message_of_a_request_stream_is_checked(house: Any) -> None:
    """Given a stream of batches, When one is not valid, Then the ones before it are answered and it ends the stream."""
    door = await knocker(house)
    stub = wallets_pb2_grpc.WalletServiceStub(await house.internal(door.settings, "orders"))
    call = stub.PostCharges(timeout=5)

    await call.write(wallets_pb2.PostChargesRequest())
    assert await call.read() == wallets_pb2.PostChargesResponse()
    await call.write(wallets_pb2.PostChargesRequest(charges=[wallets_pb2.Charge()] * 1001))

    refused = await door.refusal(call.read())
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    fields = {violation.field for violation in details(refused, error_details_pb2.BadRequest).field_violations}
    assert fields == {"charges"}


async def test_a_service_whose_descriptor_is_missing_is_closed(house: Any) -> None:
    """Given a servicer that was wired with another's descriptor, When it is called, Then nobody gets in."""
    settings = await house.serve(
        Servicer(
            orders_pb2_grpc.add_OrderServiceServicer_to_server,
            Orders(),
            documents_pb2.DESCRIPTOR.services_by_name["DocumentService"],
        )
    )
    stub = orders_pb2_grpc.OrderServiceStub(await house.public(settings))

    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetOrder(orders_pb2.GetOrderRequest(id="x"), metadata=house.metadata(), timeout=5)


async def names_by_reflection(channel: grpc.aio.Channel) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
    return [service.name async for reply in call for service in reply.list_services_response.service]


async def test_reflection_is_for_development_alone(house: Any) -> None:
    """Given a server in development and one in production, When reflection is asked, Then only the first answers."""
    development = await knocker(house)
    pair = {
        "public_tls_cert_file": house.certificates / "wallet.pem",
        "public_tls_key_file": house.certificates / "wallet.key",
    }
    production = await house.serve(farthing_env="production", page_token_key="k" * 32, **pair)
    credentials = grpc.ssl_channel_credentials((house.certificates / "ca.pem").read_bytes())

    assert "farthing.orders.v1.OrderService" in await names_by_reflection(development.channel)
    async with grpc.aio.secure_channel(production.grpc_bind, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await names_by_reflection(channel)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_open_and_names_every_service(house: Any) -> None:
    """Given a server, When health is asked without a token, Then the whole and each service are SERVING."""
    door = await knocker(house)
    stub = health_pb2_grpc.HealthStub(door.channel)

    for name in ("", "farthing.orders.v1.OrderService"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_two_servers_never_share_a_port(house: Any) -> None:
    """Given a server, When another binds its port, Then that one does not start."""
    first = await house.serve()

    with pytest.raises(RuntimeError):
        await house.serve(grpc_bind=first.grpc_bind)

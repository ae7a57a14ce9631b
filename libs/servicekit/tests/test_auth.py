"""Given a real server with both listeners, then nobody gets in but those who may, and they as themselves."""

import asyncio
import base64
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.orders.v1 import orders_pb2, orders_pb2_grpc
from farthing.wallet.v1 import wallets_pb2, wallets_pb2_grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from local_stack.credentials import make_certificates
from servicekit.auth import TokenVerifier, access_rules, bearer
from servicekit.call import current_call
from servicekit.problems import Problem
from servicekit.server import Servicer


class Orders(orders_pb2_grpc.OrderServiceServicer):
    """Answers with who is calling."""

    async def PlaceOrder(self, request: Any, context: Any) -> orders_pb2.Order:
        return orders_pb2.Order()

    async def ListOrders(self, request: Any, context: Any) -> orders_pb2.ListOrdersResponse:
        call = current_call()
        who = f"{call.principal.kind} {call.principal.service or call.principal.email} {call.scope.setting}"
        return orders_pb2.ListOrdersResponse(next_page_token=who)


class Wallets(wallets_pb2_grpc.WalletServiceServicer):
    """Has the calls that are for services."""

    async def PostCharge(self, request: Any, context: Any) -> wallets_pb2.PostChargeResponse:
        return wallets_pb2.PostChargeResponse()


ORDERS = Servicer(
    orders_pb2_grpc.add_OrderServiceServicer_to_server,
    Orders(),
    orders_pb2.DESCRIPTOR.services_by_name["OrderService"],
)
WALLETS = Servicer(
    wallets_pb2_grpc.add_WalletServiceServicer_to_server,
    Wallets(),
    wallets_pb2.DESCRIPTOR.services_by_name["WalletService"],
)


class Door:
    """The two listeners of one server, knocked at in different ways."""

    def __init__(self, house: Any, server: Any) -> None:
        self.house, self.server = house, server

    async def list_orders(self, channel: grpc.aio.Channel, metadata: Any = None) -> str:
        stub = orders_pb2_grpc.OrderServiceStub(channel)
        reply = await stub.ListOrders(orders_pb2.ListOrdersRequest(), metadata=metadata, timeout=5)
        return str(reply.next_page_token)

    async def refusal(self, metadata: Any = None) -> grpc.aio.AioRpcError:
        """The error that a call on the public listener ends with."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.list_orders(await self.house.public(self.server), metadata)
        return refused.value


@pytest.fixture
async def door(house: Any) -> Door:
    return Door(house, await house.serve(ORDERS, WALLETS))


async def test_a_good_token_gets_in_as_itself(door: Door) -> None:
    """Given a token of a boss, When she calls, Then the handler sees her, and her organization as scope."""
    who = await door.list_orders(await door.house.public(door.server), door.house.metadata())

    assert who == f"member ada@example.test {door.house.us}"


async def test_without_a_token_nobody_gets_in(door: Door) -> None:
    """Given no token, When somebody calls, Then they are asked for one."""
    refused = await door.refusal()

    assert refused.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "Bearer" in str(refused.details())


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"exp": None}, "lacks a claim"),
        ({"aud": "somebody-else"}, "somebody else"),
        ({"aud": None}, "lacks a claim"),
        ({"iss": "https://evil.test"}, "somebody else"),
        ({"sub": None}, "lacks a claim"),
        ({"org": None}, "lacks a claim"),
        ({"org": "not a uuid"}, "cannot be read"),
        ({"roles": None}, "cannot be read"),
        ({"roles": "boss"}, "cannot be read"),
        ({"nbf": int(time.time()) + 600}, "for later"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_a_token_that_is_not_for_here_and_now_is_refused(door: Door, claims: Any, says: str) -> None:
    """Given a token of our issuer with a wrong claim, When it is used, Then it is refused, and says which way."""
    refused = await door.refusal(door.house.metadata(**claims))

    assert refused.code() == grpc.StatusCode.UNAUTHENTICATED
    assert says in str(refused.details())


def unsigned(claims: dict[str, Any]) -> str:
    """A token with `alg: none`, made by hand: no library of ours would sign it."""
    parts = [json.dumps({"alg": "none", "typ": "JWT"}), json.dumps(claims)]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts) + "."


def hmac_signed(claims: dict[str, Any], key: ECKey, secret: bytes) -> str:
    """A token with `alg: HS256` that uses something public as its secret, made by hand as well."""
    parts = [json.dumps({"alg": "HS256", "kid": key.as_dict()["kid"]}), json.dumps(claims)]
    body = ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, body.encode(), "sha256")).decode().rstrip("=")
    return f"{body}.{signature}"


def good_claims(house: Any) -> dict[str, Any]:
    return dict(jwt.decode(house.keys.token(), house.keys.signing, algorithms=["ES256"]).claims)


async def test_a_forged_signature_is_refused(door: Door) -> None:
    """Given tokens without signature, signed with our public key as a secret, by an unknown key, or by a key under
    our key's name, When they are used, Then each is refused."""
    keys = door.house.keys
    stranger = ECKey.generate_key("P-256", {"kid": "unknown"})
    impostor = ECKey.generate_key("P-256", {"kid": keys.signing.as_dict()["kid"]})
    public_pem = keys.signing.as_pem(private=False)
    public_json = keys.file.read_bytes()
    forged = [
        unsigned(good_claims(door.house)),
        keys.token(stranger),
        keys.token(impostor),
        keys.token()[:-6] + "AAAAAA",
        hmac_signed(good_claims(door.house), keys.signing, public_pem),
        hmac_signed(good_claims(door.house), keys.signing, public_json),
    ]
    for token in forged:
        refused = await door.refusal(door.house.metadata(token))
        assert refused.code() == grpc.StatusCode.UNAUTHENTICATED, token


async def test_a_key_that_is_replaced_stops_counting(door: Door) -> None:
    """Given a token that was good, When the key is replaced, Then the new key's tokens are good, the old's not."""
    old = door.house.keys.token()
    channel = await door.house.public(door.server)
    await door.list_orders(channel, door.house.metadata(old))

    new = door.house.keys.publish()
    await asyncio.sleep(1.1)

    await door.list_orders(channel, door.house.metadata(door.house.keys.token(new)))
    assert (await door.refusal(door.house.metadata(old))).code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_file_that_breaks_locks_nobody_out(door: Door) -> None:
    """Given a running server, When its key file is half written or gone, Then the keys it knows still count."""
    channel = await door.house.public(door.server)
    door.house.keys.file.write_text('{"keys": [')
    await asyncio.sleep(1.1)
    await door.list_orders(channel, door.house.metadata())

    door.house.keys.file.unlink()
    await asyncio.sleep(1.1)
    await door.list_orders(channel, door.house.metadata())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer a.b.c",
        "Bearer ....",
        "Bearer " + "x" * 4000,
        "Digest eyJ",
        "null",
    ],
)
async def test_garbage_in_authorization_is_refused(door: Door, value: str) -> None:
    """Given garbage where a token should be, When it is sent, Then it is refused as no token is."""
    assert (await door.refusal([("authorization", value)])).code() == grpc.StatusCode.UNAUTHENTICATED


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.binary(max_size=60), min_size=3, max_size=5)))
def test_no_garbage_gets_past_the_verifier(house: Any, garbage: str | list[bytes]) -> None:
    """Given any text, or base64 parts of any bytes, When it is read as a token, Then it is a Problem, never a crash."""
    token = garbage if isinstance(garbage, str) else ".".join(base64.urlsafe_b64encode(p).decode() for p in garbage)
    with pytest.raises(Problem) as refused:
        TokenVerifier(house.keys.file, "https://issuer.test", "farthing").principal(token)
    assert refused.value.code == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "header", ['[" "]', "null", '{"alg": {}}', "[" * 20_000, '{"alg":"ES256","kid":7}', '{"alg":null}']
)
def test_odd_headers_do_not_crash_the_verifier(house: Any, header: str) -> None:
    """Given a token whose header is no header, When it is read, Then it is a Problem."""
    token = base64.urlsafe_b64encode(header.encode()).decode().rstrip("=") + ".e30.AAAA"
    with pytest.raises(Problem):
        TokenVerifier(house.keys.file, "https://issuer.test", "farthing").principal(token)


async def test_a_wrong_role_is_refused(door: Door) -> None:
    """Given a token without a role that may list orders, When it is used, Then the refusal names both sides."""
    refused = await door.refusal(door.house.metadata(roles=["gardener"]))

    assert refused.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "gardener" in str(refused.details())
    assert "finance" in str(refused.details())


async def post_charge(channel: grpc.aio.Channel, metadata: Any = None) -> None:
    """A valid PostCharge, but for what the gate looks at first."""
    stub = wallets_pb2_grpc.WalletServiceStub(channel)
    await stub.PostCharge(wallets_pb2.PostChargeRequest(), metadata=metadata, timeout=5)


async def code_of(work: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await work
    code: grpc.StatusCode = refused.value.code()
    return code


async def test_a_member_cannot_call_what_is_for_services(door: Door) -> None:
    """Given a boss, even one who claims more roles, When she posts a charge, Then she is refused."""
    channel = await door.house.public(door.server)

    assert await code_of(post_charge(channel, door.house.metadata())) == grpc.StatusCode.PERMISSION_DENIED
    metadata = door.house.metadata(roles=["boss", "admin", "finance", "member"])
    assert await code_of(post_charge(channel, metadata)) == grpc.StatusCode.PERMISSION_DENIED


async def test_a_service_is_known_by_its_certificate(door: Door) -> None:
    """Given three certificates, When their services post a charge, Then the one that may not, documents, is refused."""
    for name in ("orders", "operator"):
        channel = await door.house.internal(door.server, name)
        # Past the gate: what it refuses is the empty charge.
        assert await code_of(post_charge(channel)) == grpc.StatusCode.INVALID_ARGUMENT
    channel = await door.house.internal(door.server, "documents")
    assert await code_of(post_charge(channel)) == grpc.StatusCode.PERMISSION_DENIED
    assert await door.list_orders(channel) == "service documents all"


async def test_a_service_cannot_buy(door: Door) -> None:
    """Given a service's certificate, When it places an order, which is for members, Then it is refused."""
    stub = orders_pb2_grpc.OrderServiceStub(await door.house.internal(door.server, "documents"))

    assert await code_of(stub.PlaceOrder(orders_pb2.PlaceOrderRequest())) == grpc.StatusCode.PERMISSION_DENIED


async def test_a_token_of_a_service_is_bound_to_its_name(door: Door) -> None:
    """Given a token of role service, When it names a service that may not post charges, Then it is refused."""
    channel = await door.house.public(door.server)
    documents = door.house.metadata(roles=["service"], service="documents", org=None)
    orders = door.house.metadata(roles=["service"], service="orders", org=None)

    assert await code_of(post_charge(channel, documents)) == grpc.StatusCode.PERMISSION_DENIED
    assert await code_of(post_charge(channel, orders)) == grpc.StatusCode.INVALID_ARGUMENT


async def test_the_internal_listener_takes_our_certificates_only(door: Door, tmp_path: Path) -> None:
    """Given a certificate of another CA, or none, When it knocks at the internal listener, Then nothing gets in."""
    make_certificates(tmp_path, ["orders"], datetime.now(UTC))
    foreign = await door.house.internal(door.server, "orders", tmp_path)
    bare = await door.house.internal(door.server, "")

    for channel in (foreign, bare):
        assert await code_of(door.list_orders(channel)) == grpc.StatusCode.UNAVAILABLE


async def test_a_bad_token_is_not_healed_by_a_certificate(door: Door) -> None:
    """Given a good certificate and an expired token, When both are sent, Then the call is refused."""
    channel = await door.house.internal(door.server, "orders")
    metadata = door.house.metadata(exp=int(time.time()) - 60)

    assert await code_of(door.list_orders(channel, metadata)) == grpc.StatusCode.UNAUTHENTICATED


async def test_an_organization_that_is_not_known_yet_is_told_to_wait(door: Door) -> None:
    """Given a token of an organization without a copy here, When it calls, Then it may repeat later."""
    refused = await door.refusal(door.house.metadata(org=str(uuid4())))

    assert refused.code() == grpc.StatusCode.UNAVAILABLE


def test_a_method_without_access_stops_the_service() -> None:
    """Given a service whose method lacks the option, When its rules are read, Then that is an error with its name."""
    file = FileDescriptorProto(name="open.proto", package="open", syntax="proto3")
    file.message_type.add(name="Nothing")
    file.service.add(name="Open").method.add(name="Do", input_type=".open.Nothing", output_type=".open.Nothing")
    pool = DescriptorPool()
    pool.Add(file)

    with pytest.raises(ValueError, match=r"/open\.Open/Do"):
        access_rules([pool.FindServiceByName("open.Open")])


@pytest.mark.parametrize(
    ("value", "token"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", None), ("abc", None)]
)
def test_the_token_is_what_follows_bearer(value: str, token: str | None) -> None:
    """Given an authorization header (RFC 6750), When it is read, Then the token is what follows `Bearer`."""
    assert bearer([("authorization", value)]) == token


def test_the_scope_of_a_member_is_its_organization(house: Any) -> None:
    """Given a good token, When it is read twice, Then the second comes from memory and is the same principal."""
    verifier = TokenVerifier(house.keys.file, "https://issuer.test", "farthing")
    token = house.keys.token()

    assert verifier.principal(token).organization_id == UUID(str(house.us))
    assert verifier.principal(token) is verifier.principal(token)

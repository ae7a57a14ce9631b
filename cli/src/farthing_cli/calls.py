"""gRPC calls to the services' public listeners, as somebody; refusals as people read them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from farthing.documents.v1.documents_pb2_grpc import DocumentServiceStub
from farthing.orders.v1.catalogue_pb2_grpc import CatalogueServiceStub
from farthing.orders.v1.orders_pb2_grpc import OrderServiceStub
from farthing.wallet.v1.organizations_pb2_grpc import OrganizationServiceStub
from farthing.wallet.v1.vouchers_pb2_grpc import VoucherServiceStub
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceStub
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from farthing_cli.environment import need
from farthing_cli.problems import Problem

CALL_TIMEOUT_S = 15.0
# A service that starts, or an organization too new to be known everywhere: these pass by themselves.
PATIENCE_S = 30.0
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


class Refused(Exception):  # noqa: N818 - an answer, and often the expected one
    """The service said no. `reason` is a name of farthing.errors.v1.ErrorReason without its prefix."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, metadata: Mapping[str, str]) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.metadata = code, reason, message, dict(metadata)


class Services:
    """Channels to the three services with RPCs. Use as an async context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._channels = {
            name: grpc.aio.insecure_channel(
                need(environment, f"{name.upper()}_GRPC", f"where {name} listens (host:port)"),
                options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)],
            )
            for name in ("wallet", "orders", "documents")
        }
        self.organizations: Any = OrganizationServiceStub(self._channels["wallet"])
        self.wallets: Any = WalletServiceStub(self._channels["wallet"])
        self.vouchers: Any = VoucherServiceStub(self._channels["wallet"])
        self.catalogue: Any = CatalogueServiceStub(self._channels["orders"])
        self.orders: Any = OrderServiceStub(self._channels["orders"])
        self.documents: Any = DocumentServiceStub(self._channels["documents"])

    async def __aenter__(self) -> "Services":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close(None)


async def call(method: Any, request: Message, token: str, *, patience_s: float = PATIENCE_S) -> Any:
    """The reply to `request`, asked again for `patience_s` while the service is unavailable. Raises Refused."""
    deadline = asyncio.get_running_loop().time() + patience_s
    delay_s = 0.05
    while True:
        try:
            return await method(request, metadata=(("authorization", f"Bearer {token}"),), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _PASSING or asyncio.get_running_loop().time() > deadline:
                raise _refused(error) from None
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, 1.0)


async def stream(method: Any, request: Message, token: str, *, idle_s: float = PATIENCE_S) -> AsyncIterator[Any]:
    """The messages of a server stream. Raises Refused; DEADLINE_EXCEEDED where none comes for `idle_s`."""
    pieces = method(request, metadata=(("authorization", f"Bearer {token}"),))
    try:
        while True:
            # Not wait_for: Python 3.11's loses an interruption that comes together with a piece.
            async with asyncio.timeout(idle_s):
                piece = await pieces.read()
            if piece is grpc.aio.EOF:  # type: ignore[attr-defined]
                break
            yield piece
    except grpc.aio.AioRpcError as error:
        raise _refused(error) from None
    except TimeoutError:
        silent = f"nothing came for {idle_s:g} s"
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "", silent, {}) from None
    finally:
        pieces.cancel()


def _refused(error: grpc.aio.AioRpcError) -> Refused:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
    except ValueError:
        status = None
    info = ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Is(ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
    return Refused(error.code(), info.reason, error.details() or error.code().name, info.metadata)


def problem_of(refused: Refused, doing: str) -> Problem:
    """The refusal as the end of a command that was `doing` something."""
    if refused.code == grpc.StatusCode.UNAVAILABLE and not refused.reason:
        return Problem(f"{doing}: the service does not answer. See how everything is: farthing stack status")
    return Problem(f"{doing}: {refused.message}")

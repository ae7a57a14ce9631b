"""Bare gRPC: the same server library, loop and messages as wallet's, and nothing behind it. Prints its address."""

from __future__ import annotations

import asyncio
import signal
import uuid

import grpc.aio
import uvloop
from farthing.wallet.v1 import wallets_pb2 as pb
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceServicer, add_WalletServiceServicer_to_server
from google.protobuf.timestamp_pb2 import Timestamp
from servicekit.garbage import collect_seldom

_TRANSACTION_ID = str(uuid.uuid4())


class Echo(WalletServiceServicer):
    """Answers with as many bytes as wallet does."""

    def __init__(self) -> None:
        self._posted_at = Timestamp(seconds=1_790_000_000, nanos=123_456_000)

    async def PostCharge(self, request: pb.PostChargeRequest, context: object) -> pb.PostChargeResponse:
        return pb.PostChargeResponse(
            result=pb.ChargeResult(
                request_id=request.charge.request_id,
                transaction_id=_TRANSACTION_ID,
                posted_at=self._posted_at,
                balance_after_micros=-14_280_000_000,
            )
        )


async def serve() -> None:
    collect_seldom()
    server = grpc.aio.server()
    add_WalletServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve())

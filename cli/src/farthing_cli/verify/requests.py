"""Invariant 4: the same request got one answer."""

from farthing.documents.v1 import documents_pb2
from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.wallet.v1 import (
    adjustments_pb2,
    holds_pb2,
    organizations_pb2,
    payments_pb2,
    vouchers_pb2,
    wallets_pb2,
)
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from farthing_cli.verify.evidence import SERVICES, Evidence
from farthing_cli.verify.findings import Findings

_FILES = (
    *(organizations_pb2, wallets_pb2, holds_pb2, adjustments_pb2, payments_pb2, vouchers_pb2),
    *(catalogue_pb2, orders_pb2, documents_pb2),
)
_REQUESTS = "SELECT root_id, requester, method, request_id, body_sha256, reply FROM requests"
_TWICE = {
    # A request lives in one root: the same one under two would be two answers.
    "SELECT 'request ' || request_id || ' of ' || requester || ' for ' || method AS what, count(*) AS times "
    "FROM requests GROUP BY requester, method, request_id HAVING count(*) > 1": SERVICES,
    "SELECT 'charge request ' || request_key AS what, count(*) AS times "
    "FROM transactions GROUP BY request_key HAVING count(*) > 1": ("wallet",),
    "SELECT 'order ' || order_id AS what, count(*) AS times "
    # A cloud phone's order has a charge for each of its fees.
    "FROM transactions WHERE type = 2 AND order_id IS NOT NULL AND cloud_phone_id = '' "
    "GROUP BY order_id HAVING count(*) > 1": ("wallet",),
    "SELECT 'order number ' || number AS what, count(*) AS times FROM orders GROUP BY number HAVING count(*) > 1": (
        "orders",
    ),
}


async def same_answer(evidence: Evidence, findings: Findings) -> None:
    """4: every kept reply reads as its method's; no request has two answers, no order two charges."""
    replies = dict(_reply_types())
    for service in SERVICES:
        async for row in evidence.rows(service, _REQUESTS):
            findings.count("kept replies")
            what = f"{service}: the reply to {row['method']} '{row['request_id']}' of {row['requester']}"
            reply_type = replies.get(row["method"])
            if reply_type is None:
                findings.fault(f"{what} is for a method that does not exist")
                continue
            try:
                GetMessageClass(reply_type).FromString(row["reply"])
            except DecodeError as error:
                findings.fault(f"{what} does not read as {reply_type.full_name}: {error}")
            findings.expect(len(row["body_sha256"]) == 32, f"{what} lacks the hash of its request")
    for query, services in _TWICE.items():
        for service in services:
            async for row in evidence.rows(service, query):
                findings.fault(f"{service}: {row['what']} is there {row['times']} times")
    findings.count("charges", await evidence.value("wallet", "SELECT count(*) FROM transactions WHERE type = 2"))
    findings.count("orders", await evidence.value("orders", "SELECT count(*) FROM orders"))


def _reply_types() -> list[tuple[str, Descriptor]]:
    services: list[ServiceDescriptor] = [
        service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()
    ]
    return [
        (f"/{service.full_name}/{method.name}", method.output_type)
        for service in services
        for method in service.methods
    ]

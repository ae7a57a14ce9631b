"""Wiring of `orders`."""

from datetime import timedelta

from directory.scopes import Scopes
from farthing.orders.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    catalogue_pb2,
    catalogue_pb2_grpc,
    orders_pb2,
    orders_pb2_grpc,
)
from servicekit.audit import AuditRpc
from servicekit.channels import service_channel
from servicekit.server import Servicer
from servicekit.service import Runtime, ServiceDefinition, Wiring, run

from orders.clients import WalletClient
from orders.commands.catalogue import Catalogue
from orders.commands.orders import Orders, Timeouts
from orders.commands.paying import Paying
from orders.commands.refunds import Refunds
from orders.consumers import consumers
from orders.jobs import jobs
from orders.rpc.catalogue import CatalogueRpc
from orders.rpc.orders import OrderRpc
from orders.rpc.reads import Reads
from orders.settings import OrdersSettings


async def wire(runtime: Runtime[OrdersSettings]) -> Wiring:
    """The service from its parts."""
    settings = runtime.settings
    channel = await runtime.closing.enter_async_context(service_channel(settings, settings.wallet_target))
    wallet = WalletClient(channel, settings.charge_timeout_s)
    lease = timedelta(seconds=settings.charge_lease_s)
    paying = Paying(runtime.database, runtime.clock, wallet, lease)
    refunds = Refunds(runtime.database, runtime.clock, wallet, lease)
    timeouts = Timeouts(
        timedelta(minutes=settings.payment_timeout_minutes), timedelta(minutes=settings.bank_transfer_timeout_minutes)
    )
    orders = Orders(runtime.database, runtime.clock, paying, timeouts)
    catalogue = Catalogue(runtime.database, runtime.clock)
    reads = Reads(runtime.database, runtime.clock, runtime.pager)
    return Wiring(
        servicers=[
            Servicer(
                catalogue_pb2_grpc.add_CatalogueServiceServicer_to_server,
                CatalogueRpc(catalogue, reads),
                catalogue_pb2.DESCRIPTOR.services_by_name["CatalogueService"],
            ),
            Servicer(
                orders_pb2_grpc.add_OrderServiceServicer_to_server,
                OrderRpc(orders, refunds, reads),
                orders_pb2.DESCRIPTOR.services_by_name["OrderService"],
            ),
            Servicer(
                audit_pb2_grpc.add_AuditServiceServicer_to_server,
                AuditRpc(runtime.database, runtime.pager),
                audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
            ),
        ],
        consumers=consumers(runtime.clock),
        jobs=jobs(paying, refunds),
        scope_of=Scopes(runtime.database).of,
    )


def main() -> None:
    """The console script `orders`."""
    run(ServiceDefinition("orders", OrdersSettings, wire))

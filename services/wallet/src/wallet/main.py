"""Wiring of `wallet`."""

from functools import partial

from directory.scopes import Scopes
from farthing.wallet.v1 import (
    organizations_pb2,
    organizations_pb2_grpc,
    vouchers_pb2,
    vouchers_pb2_grpc,
    wallets_pb2,
    wallets_pb2_grpc,
)
from servicekit.jobs import Job
from servicekit.server import Servicer
from servicekit.service import Runtime, ServiceDefinition, Wiring, run

from wallet.clients.registry import payment_providers
from wallet.commands.top_ups import resolve_top_ups
from wallet.domain.vouchers import VoucherKey
from wallet.engine import Engine
from wallet.rpc.charges import ChargesRpc
from wallet.rpc.entries import EntriesRpc
from wallet.rpc.organizations import OrganizationRpc
from wallet.rpc.refunds import RefundsRpc
from wallet.rpc.service import wallet_service
from wallet.rpc.top_ups import TopUps
from wallet.rpc.vouchers import VouchersRpc
from wallet.rpc.wallets import Wallets
from wallet.settings import WalletSettings

RESOLVE_TOP_UPS_EVERY_S = 0.5


async def wire(runtime: Runtime[WalletSettings]) -> Wiring:
    """The service from its parts."""
    settings, database, pager = runtime.settings, runtime.database, runtime.pager
    engine = Engine(
        database,
        connections=settings.posting_connections,
        batch_max=settings.posting_batch_max,
        gather_s=settings.posting_gather_ms / 1000,
    )
    runtime.closing.push_async_callback(engine.close)
    providers = payment_providers(development=settings.development)
    wallets = wallet_service(
        ChargesRpc(engine),
        EntriesRpc(database, pager),
        Wallets(database),
        TopUps(database, pager, providers),
        RefundsRpc(database),
    )
    return Wiring(
        servicers=[
            Servicer(
                organizations_pb2_grpc.add_OrganizationServiceServicer_to_server,
                OrganizationRpc(database, runtime.clock, pager),
                organizations_pb2.DESCRIPTOR.services_by_name["OrganizationService"],
            ),
            Servicer(
                wallets_pb2_grpc.add_WalletServiceServicer_to_server,
                wallets,
                wallets_pb2.DESCRIPTOR.services_by_name["WalletService"],
            ),
            Servicer(
                vouchers_pb2_grpc.add_VoucherServiceServicer_to_server,
                VouchersRpc(database, pager, VoucherKey(settings.page_token_key.get_secret_value())),
                vouchers_pb2.DESCRIPTOR.services_by_name["VoucherService"],
            ),
        ],
        jobs=[Job("resolve_top_ups", RESOLVE_TOP_UPS_EVERY_S, partial(resolve_top_ups, database, providers))],
        scope_of=Scopes(database).of,
    )


def main() -> None:
    """The console script `wallet`."""
    run(ServiceDefinition("wallet", WalletSettings, wire))

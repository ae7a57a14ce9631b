"""Wiring of `wallet`."""

from functools import partial

from directory.scopes import Scopes
from farthing.wallet.v1 import (
    adjustments_pb2,
    adjustments_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    holds_pb2,
    holds_pb2_grpc,
    organizations_pb2,
    organizations_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
    vouchers_pb2,
    vouchers_pb2_grpc,
    wallets_pb2,
    wallets_pb2_grpc,
)
from servicekit.audit import AuditRpc
from servicekit.jobs import Job
from servicekit.server import Servicer
from servicekit.service import Runtime, ServiceDefinition, Wiring, run

from wallet.clients.registry import payment_providers
from wallet.commands.balance_rules import watch_balances
from wallet.commands.holds import expire_holds
from wallet.commands.search_index import find_large_wallets, index_lines
from wallet.commands.top_ups import resolve_top_ups
from wallet.domain.vouchers import VoucherKey
from wallet.engine import Engine
from wallet.rpc.adjustments import AdjustmentsRpc
from wallet.rpc.balance_rules import BalanceRulesRpc
from wallet.rpc.charges import ChargesRpc
from wallet.rpc.entries import EntriesRpc
from wallet.rpc.exports import ExportsRpc
from wallet.rpc.holds import HoldsRpc
from wallet.rpc.lists import ListsRpc
from wallet.rpc.organizations import OrganizationRpc
from wallet.rpc.payments import PaymentsRpc
from wallet.rpc.refunds import RefundsRpc
from wallet.rpc.service import payment_service, wallet_service
from wallet.rpc.top_ups import TopUps
from wallet.rpc.vouchers import VouchersRpc
from wallet.rpc.wallets import Wallets
from wallet.settings import WalletSettings

RESOLVE_TOP_UPS_EVERY_S = 0.5
WATCH_BALANCES_EVERY_S = 1.0
EXPIRE_HOLDS_EVERY_S = 1.0
INDEX_LINES_EVERY_S = 2.0
FIND_LARGE_WALLETS_EVERY_S = 30.0


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
    providers = payment_providers(
        development=settings.development, secrets_dir=settings.secrets_dir, stripe_api_url=settings.stripe_api_url
    )
    wallets = wallet_service(
        ChargesRpc(engine),
        EntriesRpc(database),
        ListsRpc(database, pager),
        ExportsRpc(database),
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
                payments_pb2_grpc.add_PaymentServiceServicer_to_server,
                payment_service(PaymentsRpc(database, pager, providers), BalanceRulesRpc(database, providers)),
                payments_pb2.DESCRIPTOR.services_by_name["PaymentService"],
            ),
            Servicer(
                vouchers_pb2_grpc.add_VoucherServiceServicer_to_server,
                VouchersRpc(database, pager, VoucherKey(settings.page_token_key.get_secret_value())),
                vouchers_pb2.DESCRIPTOR.services_by_name["VoucherService"],
            ),
            Servicer(
                holds_pb2_grpc.add_HoldServiceServicer_to_server,
                HoldsRpc(database, pager),
                holds_pb2.DESCRIPTOR.services_by_name["HoldService"],
            ),
            Servicer(
                adjustments_pb2_grpc.add_AdjustmentServiceServicer_to_server,
                AdjustmentsRpc(database, pager, settings.adjustment_limit_units),
                adjustments_pb2.DESCRIPTOR.services_by_name["AdjustmentService"],
            ),
            Servicer(
                audit_pb2_grpc.add_AuditServiceServicer_to_server,
                AuditRpc(database, pager),
                audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
            ),
        ],
        jobs=[
            Job("resolve_top_ups", RESOLVE_TOP_UPS_EVERY_S, partial(resolve_top_ups, database, providers)),
            Job("watch_balances", WATCH_BALANCES_EVERY_S, partial(watch_balances, database, providers)),
            Job("expire_holds", EXPIRE_HOLDS_EVERY_S, partial(expire_holds, database)),
            Job("find_large_wallets", FIND_LARGE_WALLETS_EVERY_S, partial(find_large_wallets, database)),
            Job("index_lines", INDEX_LINES_EVERY_S, partial(index_lines, database)),
        ],
        scope_of=Scopes(database).of,
    )


def main() -> None:
    """The console script `wallet`."""
    run(ServiceDefinition("wallet", WalletSettings, wire))

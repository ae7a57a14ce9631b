"""gRPC services whose RPCs live in several modules."""

from types import SimpleNamespace

from farthing.wallet.v1 import payments_pb2, wallets_pb2
from google.protobuf.descriptor import ServiceDescriptor

_WALLETS = wallets_pb2.DESCRIPTOR.services_by_name["WalletService"]
_PAYMENTS = payments_pb2.DESCRIPTOR.services_by_name["PaymentService"]


def wallet_service(*parts: object) -> object:
    """A servicer of WalletService made of `parts`, each of which has some of its RPCs.

    Raises TypeError if one of them has no owner.
    """
    return _service(_WALLETS, parts)


def payment_service(*parts: object) -> object:
    """The same of PaymentService."""
    return _service(_PAYMENTS, parts)


def _service(service: ServiceDescriptor, parts: tuple[object, ...]) -> object:
    handlers = {}
    for method in service.methods:
        owner = next((part for part in parts if hasattr(part, method.name)), None)
        if owner is None:
            raise TypeError(f"nobody serves {service.name}.{method.name}")
        handlers[method.name] = getattr(owner, method.name)
    return SimpleNamespace(**handlers)

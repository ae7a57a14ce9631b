"""gRPC services whose RPCs live in several modules."""

from types import SimpleNamespace

from farthing.wallet.v1 import payments_pb2, payments_pb2_grpc, wallets_pb2
from google.protobuf.descriptor import ServiceDescriptor

_WALLETS = wallets_pb2.DESCRIPTOR.services_by_name["WalletService"]
_PAYMENTS = payments_pb2.DESCRIPTOR.services_by_name["PaymentService"]


def wallet_service(*parts: object) -> object:
    """A servicer of WalletService made of `parts`, each of which has some of its RPCs.

    Raises TypeError if one of them has no owner.
    """
    return _service(_WALLETS, None, parts)


def payment_service(*parts: object) -> object:
    """A servicer of PaymentService made of `parts`, each of which has some of its RPCs."""
    return _service(_PAYMENTS, payments_pb2_grpc.PaymentServiceServicer(), parts)  # type: ignore[abstract]


def _service(service: ServiceDescriptor, unserved: object | None, parts: tuple[object, ...]) -> object:
    handlers = {}
    for method in service.methods:
        # Where there is a servicer for what is unserved: written down before it is served, and UNIMPLEMENTED.
        owner = next((part for part in parts if hasattr(part, method.name)), unserved)
        if owner is None:
            raise TypeError(f"nobody serves {service.name}.{method.name}")
        handlers[method.name] = getattr(owner, method.name)
    return SimpleNamespace(**handlers)

"""One gRPC service whose RPCs live in several modules."""

from types import SimpleNamespace

from farthing.wallet.v1 import wallets_pb2, wallets_pb2_grpc

_METHODS = wallets_pb2.DESCRIPTOR.services_by_name["WalletService"].methods


def wallet_service(*parts: object) -> object:
    """A servicer of WalletService made of `parts`, each of which has some of its RPCs."""
    handlers = {}
    for method in _METHODS:
        # Written down before it is served: answers UNIMPLEMENTED.
        unserved: object = wallets_pb2_grpc.WalletServiceServicer()  # type: ignore[abstract]
        owner = next((part for part in parts if hasattr(part, method.name)), unserved)
        handlers[method.name] = getattr(owner, method.name)
    return SimpleNamespace(**handlers)

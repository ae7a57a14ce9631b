"""One gRPC service whose RPCs live in several modules."""

from types import SimpleNamespace

from farthing.wallet.v1 import wallets_pb2

_METHODS = wallets_pb2.DESCRIPTOR.services_by_name["WalletService"].methods


def wallet_service(*parts: object) -> object:
    """A servicer of WalletService made of `parts`, each of which has some of its RPCs.

    Raises TypeError if one of them has no owner.
    """
    handlers = {}
    for method in _METHODS:
        owner = next((part for part in parts if hasattr(part, method.name)), None)
        if owner is None:
            raise TypeError(f"nobody serves WalletService.{method.name}")
        handlers[method.name] = getattr(owner, method.name)
    return SimpleNamespace(**handlers)

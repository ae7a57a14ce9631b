"""Which provider collects for each method."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wallet.clients.providers import HostedProvider, PaymentProvider
from wallet.clients.sandbox import Sandbox
from wallet.clients.secret_files import SecretFiles
from wallet.clients.stripe import Stripe
from wallet.domain.top_ups import Method


@dataclass(frozen=True, slots=True)
class Providers:
    """`direct` need no account of the seller's; `hosted` is the one behind sellers' accounts."""

    direct: Mapping[Method, PaymentProvider] = field(default_factory=dict)
    hosted: HostedProvider | None = None

    def get(self, method: Method) -> PaymentProvider | None:
        """Who collects for `method`, or None where nobody does here."""
        return self.hosted if method is Method.PROVIDER else self.direct.get(method)


def payment_providers(
    *, development: bool, secrets_dir: Path | None = None, stripe_api_url: str | None = None
) -> Providers:
    """Who collects for each method. Pretended money is for development alone."""
    direct: dict[Method, PaymentProvider] = {Method.SANDBOX: Sandbox()} if development else {}
    return Providers(direct, Stripe(SecretFiles(secrets_dir), stripe_api_url))

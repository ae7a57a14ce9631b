"""A shop that takes payments: wallet's handlers over a fake Stripe on loopback."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing.wallet.v1 import payments_pb2, wallets_pb2
from servicekit.testing import as_service
from wallet.clients.registry import Providers
from wallet.rpc.payments import PaymentsRpc
from wallet.rpc.top_ups import TopUps

from .fake_stripe import API_KEY, WEBHOOK_SECRET, FakeStripe, event, signed
from .test_top_ups import Wallet, asked
from .world import House, Organization, member_of, request_id

PROVIDER = wallets_pb2.TOP_UP_METHOD_PROVIDER
STRIPE = payments_pb2.PAYMENT_PROVIDER_STRIPE
Account = payments_pb2.PaymentAccount


@dataclass
class Shop:
    """Handlers whose provider is a fake Stripe, and the folder of sellers' secrets."""

    house: House
    stripe: FakeStripe
    secrets: Path
    providers: Providers
    payments: PaymentsRpc
    top_ups: TopUps

    def put_secrets(self, seller: Organization, key: str = API_KEY, webhook: str = WEBHOOK_SECRET) -> None:
        """The operator puts a seller's secrets into its folder."""
        folder = self.secrets / seller.id
        folder.mkdir(exist_ok=True)
        (folder / "stripe-key").write_text(f"{key}\n")
        (folder / "stripe-webhook").write_text(f"{webhook}\n")

    async def account(self, seller: Organization, **fields: Any) -> Account:
        """A seller's account with Stripe, with its secrets."""
        self.put_secrets(seller)
        with member_of(seller, "admin"):
            return await self.payments.CreatePaymentAccount(creation(seller, **fields), None)

    async def checkout(self, wallet: Wallet, **fields: Any) -> wallets_pb2.TopUp:
        """A top-up of 10 EUR that waits for its buyer on a checkout page."""
        request = asked(wallet, 10, PROVIDER)
        for name, value in fields.items():
            setattr(request, name, value)
        with as_service("orders"):
            return await self.top_ups.CreateTopUp(request, None)

    async def webhook(self, account: Account, payload: bytes, signature: str = "") -> bool:
        """What the gateway passes on; gives whether it was acted on."""
        request = payments_pb2.ReceiveWebhookRequest(
            payment_account_id=account.id, payload=payload, signature=signature or signed(payload)
        )
        with as_service("gateway"):
            return (await self.payments.ReceiveWebhook(request, None)).acted

    async def get(self, top_up: wallets_pb2.TopUp) -> wallets_pb2.TopUp:
        """The top-up as it is now."""
        with as_service():
            return await self.top_ups.GetTopUp(wallets_pb2.GetTopUpRequest(id=top_up.id), None)

    async def saved(self, wallet: Wallet, account: Account) -> Any:
        """A card that the wallet's owner has saved."""
        with as_service():
            request = payments_pb2.CreateSetupSessionRequest(request_id=request_id(), wallet_id=wallet.id)
            session = await self.payments.CreateSetupSession(request, None)
        stripe_id = session.url.rpartition("/")[2]
        assert await self.webhook(account, event("checkout.session.completed", self.stripe.save(stripe_id)))
        with as_service():
            listed = await self.payments.ListPaymentMethods(
                payments_pb2.ListPaymentMethodsRequest(wallet_id=wallet.id), None
            )
        return listed.payment_methods[0]


def creation(seller: Organization, provider: Any = STRIPE, **fields: Any) -> Any:
    """A request for a new account of a seller."""
    account = Account(seller_id=seller.id, provider=provider, display_name="Pay here", enabled=True)
    if provider == STRIPE:
        account.stripe.success_url = "https://seller.example/thanks"
        account.stripe.api_key_secret, account.stripe.webhook_secret = "stripe-key", "stripe-webhook"
    account.MergeFrom(Account(**fields))
    return payments_pb2.CreatePaymentAccountRequest(request_id=request_id(), payment_account=account)


def session_of(shop: Shop, top_up: wallets_pb2.TopUp) -> str:
    """Stripe's id of a top-up's checkout session."""
    return top_up.checkout_url.rpartition("/")[2]

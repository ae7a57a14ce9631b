"""A small world made through gRPC alone, as a gateway would: the platform, its partners, their customers, a catalogue.

Every world lives beside the others in the same stack: names and domains carry a tag of their own.
"""

import json
import mailbox
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message as Mail
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from farthing.documents.v1 import documents_pb2, documents_pb2_grpc
from farthing.orders.v1 import catalogue_pb2, catalogue_pb2_grpc, orders_pb2, orders_pb2_grpc
from farthing.wallet.v1 import (
    organizations_pb2,
    organizations_pb2_grpc,
    vouchers_pb2_grpc,
    wallets_pb2,
    wallets_pb2_grpc,
)
from google.rpc import error_details_pb2
from google.type.money_pb2 import Money
from grpc_status import rpc_status
from joserfc import jwt
from joserfc.jwk import KeySet
from local_stack.stack import Stack
from money.messages import money_from_message, money_to_message
from servicekit.testing import eventually

MICROS = 1_000_000
TIMEOUT_S = 20.0


def tag() -> str:
    """A short unique name."""
    return uuid.uuid4().hex[:8]


def micros(message: Money) -> int:
    """A Money as millionths."""
    return money_from_message(message).micros


def reason(error: grpc.aio.AioRpcError) -> str:
    """The documented reason of an error."""
    return info(error).reason


def info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of an error."""
    status = rpc_status.from_call(error)
    assert status is not None, f"an error without details: {error}"
    found = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(found) for detail in status.details), f"an error without ErrorInfo: {status}"
    return found


@dataclass
class Team:
    """An organization of the world, with its wallet and the token of its boss."""

    id: str
    domain: str
    boss_email: str
    buyer_email: str
    wallet_id: str = ""
    tokens: dict[str, str] = field(default_factory=dict)


class World:
    """Clients of a running stack, and what they have made."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.env = stack.env()
        self._key = KeySet.import_key_set(self._signing_keys()).keys[0]
        self._channels = {
            service: grpc.aio.insecure_channel(
                self.env[f"{service.upper()}_GRPC"],
                options=[("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100)],
            )
            for service in ("wallet", "orders", "documents")
        }
        self.organizations = organizations_pb2_grpc.OrganizationServiceStub(self._channels["wallet"])
        self.wallets = wallets_pb2_grpc.WalletServiceStub(self._channels["wallet"])
        self.vouchers = vouchers_pb2_grpc.VoucherServiceStub(self._channels["wallet"])
        self.catalogue = catalogue_pb2_grpc.CatalogueServiceStub(self._channels["orders"])
        self.orders = orders_pb2_grpc.OrderServiceStub(self._channels["orders"])
        self.documents = documents_pb2_grpc.DocumentServiceStub(self._channels["documents"])

    def _signing_keys(self) -> dict[str, Any]:
        found = json.loads(Path(self.env["JWT_SIGNING_KEY_FILE"]).read_text())
        return found if "keys" in found else {"keys": [found]}

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()

    # Tokens

    def token(self, *, org: str = "", role: str = "boss", email: str = "", **claims: Any) -> str:
        """A token signed by the stack's issuer; `claims` take the place of its own."""
        now = int(time.time())
        body: dict[str, Any] = {
            "iss": self.env["JWT_ISSUER"],
            "aud": self.env["JWT_AUDIENCE"],
            "iat": now,
            "exp": now + 3600,
            "sub": email or role,
            "roles": [role],
            "org": org,
            "name": email.split("@", maxsplit=1)[0].title(),
            "email": email,
            **claims,
        }
        header = {"alg": self._key.get("alg") or _algorithm(self._key.key_type), "kid": self._key.kid}
        return jwt.encode(header, body, self._key, algorithms=[header["alg"]])

    def service(self) -> list[tuple[str, str]]:
        """Metadata of one of our own services, or the operator."""
        return [("authorization", f"Bearer {self.token(role='service')}")]

    def as_(self, team: Team, role: str = "boss", email: str | None = None) -> list[tuple[str, str]]:
        """Metadata of a member of `team`."""
        email = email if email is not None else (team.boss_email if role == "boss" else team.buyer_email)
        return [("authorization", f"Bearer {self.token(org=team.id, role=role, email=email)}")]

    # Making it

    async def platform(self) -> Team:
        """The platform; made by whoever comes first, one in a stack."""
        try:
            return await self.make("platform.example", parent=None, currency="USD", tagged=False)
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION):
                raise
        found = await self.organizations.GetOrganization(
            organizations_pb2.GetOrganizationRequest(id="platform.example"), metadata=self.service(), timeout=TIMEOUT_S
        )
        return Team(found.id, found.domain, f"boss@{found.domain}", f"buyer@{found.domain}")

    async def make(
        self,
        domain: str,
        *,
        parent: Team | None,
        currency: str = "USD",
        language: str = "en",
        boss_email: str = "",
        buyer_email: str = "",
        earnings: int = organizations_pb2.EARNINGS_REVENUE,
        tagged: bool = True,
    ) -> Team:
        """An organization with a boss and a buyer, and its wallet."""
        domain = f"{tag()}.{domain}" if tagged else domain
        boss_email = boss_email or f"boss@{domain}"
        buyer_email = buyer_email or f"buyer@{domain}"
        members = [
            organizations_pb2.Member(name="Bo Boss", email=boss_email, role=organizations_pb2.MEMBER_ROLE_BOSS),
        ]
        if buyer_email != boss_email:
            members.append(
                organizations_pb2.Member(name="Bea Buyer", email=buyer_email, role=organizations_pb2.MEMBER_ROLE_MEMBER)
            )
        made = await self.organizations.CreateOrganization(
            organizations_pb2.CreateOrganizationRequest(
                request_id=f"make-{domain}",
                organization=organizations_pb2.Organization(
                    parent_id=parent.id if parent else "",
                    name=domain.split(".")[-2].title() + " " + domain.split(".")[0],
                    domain=domain,
                    currency=currency,
                    language=language,
                    tax_id="TAX-1",
                    billing_address=organizations_pb2.BillingAddress(
                        lines=["1 Main Street"], city="Town", country="US"
                    ),
                    earnings=earnings,
                    members=members,
                ),
            ),
            metadata=self.service(),
            timeout=TIMEOUT_S,
        )
        team = Team(made.id, made.domain, boss_email, buyer_email)
        if parent is not None:
            found = await self.wallets.ListWallets(
                wallets_pb2.ListWalletsRequest(organization_id=made.id), metadata=self.service(), timeout=TIMEOUT_S
            )
            team.wallet_id = found.wallets[0].id
        return team

    async def known(self, *teams: Team) -> None:
        """Waits until orders and documents know the teams."""

        async def all_known() -> bool:
            for team in teams:
                for call in (
                    self.orders.ListOrders(orders_pb2.ListOrdersRequest(), metadata=self.as_(team), timeout=TIMEOUT_S),
                    self.documents.ListDocuments(
                        documents_pb2.ListDocumentsRequest(), metadata=self.as_(team), timeout=TIMEOUT_S
                    ),
                ):
                    try:
                        await call
                    except grpc.aio.AioRpcError as error:
                        if error.code() is not grpc.StatusCode.UNAVAILABLE:
                            raise
                        return False
            return True

        await eventually(all_known, timeout_s=30)

    async def sku(self, type_: int = catalogue_pb2.PRODUCT_TYPE_PROXY, contents: tuple[str, ...] = ()) -> str:
        """A new product with one SKU; returns the SKU's id."""
        platform = await self.platform()
        await self.known(platform)
        name = tag()
        product = await self.catalogue.CreateProduct(
            catalogue_pb2.CreateProductRequest(request_id=f"product-{name}", type=type_, name=f"Product {name}"),
            metadata=self.as_(platform),
            timeout=TIMEOUT_S,
        )
        made = await self.catalogue.CreateSku(
            catalogue_pb2.CreateSkuRequest(
                request_id=f"sku-{name}",
                product_id=product.id,
                code=f"sku-{name}",
                name=f"SKU {name}",
                unit="piece",
                contents=contents,
            ),
            metadata=self.as_(platform),
            timeout=TIMEOUT_S,
        )
        return str(made.id)

    async def price(self, seller: Team, sku_id: str, amount_micros: int, currency: str = "USD") -> None:
        """What `seller` asks from now on."""
        await self.catalogue.SetPrice(
            catalogue_pb2.SetPriceRequest(
                request_id=f"price-{tag()}",
                seller_id=seller.id,
                sku_id=sku_id,
                unit_price=money_to_message(currency, amount_micros),
            ),
            metadata=self.as_(seller),
            timeout=TIMEOUT_S,
        )

    async def tax(self, seller: Team, rate_ppm: int, name: str = "VAT") -> None:
        """What `seller` adds to all of its sales from now on."""
        await self.catalogue.SetTax(
            catalogue_pb2.SetTaxRequest(request_id=f"tax-{tag()}", seller_id=seller.id, name=name, rate_ppm=rate_ppm),
            metadata=self.as_(seller),
            timeout=TIMEOUT_S,
        )

    # Using it

    async def top_up(self, team: Team, amount_micros: int, currency: str = "USD", **fields: Any) -> wallets_pb2.TopUp:
        """A top-up by the sandbox provider, settled at once."""
        request = wallets_pb2.CreateTopUpRequest(
            request_id=fields.pop("request_id", f"top-up-{tag()}"),
            wallet_id=team.wallet_id,
            amount=money_to_message(currency, amount_micros),
            method=fields.pop("method", wallets_pb2.TOP_UP_METHOD_SANDBOX),
            **fields,
        )
        return await self.wallets.CreateTopUp(request, metadata=self.as_(team, "member"), timeout=TIMEOUT_S)

    async def buy(
        self,
        team: Team,
        sku_id: str,
        quantity: int = 1,
        *,
        request_id: str = "",
        timeout_s: float = TIMEOUT_S,
        **fields: Any,
    ) -> orders_pb2.Order:
        """A purchase by the team's buyer, from the balance unless `fields` say otherwise."""
        request = orders_pb2.PlaceOrderRequest(
            request_id=request_id or f"buy-{tag()}",
            items=[orders_pb2.NewOrderItem(sku_id=sku_id, quantity=quantity)],
            **fields,
        )
        return await self.orders.PlaceOrder(request, metadata=self.as_(team, "member"), timeout=timeout_s)

    async def order(self, team: Team, order_id: str) -> orders_pb2.Order:
        """An order as the team sees it."""
        request = orders_pb2.GetOrderRequest(id=order_id)
        return await self.orders.GetOrder(request, metadata=self.as_(team), timeout=TIMEOUT_S)

    async def order_in(
        self, team: Team, order_id: str, state: orders_pb2.Order.State.ValueType, timeout_s: float = 30.0
    ) -> orders_pb2.Order:
        """The order once it is in `state`; it may not be there yet."""

        async def there() -> bool:
            try:
                return (await self.order(team, order_id)).state == state
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return False

        await eventually(there, timeout_s=timeout_s, every_s=0.1)
        return await self.order(team, order_id)

    async def settle(self, seller: Team, top_up_id: str, reference: str = "") -> wallets_pb2.TopUp:
        """The seller's finance has seen the money."""
        request = wallets_pb2.SettleTopUpRequest(
            request_id=f"settle-{top_up_id}", id=top_up_id, bank_reference=reference or f"BANK {top_up_id}"
        )
        return await self.wallets.SettleTopUp(request, metadata=self.as_(seller, "finance"), timeout=TIMEOUT_S)

    async def balance_micros(self, team: Team, as_of: datetime | None = None) -> int:
        """The total of the team's wallet."""
        request = wallets_pb2.GetBalanceRequest(wallet_id=team.wallet_id)
        if as_of is not None:
            request.as_of.FromDatetime(as_of.astimezone(UTC))
        found = await self.wallets.GetBalance(request, metadata=self.as_(team), timeout=TIMEOUT_S)
        return micros(found.total)

    async def receipts(self, team: Team, **filter_: str) -> list[documents_pb2.Document]:
        """The team's documents, the newest first."""
        found = await self.documents.ListDocuments(
            documents_pb2.ListDocumentsRequest(
                page_size=1000, filter=documents_pb2.DocumentFilter(organization_id=team.id, **filter_)
            ),
            metadata=self.as_(team),
            timeout=TIMEOUT_S,
        )
        return list(found.documents)

    async def sent_receipt(self, team: Team, timeout_s: float = 30.0, **filter_: str) -> documents_pb2.Document:
        """The one receipt that `filter_` finds, once its mail is accepted."""
        found: list[documents_pb2.Document] = []

        async def sent() -> bool:
            found[:] = await self.receipts(team, **filter_)
            return len(found) == 1 and found[0].delivery.state == documents_pb2.Delivery.STATE_SENT

        await eventually(sent, timeout_s=timeout_s, every_s=0.1)
        return found[0]

    def mails_to(self, mailbox_name: str) -> list[Mail]:
        """What the mail store holds for one mailbox."""
        box = mailbox.Maildir(self.env["SMTP_MAILDIR"], create=False)
        return [mail for mail in box if mailbox_name in str(mail["X-RcptTo"])]

    def mails(self, message_id: str) -> list[Mail]:
        """What the mail store holds under a Message-ID."""
        box = mailbox.Maildir(self.env["SMTP_MAILDIR"], create=False)
        return [mail for mail in box if mail["Message-ID"] == message_id]


@dataclass
class Shop:
    """A world with one partner, two customers, and a SKU at 10.00 from the partner, 6.00 from the platform."""

    world: World
    platform: Team
    partner: Team
    customer: Team
    neighbour: Team
    sku_id: str


async def open_shop(
    world: World, *, partner_credit_micros: int = 1000 * MICROS, tax_ppm: int = 0, language: str = "en"
) -> Shop:
    """A partner with money, two customers without, and something to buy."""
    platform = await world.platform()
    partner = await world.make("partner.example", parent=platform)
    customer = await world.make("customer.example", parent=partner, language=language)
    neighbour = await world.make("neighbour.example", parent=partner)
    await world.known(platform, partner, customer, neighbour)
    sku_id = await world.sku()
    await world.price(platform, sku_id, 6 * MICROS)
    await world.price(partner, sku_id, 10 * MICROS)
    if tax_ppm:
        await world.tax(partner, tax_ppm)
    if partner_credit_micros:
        await world.top_up(partner, partner_credit_micros)
    return Shop(world, platform, partner, customer, neighbour, sku_id)


def _algorithm(key_type: str) -> str:
    return {"EC": "ES256", "OKP": "EdDSA", "RSA": "RS256"}[key_type]

"""The people of the demo at work: gRPC calls, each as somebody of the world."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar

from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.wallet.v1 import organizations_pb2, wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from money.messages import money_to_message
from servicekit.clock import SYSTEM_CLOCK

from farthing_cli.calls import Refused, Services, call
from farthing_cli.demo import world
from farthing_cli.problems import Problem
from farthing_cli.tokens import TokenMaker, member_with_role

AT_ONCE = 6
PROXY_DAYS_S = 30 * 24 * 3600
T = TypeVar("T")


async def few_at_once(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results in order, a few under way at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: Awaitable[T]) -> T:
        async with gate:
            return await job

    return list(await asyncio.gather(*(one(job) for job in work)))


class People:
    """Everybody of the world. Requests that seed it have fixed ids: asked again, they find what they made."""

    def __init__(self, environment: Mapping[str, str], services: Services, run: str) -> None:
        self.services = services
        self.run = run
        self.teams: dict[str, organizations_pb2.Organization] = {}
        self.wallets: dict[str, wallets_pb2.Wallet] = {}
        self.skus: dict[str, catalogue_pb2.Sku] = {}
        self._tokens = TokenMaker(environment)

    def name(self, organization_id: str) -> str:
        """The name of an organization of the world."""
        return next((team.name for team in self.teams.values() if team.id == organization_id), organization_id[:8])

    def token(self, domain: str, role: str = "boss") -> str:
        """A token of somebody there."""
        team = self.teams[domain]
        return self._tokens.of_member(team, member_with_role(team, role), SYSTEM_CLOCK.now())

    def operator(self) -> str:
        """A token that sees everything."""
        return self._tokens.of_operator(SYSTEM_CLOCK.now())

    async def found(self, company: world.Company) -> None:
        """Its seller's boss founds it below itself; the operator founds the platform."""
        token = self.token(company.seller) if company.seller else self.operator()
        request = organizations_pb2.CreateOrganizationRequest(
            request_id=f"{world.EDITION}-organization-{company.domain}",
            organization=_organization(company, self.teams[company.seller].id if company.seller else ""),
        )
        try:
            created = await call(self.services.organizations.CreateOrganization, request, token)
        except Refused as refused:
            raise Problem(
                f"{company.domain} cannot be founded: {refused.message}\n"
                "  This stack holds another world. Begin anew with: farthing stack down --remove-data"
            ) from None
        self.teams[company.domain] = created

    async def open_books(self, domain: str) -> None:
        """Looks up its wallet."""
        request = wallets_pb2.ListWalletsRequest(organization_id=self.teams[domain].id)
        reply = await call(self.services.wallets.ListWallets, request, self.token(domain))
        self.wallets[domain] = reply.wallets[0]

    async def stock(self) -> None:
        """The platform's boss fills the catalogue."""
        products: dict[str, str] = {}
        for article in world.ARTICLES:
            if article.product not in products:
                product = await self._platform(
                    self.services.catalogue.CreateProduct,
                    catalogue_pb2.CreateProductRequest(
                        request_id=f"{world.EDITION}-product-{article.product}",
                        type=catalogue_pb2.ProductType.Value(f"PRODUCT_TYPE_{article.type}"),
                        name=article.product,
                    ),
                )
                products[article.product] = product.id
            self.skus[article.code] = await self._platform(
                self.services.catalogue.CreateSku,
                catalogue_pb2.CreateSkuRequest(
                    request_id=f"{world.EDITION}-sku-{article.code}",
                    product_id=products[article.product],
                    code=article.code,
                    name=article.name,
                    unit=article.unit,
                    contents=article.contents,
                ),
            )

    async def _platform(self, method: Any, request: Any) -> Any:
        return await call(method, request, self.token(world.NIMBUS, "admin"))

    async def price_list(self, domain: str) -> int:
        """A seller's boss sets its tax and its prices, the platform in every currency; returns how many prices."""
        selling, token = world.SELLING[domain], self.token(domain)
        tax = catalogue_pb2.SetTaxRequest(
            request_id=f"{world.EDITION}-tax-{domain}",
            seller_id=self.teams[domain].id,
            name=selling.tax_name,
            rate_ppm=selling.tax_ppm,
        )
        await call(self.services.catalogue.SetTax, tax, token)
        currencies = tuple(world.RATES) if domain == world.NIMBUS else (self.teams[domain].currency,)
        for currency in currencies:
            for article in world.ARTICLES:
                price = round(article.cents * world.RATES[currency] * selling.percent / 100) * 10_000
                request = catalogue_pb2.SetPriceRequest(
                    request_id=f"{world.EDITION}-price-{domain}-{article.code}-{currency}",
                    seller_id=self.teams[domain].id,
                    sku_id=self.skus[article.code].id,
                    unit_price=money_to_message(currency, price),
                )
                await call(self.services.catalogue.SetPrice, request, token)
        return len(currencies) * len(world.ARTICLES)

    async def top_up(self, payment: world.Payment) -> wallets_pb2.TopUp:
        """Pays to its seller, whose finance confirms what came by bank."""
        by_bank = payment.how == "bank"
        request = wallets_pb2.CreateTopUpRequest(
            request_id=f"{self.run}-top-up-{payment.domain}",
            wallet_id=self.wallets[payment.domain].id,
            amount=money_to_message(self.wallets[payment.domain].currency, payment.amount * 1_000_000),
            method=wallets_pb2.TOP_UP_METHOD_MANUAL if by_bank else wallets_pb2.TOP_UP_METHOD_SANDBOX,
            payment_token="" if by_bank else "sandbox_declined" if payment.how.startswith("declined") else "sandbox_ok",
        )
        asked: wallets_pb2.TopUp = await call(self.services.wallets.CreateTopUp, request, self.token(payment.domain))
        if not by_bank:
            return asked
        seller = next(company.seller for company in world.COMPANIES if company.domain == payment.domain)
        settle = wallets_pb2.SettleTopUpRequest(
            request_id=f"{self.run}-settle-{payment.domain}",
            id=asked.id,
            bank_reference=f"{self.run.upper()} {payment.domain.removesuffix('.example').upper()}",
        )
        settled: wallets_pb2.TopUp = await call(
            self.services.wallets.SettleTopUp, settle, self.token(seller, "finance")
        )
        return settled

    async def buy(
        self,
        domain: str,
        code: str,
        quantity: int,
        serial: int = 0,
        method: orders_pb2.PaymentMethod.ValueType = orders_pb2.PAYMENT_METHOD_BALANCE,
    ) -> orders_pb2.Order:
        """A member orders, paid from the balance unless `method` says otherwise. Raises Refused."""
        article = next(article for article in world.ARTICLES if article.code == code)
        proxies = [_proxy(code, serial * 100 + n) for n in range(quantity)] if article.type == "PROXY" else []
        request = orders_pb2.PlaceOrderRequest(
            request_id=f"{self.run}-order-{domain}-{code}-{serial}",
            items=[orders_pb2.NewOrderItem(sku_id=self.skus[code].id, quantity=quantity, proxies=proxies)],
            payment_method=method,
        )
        order: orders_pb2.Order = await call(self.services.orders.PlaceOrder, request, self.token(domain, "member"))
        return order


def _organization(company: world.Company, parent_id: str) -> organizations_pb2.Organization:
    return organizations_pb2.Organization(
        parent_id=parent_id,
        name=company.name,
        domain=company.domain,
        integration_code=company.integration_code,
        currency=company.currency,
        language=company.language,
        billing_address=organizations_pb2.BillingAddress(
            lines=[company.street], postal_code=company.postal_code, city=company.city, country=company.country
        ),
        tax_id=company.tax_id,
        branding=organizations_pb2.Branding(
            logo=world.logo(company),
            primary_color=company.primary,
            accent_color=company.accent,
            footer=company.footer,
        ),
        members=[
            organizations_pb2.Member(
                name=person.name,
                email=world.mailbox(person, company.domain),
                role=organizations_pb2.MemberRole.Value(f"MEMBER_ROLE_{person.role.upper()}"),
            )
            for person in company.people
        ],
    )


def _proxy(code: str, number: int) -> orders_pb2.Proxy:
    expires_at = Timestamp(seconds=int(SYSTEM_CLOCK.now().timestamp()) + PROXY_DAYS_S)
    place = {"datacenter-de-30d": "Frankfurt", "mobile-uk-30d": "London", "residential-us-30d": "Denver"}
    # 203.0.113.0/24 and 198.51.100.0/24 are for documentation (RFC 5737).
    network = "203.0.113" if code.startswith("residential") else "198.51.100"
    return orders_pb2.Proxy(
        address=f"{network}.{number % 250 + 2}",
        port=8000 + number % 1000,
        location=place.get(code, "Amsterdam"),
        expires_at=expires_at,
    )

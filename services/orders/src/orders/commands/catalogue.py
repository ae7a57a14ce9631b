"""Adds products and SKUs, and sets prices and taxes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from directory import store as directory
from farthing.orders.v1 import catalogue_pb2 as pb
from money import format_exact
from servicekit import audit
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.problems import Problem, already_exists, denied, invalid, not_found, precondition, unavailable
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.commands.inputs import instant_in, price_in
from orders.convert.catalogue import (
    price_to_message,
    product_to_message,
    product_type_from_number,
    sku_to_message,
    tax_to_message,
)
from orders.domain.catalogue import (
    Price,
    Product,
    Sku,
    Tax,
    ValidFromPast,
    ValidityOverlap,
    effective_from,
    place,
)
from orders.store import catalogue as store
from orders.store.catalogue import Seller


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What changes to the catalogue need."""

    database: Database
    clock: Clock

    async def create_product(self, request: pb.CreateProductRequest) -> pb.Product:
        """Adds a product. For the platform and our services."""
        platform_id = await self._platform_id()
        type_ = product_type_from_number(request.type)
        if type_ is None:
            raise invalid("type: say PROXY or PACKAGE", fields={"type": "say PROXY or PACKAGE"})

        async def change(connection: AsyncConnection) -> pb.Product:
            product = Product(platform_id, new_id(), type_, request.name, self.clock.now())
            await store.add_product(connection, product)
            after = {"type": type_.value, "name": product.name}
            await _record(
                connection,
                Seller(platform_id, platform_id),
                "PRODUCT_CREATED",
                target_id=product.id,
                after=after,
                request_id=request.request_id,
            )
            return product_to_message(product)

        return await once(self.database, platform_id, request, pb.Product, change)

    async def create_sku(self, request: pb.CreateSkuRequest) -> pb.Sku:
        """Adds a SKU to a product. For the platform and our services."""
        platform_id = await self._platform_id()

        async def change(connection: AsyncConnection) -> pb.Sku:
            product_id = UUID(request.product_id)
            if not await store.product_exists(connection, platform_id, product_id):
                raise not_found(f"product '{request.product_id}'")
            contents = tuple(request.contents)
            sku = Sku(new_id(), product_id, request.code, request.name, request.unit, contents)
            if not await store.add_sku(connection, platform_id, sku, self.clock.now()):
                raise already_exists(f"There is a SKU with the code '{request.code}' already; choose another code.")
            after = {"product_id": str(product_id), "code": sku.code, "name": sku.name}
            await _record(
                connection,
                Seller(platform_id, platform_id),
                "SKU_CREATED",
                target_id=sku.id,
                after=after,
                request_id=request.request_id,
            )
            return sku_to_message(sku)

        return await once(self.database, platform_id, request, pb.Sku, change)

    async def set_price(self, request: pb.SetPriceRequest) -> pb.Price:
        """Sets what a seller in the caller's scope asks for a SKU, from an instant on."""
        unit_price = price_in(request.unit_price, "unit_price")
        requested_from = instant_in(request, "valid_from")
        sku_id = UUID(request.sku_id)
        seller = await self._seller(UUID(request.seller_id), sku_id)

        async def change(connection: AsyncConnection) -> pb.Price:
            now = self.clock.now()
            existing = await store.price_validities(connection, seller, sku_id, unit_price.currency, now)
            try:
                placement = place(existing, effective_from(requested_from, now))
                price = Price(
                    root_id=seller.root_id,
                    id=new_id(),
                    seller_id=seller.id,
                    sku_id=sku_id,
                    currency=unit_price.currency,
                    unit_price_micros=unit_price.micros,
                    valid_from=placement.valid_from,
                    valid_to=placement.valid_to,
                )
                await store.add_price(connection, price, placement, now)
                after = {
                    "sku_id": str(sku_id),
                    "unit_price": f"{format_exact(price.unit_price_micros)} {price.currency}",
                    **_validity(price),
                }
                await _record(
                    connection, seller, "PRICE_SET", target_id=price.id, after=after, request_id=request.request_id
                )
            except (ValidFromPast, ValidityOverlap) as error:
                raise _validity_problem("price", error) from None
            return price_to_message(price)

        scope = current_call().scope
        return await once(self.database, seller.root_id, request, pb.Price, change, transaction_scope=scope)

    async def set_tax(self, request: pb.SetTaxRequest) -> pb.Tax:
        """Sets the tax that a seller in the caller's scope adds, for one SKU or as its default."""
        requested_from = instant_in(request, "valid_from")
        sku_id = UUID(request.sku_id) if request.sku_id else None
        seller = await self._seller(UUID(request.seller_id), sku_id)

        async def change(connection: AsyncConnection) -> pb.Tax:
            now = self.clock.now()
            existing = await store.tax_validities(connection, seller, sku_id, now)
            try:
                placement = place(existing, effective_from(requested_from, now))
                tax = Tax(
                    root_id=seller.root_id,
                    id=new_id(),
                    seller_id=seller.id,
                    sku_id=sku_id,
                    name=request.name,
                    rate_ppm=request.rate_ppm,
                    valid_from=placement.valid_from,
                    valid_to=placement.valid_to,
                )
                await store.add_tax(connection, tax, placement, now)
                after = {
                    "sku_id": str(sku_id or ""),
                    "name": tax.name,
                    "rate_ppm": tax.rate_ppm,
                    **_validity(tax),
                }
                await _record(
                    connection, seller, "TAX_SET", target_id=tax.id, after=after, request_id=request.request_id
                )
            except (ValidFromPast, ValidityOverlap) as error:
                raise _validity_problem("tax", error) from None
            return tax_to_message(tax)

        scope = current_call().scope
        return await once(self.database, seller.root_id, request, pb.Tax, change, transaction_scope=scope)

    async def _platform_id(self) -> UUID:
        """The platform's id, where the caller acts for it; else a Problem."""
        async with self.database.transaction(EVERYTHING) as connection:
            platform_id = await store.find_platform(connection)
        if platform_id is None:
            raise unavailable(
                "The platform's organization is not known here yet; repeat in a moment.",
                reason="ORGANIZATION_NOT_YET_KNOWN",
            )
        principal = current_call().principal
        if principal.kind == "member" and principal.organization_id != platform_id:
            raise denied("Products and SKUs are added by the platform; you set your own prices for them (SetPrice).")
        return platform_id

    async def _seller(self, seller_id: UUID, sku_id: UUID | None) -> Seller:
        """The seller, where the caller may see it, and the SKU exists; else a Problem."""
        async with self.database.transaction(current_call().scope) as connection:
            organization = await directory.find(connection, seller_id)
            if organization is None:
                raise not_found(f"organization '{seller_id}'")
            if sku_id is not None and sku_id not in await store.find_skus(connection, [sku_id]):
                raise not_found(f"SKU '{sku_id}'")
        return Seller(organization.root_id, organization.id)


_TARGETS = {"PRODUCT_CREATED": "product", "SKU_CREATED": "sku", "PRICE_SET": "price", "TAX_SET": "tax"}


async def _record(
    connection: AsyncConnection,
    owner: Seller,
    action: str,
    *,
    target_id: UUID,
    after: Mapping[str, Any],
    request_id: str,
) -> None:
    """Into the audit trail of whose catalogue or price list it is. Nothing there is ever changed, only added to."""
    trail = audit.Change(
        root_id=owner.root_id,
        organization_id=owner.id,
        action=action,
        target_type=_TARGETS[action],
        target_id=str(target_id),
        after=after,
        request_id=request_id,
    )
    await audit.record(connection, trail)


def _validity(valid: Price | Tax) -> dict[str, str]:
    until = valid.valid_to.isoformat() if valid.valid_to else ""
    return {"valid_from": valid.valid_from.isoformat(), "valid_to": until}


def _validity_problem(what: str, error: ValidFromPast | ValidityOverlap) -> Problem:
    if isinstance(error, ValidFromPast):
        return invalid(f"This {what} cannot be set: {error}", fields={"valid_from": "lies in the past"})
    return precondition("VALIDITY_OVERLAP", f"This {what} cannot be set: {error}")

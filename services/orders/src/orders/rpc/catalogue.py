"""farthing.orders.v1.CatalogueService."""

from uuid import UUID

from farthing.orders.v1 import catalogue_pb2, catalogue_pb2_grpc
from servicekit.call import current_call
from servicekit.paging import page_size
from servicekit.problems import invalid
from servicekit.scope import EVERYTHING

from orders.commands.catalogue import Catalogue
from orders.commands.inputs import instant_in
from orders.commands.placing import find_chain
from orders.convert.catalogue import offer_to_message, price_to_message, product_to_message, tax_to_message
from orders.rpc.reads import Context, Reads, without_page
from orders.store import catalogue as catalogue_store


class CatalogueRpc(catalogue_pb2_grpc.CatalogueServiceServicer):
    """farthing.orders.v1.CatalogueService."""

    def __init__(self, catalogue: Catalogue, reads: Reads) -> None:
        self._catalogue, self._reads = catalogue, reads

    async def CreateProduct(
        self, request: catalogue_pb2.CreateProductRequest, context: Context
    ) -> catalogue_pb2.Product:
        return await self._catalogue.create_product(request)

    async def CreateSku(self, request: catalogue_pb2.CreateSkuRequest, context: Context) -> catalogue_pb2.Sku:
        return await self._catalogue.create_sku(request)

    async def SetPrice(self, request: catalogue_pb2.SetPriceRequest, context: Context) -> catalogue_pb2.Price:
        return await self._catalogue.set_price(request)

    async def SetTax(self, request: catalogue_pb2.SetTaxRequest, context: Context) -> catalogue_pb2.Tax:
        return await self._catalogue.set_tax(request)

    async def ListProducts(
        self, request: catalogue_pb2.ListProductsRequest, context: Context
    ) -> catalogue_pb2.ListProductsResponse:
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token)
        after = UUID(cursor["id"]) if cursor else None
        async with self._reads.database.transaction(current_call().scope) as connection:
            found = await catalogue_store.list_products(connection, after, size + 1)
        products, token = self._reads.page(
            # Not its name: that may be longer than a token can be.
            found,
            size,
            product_to_message,
            lambda product: {"id": str(product.id)},
        )
        return catalogue_pb2.ListProductsResponse(products=products, next_page_token=token)

    async def ListPrices(
        self, request: catalogue_pb2.ListPricesRequest, context: Context
    ) -> catalogue_pb2.ListPricesResponse:
        size, filter_ = page_size(request.page_size), without_page(request)
        cursor = self._reads.pager.decode(request.page_token, bound_to=filter_)
        scope = current_call().scope
        async with self._reads.database.transaction(scope) as connection:
            found = await catalogue_store.list_prices(
                connection,
                scope,
                UUID(request.seller_id),
                valid_at=instant_in(request, "valid_at"),
                after=UUID(cursor["id"]) if cursor else None,
                count=size + 1,
            )
        prices, token = self._reads.page(found, size, price_to_message, lambda price: {"id": str(price.id)}, filter_)
        return catalogue_pb2.ListPricesResponse(prices=prices, next_page_token=token)

    async def ListTaxes(
        self, request: catalogue_pb2.ListTaxesRequest, context: Context
    ) -> catalogue_pb2.ListTaxesResponse:
        size, filter_ = page_size(request.page_size), without_page(request)
        cursor = self._reads.pager.decode(request.page_token, bound_to=filter_)
        scope = current_call().scope
        async with self._reads.database.transaction(scope) as connection:
            found = await catalogue_store.list_taxes(
                connection,
                scope,
                UUID(request.seller_id),
                after=UUID(cursor["id"]) if cursor else None,
                count=size + 1,
            )
        taxes, token = self._reads.page(found, size, tax_to_message, lambda tax: {"id": str(tax.id)}, filter_)
        return catalogue_pb2.ListTaxesResponse(taxes=taxes, next_page_token=token)

    async def ListOffers(
        self, request: catalogue_pb2.ListOffersRequest, context: Context
    ) -> catalogue_pb2.ListOffersResponse:
        buyer_id = current_call().principal.organization_id
        if buyer_id is None:
            raise invalid("Offers are made to organizations: call with the token of a member.")
        size = page_size(request.page_size)
        cursor = self._reads.pager.decode(request.page_token)
        after = UUID(cursor["id"]) if cursor else None
        # The chain's prices decide what is offered, and nobody sees its seller's.
        async with self._reads.database.transaction(EVERYTHING) as connection:
            chain = await find_chain(connection, buyer_id)
            if chain is None:
                return catalogue_pb2.ListOffersResponse()
            now = self._reads.clock.now()
            found = await catalogue_store.list_offers(connection, chain, now, after, size + 1)
        offers, token = self._reads.page(
            found,
            size,
            offer_to_message,
            lambda offer: {"id": str(offer.sku.id)},
        )
        return catalogue_pb2.ListOffersResponse(offers=offers, next_page_token=token)

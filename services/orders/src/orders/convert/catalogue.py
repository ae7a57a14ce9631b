"""Products, prices and taxes."""

from farthing.orders.v1 import catalogue_pb2
from money.messages import money_to_message

from orders.convert.values import instant_to_message
from orders.domain.catalogue import Offer, Price, Product, ProductType, Sku, Tax

PRODUCT_TYPES = {
    ProductType.PROXY: catalogue_pb2.PRODUCT_TYPE_PROXY,
    ProductType.PACKAGE: catalogue_pb2.PRODUCT_TYPE_PACKAGE,
    ProductType.CLOUD_PHONE: catalogue_pb2.PRODUCT_TYPE_CLOUD_PHONE,
}
_PRODUCT_TYPE_OF = {number: type_ for type_, number in PRODUCT_TYPES.items()}


def product_type_from_number(number: int) -> ProductType | None:
    """None for UNSPECIFIED."""
    return _PRODUCT_TYPE_OF.get(catalogue_pb2.ProductType.ValueType(number))


def sku_to_message(sku: Sku) -> catalogue_pb2.Sku:
    return catalogue_pb2.Sku(
        id=str(sku.id),
        product_id=str(sku.product_id),
        code=sku.code,
        name=sku.name,
        unit=sku.unit,
        contents=sku.contents,
    )


def product_to_message(product: Product) -> catalogue_pb2.Product:
    return catalogue_pb2.Product(
        id=str(product.id),
        type=PRODUCT_TYPES[product.type],
        name=product.name,
        skus=[sku_to_message(sku) for sku in product.skus],
        created_at=instant_to_message(product.created_at),
    )


def price_to_message(price: Price) -> catalogue_pb2.Price:
    return catalogue_pb2.Price(
        id=str(price.id),
        seller_id=str(price.seller_id),
        sku_id=str(price.sku_id),
        unit_price=money_to_message(price.currency, price.unit_price_micros),
        valid_from=instant_to_message(price.valid_from),
        valid_to=instant_to_message(price.valid_to),
    )


def tax_to_message(tax: Tax) -> catalogue_pb2.Tax:
    return catalogue_pb2.Tax(
        id=str(tax.id),
        seller_id=str(tax.seller_id),
        sku_id=str(tax.sku_id) if tax.sku_id else "",
        name=tax.name,
        rate_ppm=tax.rate_ppm,
        valid_from=instant_to_message(tax.valid_from),
        valid_to=instant_to_message(tax.valid_to),
    )


def offer_to_message(offer: Offer) -> catalogue_pb2.Offer:
    return catalogue_pb2.Offer(
        product=product_to_message(offer.product),
        sku=sku_to_message(offer.sku),
        unit_price=money_to_message(offer.currency, offer.unit_price_micros),
        tax_name=offer.tax_name,
        tax_rate_ppm=offer.tax_rate_ppm,
    )

"""Protos to domain and back."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from farthing.orders.v1 import catalogue_pb2, orders_pb2
from farthing.wallet.v1 import wallets_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money as MoneyMessage
from money import Money, from_units_nanos, to_units_nanos

from orders.domain.catalogue import Offer, Price, Product, ProductType, Sku, Tax
from orders.domain.orders import Order, OrderItem, OrderState, Proxy, Refusal, charge_item, told_text
from orders.domain.pricing import Tier, TierLine

_PRODUCT_TYPES = {
    ProductType.PROXY: catalogue_pb2.PRODUCT_TYPE_PROXY,
    ProductType.PACKAGE: catalogue_pb2.PRODUCT_TYPE_PACKAGE,
}
_STATES = {
    OrderState.PENDING_PAYMENT: orders_pb2.Order.STATE_PENDING_PAYMENT,
    OrderState.COMPLETED: orders_pb2.Order.STATE_COMPLETED,
    OrderState.CANCELED: orders_pb2.Order.STATE_CANCELED,
}
_PRODUCT_TYPE_OF = {number: type_ for type_, number in _PRODUCT_TYPES.items()}
_STATE_OF = {number: state for state, number in _STATES.items()}


def money_to_message(currency: str, micros: int) -> MoneyMessage:
    """google.type.Money of an amount in micros."""
    units, nanos = to_units_nanos(micros)
    return MoneyMessage(currency_code=currency, units=units, nanos=nanos)


def money_from_message(message: MoneyMessage) -> Money:
    """The amount; MoneyError where it is finer than a millionth or too large."""
    return from_units_nanos(message.currency_code, message.units, message.nanos)


def instant_to_message(instant: datetime | None) -> Timestamp | None:
    """Unset for None."""
    if instant is None:
        return None
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def instant_from_message(message: Timestamp) -> datetime:
    """With time zone UTC, cut to the microsecond. ValueError outside of the years 1 to 9999."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from error


def product_type_from_number(number: int) -> ProductType | None:
    """None for UNSPECIFIED."""
    return _PRODUCT_TYPE_OF.get(catalogue_pb2.ProductType.ValueType(number))


def order_state_from_number(number: int) -> OrderState | None:
    """None for UNSPECIFIED."""
    return _STATE_OF.get(orders_pb2.Order.State.ValueType(number))


# -- catalogue -----------------------------------------------------------------------------------------------------


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
        type=_PRODUCT_TYPES[product.type],
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


# -- orders --------------------------------------------------------------------------------------------------------


def order_to_message(order: Order, viewer_id: UUID | None) -> orders_pb2.Order:
    """The order as a member of `viewer_id` reads it (None: a service): its own tier as buyer first.

    `order` holds the tiers and the refusal that the viewer may see.
    """
    own = order.own_tier
    tiers = sorted(order.tiers, key=lambda tier: (tier.buyer_id != viewer_id, tier.number))
    refusal = order.refusal
    return orders_pb2.Order(
        id=str(order.id),
        number=order.number,
        state=_STATES[order.state],
        type=_PRODUCT_TYPES[order.type],
        organization_id=str(order.organization_id),
        seller_id=str(order.seller_id),
        paying_user_name=order.payer.name,
        paying_user_email=order.payer.email,
        payment_method=orders_pb2.PAYMENT_METHOD_BALANCE,
        items=[_item_to_message(item, line, order.currency) for item, line in zip(order.items, own.lines, strict=True)],
        net=money_to_message(order.currency, own.net_micros),
        tax=money_to_message(order.currency, own.tax_micros),
        total=money_to_message(order.currency, own.net_micros + own.tax_micros),
        tiers=[_tier_to_message(tier, order.currency) for tier in tiers],
        transaction_id=str(order.transaction_id) if order.transaction_id else "",
        cancel_reason=told_text(order, refusal, viewer_id) if refusal else "",
        created_at=instant_to_message(order.created_at),
        paid_at=instant_to_message(order.paid_at),
        canceled_at=instant_to_message(order.canceled_at),
    )


def _item_to_message(item: OrderItem, line: TierLine, currency: str) -> orders_pb2.OrderItem:
    return orders_pb2.OrderItem(
        sku_id=str(item.sku.id),
        sku_code=item.sku.code,
        product_name=item.product_name,
        sku_name=item.sku.name,
        unit=item.sku.unit,
        quantity=item.quantity,
        unit_price=money_to_message(currency, line.unit_price_micros),
        net=money_to_message(currency, line.net_micros),
        tax_name=line.tax.name,
        tax_rate_ppm=line.tax.rate_ppm,
        tax=money_to_message(currency, line.tax_micros),
        contents=item.sku.contents,
        proxies=[
            orders_pb2.Proxy(
                address=proxy.address,
                port=proxy.port,
                location=proxy.location,
                expires_at=instant_to_message(proxy.expires_at),
            )
            for proxy in item.proxies
        ],
    )


def _tier_to_message(tier: Tier, currency: str) -> orders_pb2.OrderTier:
    return orders_pb2.OrderTier(
        buyer_id=str(tier.buyer_id),
        seller_id=str(tier.seller_id),
        net=money_to_message(currency, tier.net_micros),
        tax=money_to_message(currency, tier.tax_micros),
    )


def proxies_from_messages(messages: Iterable[orders_pb2.Proxy]) -> tuple[Proxy, ...]:
    """ValueError for an expiry outside of the years 1 to 9999."""
    return tuple(
        Proxy(
            message.address,
            message.port,
            message.location,
            instant_from_message(message.expires_at) if message.HasField("expires_at") else None,
        )
        for message in messages
    )


# -- wallet --------------------------------------------------------------------------------------------------------


def charge_of(order: Order) -> wallets_pb2.Charge:
    """What wallet is asked to post; the same for the same order, however often it is asked. Needs all tiers."""
    return wallets_pb2.Charge(
        request_id=str(order.id),
        currency=order.currency,
        tiers=[
            wallets_pb2.ChargeTier(
                buyer_id=str(tier.buyer_id),
                seller_id=str(tier.seller_id),
                net_micros=tier.net_micros,
                tax_micros=tier.tax_micros,
            )
            for tier in order.tiers
        ],
        order_id=str(order.id),
        order_number=order.number,
        item=charge_item(order.items),
    )


def refusal_from_message(message: wallets_pb2.ChargeRefusal) -> Refusal:
    return Refusal(
        reason=message.reason,
        message=message.message,
        organization_id=UUID(message.organization_id) if message.organization_id else None,
        wallet_id=UUID(message.wallet_id) if message.wallet_id else None,
        available_micros=message.available_micros,
        needed_micros=message.needed_micros,
    )

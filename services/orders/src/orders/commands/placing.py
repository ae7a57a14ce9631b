"""From a request to an order that waits for its payment: who sells, what, at which price at every tier."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import grpc
from directory import store as directory
from farthing.orders.v1 import orders_pb2 as pb
from servicekit.ids import new_id
from servicekit.problems import Problem, invalid, not_found, precondition, unavailable
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.convert.orders import proxies_from_messages
from orders.domain.cancellations import CANNOT_SELL
from orders.domain.catalogue import ProductType
from orders.domain.orders import LONGEST_CHAIN, Order, OrderItem, OrderState, Payer
from orders.domain.pricing import Chain, NoPrice, OutOfRange, price_tiers
from orders.store import catalogue as store
from orders.store.catalogue import SoldSku

# What an event carries must fit a Kafka message (1 MB), and a page of orders a gRPC message.
LARGEST_ORDER_BYTES = 800_000


async def find_chain(connection: AsyncConnection, organization_id: UUID) -> Chain | None:
    """The organization and everybody it pays through; None for the platform, which has no seller.

    Needs scope EVERYTHING. Raises Problem for a chain that is not whole here yet, or not in one currency.
    """
    chain = await directory.chain(connection, organization_id)
    if not chain:
        raise unavailable(
            "Your organization and its sellers are not all known here yet; repeat in a moment.",
            reason="ORGANIZATION_NOT_YET_KNOWN",
        )
    buyer = chain[0]
    if buyer.is_platform:
        return None
    # The platform buys from nobody: only its prices in the buyer's currency matter.
    if any(link.currency != buyer.currency for link in chain[:-1]):
        raise precondition(
            "CURRENCY_MISMATCH",
            f"Your organization buys in {buyer.currency}, but not everybody it buys through does; "
            "nothing can be sold to it until its seller has sorted that out.",
        )
    if len(chain) - 1 > LONGEST_CHAIN:
        raise precondition("SELLER_CANNOT_SELL", CANNOT_SELL)
    return Chain(buyer.root_id, tuple(link.id for link in chain), buyer.currency)


async def draft_order(
    connection: AsyncConnection, chain: Chain, request: pb.PlaceOrderRequest, payer: Payer, now: datetime
) -> Order:
    """The order, priced at every tier as of `now`, without its number; nothing is written.

    Needs scope EVERYTHING. Raises Problem for what cannot be ordered.
    """
    skus = await store.find_skus(connection, [UUID(item.sku_id) for item in request.items])
    type_ = _one_type(request, skus)
    items = tuple(_item(index, item, skus[UUID(item.sku_id)], type_) for index, item in enumerate(request.items))
    price_list = await store.price_list(connection, chain, list(skus), now)
    try:
        tiers = price_tiers(chain, [(item.sku, item.quantity) for item in items], price_list)
    except (NoPrice, OutOfRange) as error:
        raise _pricing_problem(chain, error) from None
    if tiers[0].net_micros + tiers[0].tax_micros == 0:
        raise _out_of_range("The order comes to zero, and nothing can be charged for it")
    return Order(
        root_id=chain.root_id,
        id=new_id(),
        number="",
        state=OrderState.PENDING_PAYMENT,
        type=type_,
        organization_id=chain.organization_ids[0],
        seller_id=chain.seller_ids[0],
        payer=payer,
        currency=chain.currency,
        items=items,
        tiers=tiers,
        created_at=now,
    )


def check_size(size_bytes: int) -> None:
    """Problem for an order that is too large to be published."""
    if size_bytes > LARGEST_ORDER_BYTES:
        raise Problem(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "LIMIT_EXCEEDED",
            f"The order takes {size_bytes} bytes, and {LARGEST_ORDER_BYTES} is the most; split it into several.",
        )


def _one_type(request: pb.PlaceOrderRequest, skus: Mapping[UUID, SoldSku]) -> ProductType:
    for item in request.items:
        if UUID(item.sku_id) not in skus:
            raise not_found(f"SKU '{item.sku_id}'")
    types = {sku.product_type for sku in skus.values()}
    if ProductType.CLOUD_PHONE in types:
        text = "a cloud phone is not ordered: power one up, and its order opens by itself"
        raise invalid(f"items: {text}", fields={"items": text})
    if len(types) > 1:
        text = "proxies and packages cannot be in one order; place one order for each"
        raise invalid(f"items: {text}", fields={"items": text})
    return types.pop()


def _item(index: int, wanted: pb.NewOrderItem, sold: SoldSku, type_: ProductType) -> OrderItem:
    field = f"items[{index}].proxies"
    if wanted.proxies and type_ is not ProductType.PROXY:
        text = f"'{sold.sku.code}' is not a proxy"
        raise invalid(f"{field}: {text}", fields={field: text})
    if wanted.proxies and len(wanted.proxies) != wanted.quantity:
        text = f"{len(wanted.proxies)} proxies for a quantity of {wanted.quantity}; give none, or one a unit"
        raise invalid(f"{field}: {text}", fields={field: text})
    try:
        proxies = proxies_from_messages(wanted.proxies)
    except ValueError:
        text = "an expires_at is not an instant between the years 1 and 9999"
        raise invalid(f"{field}: {text}", fields={field: text}) from None
    return OrderItem(sold.sku, sold.product_name, wanted.quantity, proxies)


def _pricing_problem(chain: Chain, error: NoPrice | OutOfRange) -> Problem:
    """Names what is wrong at the buyer's own tier; above it, only that something is."""
    if error.tier > 1:
        return precondition("SELLER_CANNOT_SELL", CANNOT_SELL)
    if isinstance(error, OutOfRange):
        return _out_of_range(f"The order cannot be counted: {error.why}")
    return precondition(
        "NO_PRICE",
        f"Your seller has no price in {chain.currency} for '{error.sku.code}' now; ListOffers says what it sells.",
        sku_id=str(error.sku.id),
        sku_code=error.sku.code,
    )


def _out_of_range(text: str) -> Problem:
    return invalid(f"{text}; change its items.", fields={"items": text}, reason="AMOUNT_OUT_OF_RANGE")

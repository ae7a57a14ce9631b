"""Given sellers who set prices and taxes, then one is valid at a time, and buyers see offers, never price lists."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from farthing.orders.v1 import catalogue_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from .conftest import NOON, MakeWorld, Member, World, problem_of

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


async def prices(world: World, seller: Member, who: Member | None = None, **more: object) -> list[catalogue_pb2.Price]:
    request = catalogue_pb2.ListPricesRequest(seller_id=str(seller.id), **more)
    response = await world.call(who or seller, "ListPrices", request)
    assert isinstance(response, catalogue_pb2.ListPricesResponse)
    return list(response.prices)


async def offers(world: World, who: Member) -> dict[str, catalogue_pb2.Offer]:
    response = await world.call(who, "ListOffers", catalogue_pb2.ListOffersRequest(page_size=1000))
    assert isinstance(response, catalogue_pb2.ListOffersResponse)
    return {offer.sku.id: offer for offer in response.offers}


def instant(at: object) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)  # type: ignore[arg-type]
    return message


async def test_only_the_platform_and_services_add_products(world: World) -> None:
    """Given a partner, when it adds a product or a SKU, then it is denied; our services may."""
    request = catalogue_pb2.CreateProductRequest(
        request_id=str(uuid4()), type=catalogue_pb2.PRODUCT_TYPE_PROXY, name="Mine"
    )
    assert (await problem_of(world.call(world.partner, "CreateProduct", request))).code is (
        grpc.StatusCode.PERMISSION_DENIED
    )
    product = await world.call(None, "CreateProduct", request)
    assert await world.call(None, "CreateProduct", request) == product
    sku = catalogue_pb2.CreateSkuRequest(
        request_id=str(uuid4()), product_id=product.id, code=f"sku-{uuid4()}", name="1 day", unit="proxy"
    )
    assert (await problem_of(world.call(world.partner, "CreateSku", sku))).code is grpc.StatusCode.PERMISSION_DENIED
    made = await world.call(world.platform, "CreateSku", sku)
    sku.request_id = str(uuid4())
    assert (await problem_of(world.call(world.platform, "CreateSku", sku))).reason == "ALREADY_EXISTS"
    sku.product_id, sku.code = str(uuid4()), f"sku-{uuid4()}"
    assert (await problem_of(world.call(world.platform, "CreateSku", sku))).reason == "NOT_FOUND"
    request_ = catalogue_pb2.ListProductsRequest(page_size=1000)
    response = await world.call(world.customer, "ListProducts", request_)
    [found] = [each for each in response.products if each.id == product.id]
    assert list(found.skus) == [made]


async def test_products_page_by_name(world: World) -> None:
    """Given products, two of one name, when paged one by one, then each comes once, by name."""
    for name in ("Twin", "Twin", "Alone"):
        await world.sku(catalogue_pb2.PRODUCT_TYPE_PROXY, name)
    request, names, ids = catalogue_pb2.ListProductsRequest(page_size=1), [], []
    while True:
        response = await world.call(world.customer, "ListProducts", request)
        names += [product.name for product in response.products]
        ids += [product.id for product in response.products]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert names == sorted(names)
    assert len(ids) == len(set(ids))
    assert names.count("Twin") >= 2


async def test_a_new_price_closes_the_one_before(world: World) -> None:
    """Given an open price, when another is set for later, then the first ends where the second begins."""
    later = NOON + HOUR
    await world.price(world.reseller, world.sku_id, 999, valid_from=later)
    of_sku = [price for price in await prices(world, world.reseller) if price.sku_id == world.sku_id]
    assert [(p.unit_price.units, p.valid_from, p.HasField("valid_to")) for p in of_sku] == [
        (2, instant(NOON), True),
        (9, instant(later), False),
    ]
    assert of_sku[0].valid_to == of_sku[1].valid_from

    async def valid_at(at: object) -> list[int]:
        found = await prices(world, world.reseller, valid_at=instant(at))
        return [price.unit_price.units for price in found if price.sku_id == world.sku_id]

    assert await valid_at(NOON - MICROSECOND) == []
    assert await valid_at(NOON) == [2]
    assert await valid_at(later - MICROSECOND) == [2]
    assert await valid_at(later) == [9]


async def test_a_price_fits_before_a_planned_one(world: World) -> None:
    """Given a price planned for later, when one is set from soon on, then it lasts until the planned one begins."""
    soon, later = NOON + HOUR, NOON + 2 * HOUR
    await world.price(world.reseller, world.sku_id, 999, valid_from=later)
    between = await world.price(world.reseller, world.sku_id, 555, valid_from=soon)
    assert (between.valid_from, between.valid_to) == (instant(soon), instant(later))
    problem = await problem_of(world.price(world.reseller, world.sku_id, 1, valid_from=later))
    assert problem.reason == "VALIDITY_OVERLAP"


async def test_the_past_never_changes(world: World) -> None:
    """Given a price, when one is set for the past, then it is refused; a minute of a slow clock is taken as now."""
    world.clock.advance(HOUR)
    problem = await problem_of(world.price(world.reseller, world.sku_id, 1, valid_from=NOON + HOUR / 2))
    assert (problem.code, list(problem.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["valid_from"])
    price = await world.price(world.reseller, world.sku_id, 1, valid_from=NOON + HOUR - timedelta(seconds=59))
    assert price.valid_from == instant(NOON + HOUR)


async def test_two_who_set_a_price_at_once_cannot_overlap(world: World) -> None:
    """Given ten prices set for one instant at once, when all have answered, then one stands and nine are refused."""
    later = NOON + HOUR
    answers = await asyncio.gather(
        *(world.price(world.reseller, world.sku_id, cents, valid_from=later) for cents in range(10)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert [problem.reason for problem in refused] == ["VALIDITY_OVERLAP"] * 9
    assert len([p for p in await prices(world, world.reseller) if p.valid_from == instant(later)]) == 1


async def test_the_database_refuses_overlapping_prices(world: World) -> None:
    """Given an open price, when SQL writes another one beside it, then the exclusion constraint refuses."""
    copy = text(
        "INSERT INTO prices SELECT root_id, :id, seller_id, sku_id, currency, 1, validity, created_at"
        " FROM prices WHERE seller_id = :seller_id AND sku_id = :sku_id"
    )
    row = {"id": uuid4(), "seller_id": world.reseller.id, "sku_id": world.sku_id}
    with pytest.raises(IntegrityError, match="prices_one_at_a_time"):
        async with world.database.transaction(EVERYTHING) as connection:
            await connection.execute(copy, row)


async def test_a_repeated_price_is_set_once(world: World) -> None:
    """Given a price that was set, when repeated an hour later, then it is the same price, unless the body differs."""
    request = catalogue_pb2.SetPriceRequest(
        request_id=str(uuid4()),
        seller_id=str(world.reseller.id),
        sku_id=world.sku_id,
        unit_price=Money(currency_code="USD", units=5),
    )
    first = await world.call(world.reseller, "SetPrice", request)
    world.clock.advance(HOUR)
    assert await world.call(world.reseller, "SetPrice", request) == first
    request.unit_price.units = 6
    assert (await problem_of(world.call(world.reseller, "SetPrice", request))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("money", "reason"),
    [
        (Money(currency_code="EUR", units=-1), "AMOUNT_OUT_OF_RANGE"),
        (Money(currency_code="EUR", nanos=1), "AMOUNT_OUT_OF_RANGE"),
        (Money(currency_code="EUR", units=9_223_372_036_855), "AMOUNT_OUT_OF_RANGE"),
        (Money(currency_code="XXX", units=1), "INVALID_ARGUMENT"),
        (Money(units=1), "INVALID_ARGUMENT"),
        (Money(currency_code="X" * 10_000, units=1), "INVALID_ARGUMENT"),
    ],
)
async def test_prices_that_cannot_be_are_refused(world: World, money: Money, reason: str) -> None:
    """Given a negative, too fine or too large amount, or no currency, when set as a price, then its field is named."""
    request = catalogue_pb2.SetPriceRequest(
        request_id=str(uuid4()), seller_id=str(world.reseller.id), sku_id=world.sku_id, unit_price=money
    )
    problem = await problem_of(world.call(world.reseller, "SetPrice", request))
    assert problem.reason == reason
    assert next(iter(problem.fields)).startswith("unit_price")
    assert len(problem.message) < 200


async def test_prices_and_taxes_are_set_for_oneself_and_those_below(world: World) -> None:
    """Given a partner, when it sets its reseller's price, it may; the reseller cannot set its seller's, nor read it."""
    request = catalogue_pb2.SetPriceRequest(
        request_id=str(uuid4()),
        seller_id=str(world.reseller.id),
        sku_id=world.sku_id,
        unit_price=Money(currency_code="USD", units=5),
    )
    assert (await world.call(world.partner, "SetPrice", request)).seller_id == str(world.reseller.id)
    for above in (world.partner, world.platform, world.stranger):
        request.request_id, request.seller_id = str(uuid4()), str(above.id)
        assert (await problem_of(world.call(world.reseller, "SetPrice", request))).reason == "NOT_FOUND"
        tax = catalogue_pb2.SetTaxRequest(request_id=str(uuid4()), seller_id=str(above.id), name="VAT", rate_ppm=1)
        assert (await problem_of(world.call(world.reseller, "SetTax", tax))).reason == "NOT_FOUND"
        assert await prices(world, above, world.reseller) == []
    assert await prices(world, world.reseller, world.customer) == []
    assert len(await prices(world, world.reseller, world.partner)) == 3


async def test_a_price_needs_a_sku(world: World) -> None:
    """Given an id that names nothing, when priced or taxed, then it is not found."""
    assert (await problem_of(world.price(world.reseller, str(uuid4()), 1))).reason == "NOT_FOUND"
    assert (await problem_of(world.tax(world.reseller, 1, str(uuid4())))).reason == "NOT_FOUND"


async def test_taxes_follow_each_other_and_the_skus_own_wins(world: World) -> None:
    """Given a default tax, when a SKU gets its own and the default changes, then the offers show each in its time."""
    await world.tax(world.reseller, 70_000, world.sku_id)
    world.clock.advance(HOUR)
    await world.tax(world.reseller, 210_000)
    found = await offers(world, world.customer)
    assert (found[world.sku_id].tax_rate_ppm, found[world.package_id].tax_rate_ppm) == (70_000, 210_000)
    request = catalogue_pb2.ListTaxesRequest(seller_id=str(world.reseller.id))
    taxes = (await world.call(world.reseller, "ListTaxes", request)).taxes
    assert [(tax.sku_id, tax.rate_ppm, tax.HasField("valid_to")) for tax in taxes] == [
        ("", 190_000, True),
        (world.sku_id, 70_000, False),
        ("", 210_000, False),
    ]
    assert list((await world.call(world.customer, "ListTaxes", request)).taxes) == []


async def test_offers_are_what_the_whole_chain_can_sell(make_world: MakeWorld) -> None:
    """Given prices that arrive tier by tier, when the customer looks, then a SKU is offered once every tier has one."""
    world = await make_world()
    for number, seller in enumerate(world.sellers):
        assert await offers(world, world.customer) == {}
        await world.price(seller, world.sku_id, 200 - number)
    [offer] = (await offers(world, world.customer)).values()
    assert (offer.product.name, offer.sku.name, offer.unit_price.units) == ("US proxies", "30 days", 2)
    assert (offer.tax_name, offer.tax_rate_ppm) == ("", 0)
    assert set(await offers(world, world.reseller)) == {world.sku_id}
    assert await offers(world, world.stranger) == {}
    assert await offers(world, world.platform) == {}


async def test_what_is_offered_can_be_bought_at_that_price(world: World) -> None:
    """Given an offer, when it is taken, then the order has the offer's price and tax."""
    offer = (await offers(world, world.customer))[world.sku_id]
    [item] = (await world.place(world.purchase())).items
    assert (item.unit_price, item.tax_name, item.tax_rate_ppm) == (
        offer.unit_price,
        offer.tax_name,
        offer.tax_rate_ppm,
    )


async def test_offers_page(world: World) -> None:
    """Given two offers, when read one a page, then each comes once; the token is the buyer's alone."""
    request = catalogue_pb2.ListOffersRequest(page_size=1)
    first = await world.call(world.customer, "ListOffers", request)
    request.page_token = first.next_page_token
    second = await world.call(world.customer, "ListOffers", request)
    assert {first.offers[0].sku.id, second.offers[0].sku.id} == {world.sku_id, world.package_id}
    assert second.next_page_token == ""
    assert (await problem_of(world.call(world.sibling, "ListOffers", request))).reason == "PAGE_TOKEN_INVALID"


async def test_prices_page(world: World) -> None:
    """Given three prices, when read two a page, then each comes once, in the order they were set."""
    await world.price(world.reseller, world.sku_id, 100, currency="USD")
    request = catalogue_pb2.ListPricesRequest(seller_id=str(world.reseller.id), page_size=2)
    first = await world.call(world.reseller, "ListPrices", request)
    request.page_token = first.next_page_token
    second = await world.call(world.reseller, "ListPrices", request)
    assert [len(first.prices), len(second.prices)] == [2, 1]
    assert [*first.prices, *second.prices] == await prices(world, world.reseller)
    request.valid_at.FromDatetime(NOON)
    assert (await problem_of(world.call(world.reseller, "ListPrices", request))).reason == "PAGE_TOKEN_INVALID"


async def test_changes_of_the_catalogue_are_in_the_audit_trail(world: World) -> None:
    """Given products, prices and taxes that were set, when the trail is read, then it says who set what, once each."""
    request = catalogue_pb2.SetTaxRequest(
        request_id="tax", seller_id=str(world.partner.id), name="VAT", rate_ppm=190_000
    )
    await world.call(world.partner, "SetTax", request)
    tax = await world.call(world.partner, "SetTax", request)
    query = text(
        "SELECT action, target_type, target_id, actor_name, after FROM audit_events "
        "WHERE organization_id = :partner_id OR organization_id = :platform_id AND target_id = :sku_id ORDER BY id"
    )
    row = {"partner_id": world.partner.id, "platform_id": world.platform.id, "sku_id": world.sku_id}
    async with world.database.transaction(EVERYTHING) as connection:
        found = (await connection.execute(query, row)).all()
    actors = [(each.action, each.target_type, each.actor_name) for each in found]
    assert actors == [
        ("SKU_CREATED", "sku", "Boss of Platform"),
        ("PRICE_SET", "price", "Boss of Partner"),
        ("PRICE_SET", "price", "Boss of Partner"),
        ("TAX_SET", "tax", "Boss of Partner"),
    ]
    assert (found[-1].target_id, found[-1].after["rate_ppm"], found[-1].after["valid_to"]) == (tax.id, 190_000, "")
    assert found[1].after["unit_price"] == "1.5 EUR"

"""Given page tokens (AIP-158), then they work where they were made for, and nowhere else."""

from typing import Any
from uuid import uuid4

import grpc
import pytest
from farthing.orders.v1.orders_pb2 import OrderFilter
from hypothesis import given
from hypothesis import strategies as st
from servicekit.paging import Pager, page_size
from servicekit.problems import Problem
from servicekit.testing import as_caller

US, THEM = uuid4(), uuid4()
METHOD = "/farthing.orders.v1.OrderService/ListOrders"
FILTER = OrderFilter(organization_id=str(US))
PAGER = Pager("a key of thirty-two characters....")


def token(cursor: Any = None, bound_to: Any = FILTER) -> str:
    with as_caller(US, US, method=METHOD):
        return PAGER.encode(cursor or {"id": "x", "n": 7}, bound_to=bound_to)


def refusal(token_: str, *, organization_id: Any = US, method: str = METHOD, bound_to: Any = FILTER) -> Problem:
    with as_caller(organization_id, US, method=method), pytest.raises(Problem) as refused:
        PAGER.decode(token_, bound_to=bound_to)
    return refused.value


@given(st.dictionaries(st.text(max_size=20), st.one_of(st.text(max_size=50), st.integers()), max_size=5))
def test_a_token_gives_its_cursor_back(cursor: Any) -> None:
    """Given any cursor, When its token comes back from the same caller, Then the cursor is the same."""
    with as_caller(US, US, method=METHOD):
        assert PAGER.decode(PAGER.encode(cursor, bound_to=FILTER), bound_to=FILTER) == cursor


def test_no_token_is_the_first_page() -> None:
    """Given no token, When it is read, Then there is no cursor."""
    assert PAGER.decode("") is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"organization_id": THEM},
        {"method": "/farthing.orders.v1.CatalogueService/ListProducts"},
        {"bound_to": OrderFilter(organization_id=str(THEM))},
        {"bound_to": OrderFilter()},
        {"bound_to": ""},
    ],
    ids=["other caller", "other method", "other filter", "no filter", "nothing"],
)
def test_a_token_is_bound_to_what_it_was_made_for(elsewhere: Any) -> None:
    """Given a token, When another caller, method or filter uses it, Then it is refused with a reason and its field."""
    refused = refusal(token(), **elsewhere)

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert list(refused.fields) == ["page_token"]


@given(st.one_of(st.text(min_size=1, max_size=60), st.binary(min_size=1, max_size=60).map(lambda b: b.hex())))
def test_anything_else_is_refused(garbage: str) -> None:
    """Given any text, When it is used as a token, Then it is refused."""
    refusal(garbage)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=5))
def test_a_token_with_a_bit_changed_is_refused(place: int, bit: int) -> None:
    """Given a token, When one of its characters is changed, Then it is refused, or reads as it was."""
    good = token()
    position = place % (len(good) - 1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(good[position]) ^ (1 << bit)]
    refusal(good[:position] + other + good[position + 1 :])


def test_another_key_refuses() -> None:
    """Given a token of a service with another key, When it is read, Then it is refused."""
    with as_caller(US, US, method=METHOD), pytest.raises(Problem):
        Pager("another key").decode(token(), bound_to=FILTER)


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (1000, 1000), (5000, 1000), (-3, 50)])
def test_a_page_has_what_was_asked_within_its_limits(asked: int, given_: int) -> None:
    """Given a page size, When it is 0, fine, or too large, Then it is the default, itself, or the maximum."""
    assert page_size(asked) == given_

"""Given errors for people, then programs can read them too (AIP-193)."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from servicekit import problems
from servicekit.problems import Problem


def details(problem: Problem) -> status_pb2.Status:
    trailing: Any = problem.status().trailing_metadata
    (raw,) = [value for key, value in trailing if key == "grpc-status-details-bin"]
    return status_pb2.Status.FromString(raw)


def test_a_problem_carries_reason_metadata_and_fields() -> None:
    """Given a problem with all there is, When it becomes a status, Then ErrorInfo and BadRequest hold it."""
    problem = Problem(
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "No.", {"a": "b"}, {"items[1].quantity": "too many"}
    )

    status = details(problem)
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(fields)
    assert (status.code, status.message) == (3, "No.")
    assert (info.reason, info.domain, dict(info.metadata)) == ("INVALID_ARGUMENT", "farthing", {"a": "b"})
    assert [(v.field, v.description) for v in fields.field_violations] == [("items[1].quantity", "too many")]


def test_an_undocumented_reason_is_refused() -> None:
    """Given a reason that the protos do not document, When a problem is made of it, Then that is a ValueError."""
    with pytest.raises(ValueError, match="SOMETHING_ELSE"):
        problems.precondition("SOMETHING_ELSE", "No.")


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: problems.invalid("x"), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda: problems.not_found("order 'X'"), grpc.StatusCode.NOT_FOUND),
        (lambda: problems.precondition("ORDER_STATE", "x"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: problems.already_exists("x"), grpc.StatusCode.ALREADY_EXISTS),
        (lambda: problems.denied("x"), grpc.StatusCode.PERMISSION_DENIED),
        (lambda: problems.unauthenticated("x"), grpc.StatusCode.UNAUTHENTICATED),
        (lambda: problems.unavailable("x"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_each_kind_has_its_status(make: Callable[[], Problem], code: grpc.StatusCode) -> None:
    """Given each kind of problem, When it is made, Then it has its status and a reason of ours."""
    problem = make()

    assert problem.code == code
    assert details(problem).code == code.value[0]
    assert problem.reason

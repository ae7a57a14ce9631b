"""What a rule says no with, as the problem a caller is told."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from servicekit.problems import Problem, not_found

from wallet.domain.refusals import Refused

_CODES = {
    "INVALID_ARGUMENT": grpc.StatusCode.INVALID_ARGUMENT,
    "AMOUNT_OUT_OF_RANGE": grpc.StatusCode.INVALID_ARGUMENT,
    "ROLE_NOT_ALLOWED": grpc.StatusCode.PERMISSION_DENIED,
    "SECOND_PERSON_NEEDED": grpc.StatusCode.PERMISSION_DENIED,
    "ALREADY_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "WALLET_UNKNOWN": grpc.StatusCode.NOT_FOUND,
}


def problem_of(refused: Refused) -> Problem:
    """The status, reason and fields of a refusal; by default the state of the system does not allow it."""
    if refused.reason == "NOT_FOUND":
        return not_found(refused.message)
    message = f"{refused.message[0].upper()}{refused.message[1:]}."
    code = _CODES.get(refused.reason, grpc.StatusCode.FAILED_PRECONDITION)
    fields = {refused.field: message} if refused.field else None
    return Problem(code, refused.reason, message, refused.metadata, fields)


@contextmanager
def refusals_told() -> Iterator[None]:
    """Within the block, what a rule refuses becomes the problem that the caller is told."""
    try:
        yield
    except Refused as refused:
        raise problem_of(refused) from refused

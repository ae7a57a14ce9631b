"""Errors for people: gRPC status, a documented reason, and what to do.

A `Problem` becomes `google.rpc.Status` with `ErrorInfo` and, where fields are at fault, `BadRequest` (AIP-193).
Reasons are the names of `farthing.errors.v1.ErrorReason` without their prefix; an undocumented one is refused here.
"""

from collections.abc import Mapping

import grpc
from farthing.errors.v1.reason_pb2 import ErrorReason
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "farthing"


class Problem(Exception):  # noqa: N818 - the word people use
    """A call that cannot be served as asked.

    `message` is for people: what is wrong, with which value, what to do. `metadata` is for programs.
    `fields` names each field at fault with its own message.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        ErrorReason.Value(f"ERROR_REASON_{reason}")
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.fields = dict(fields or {})

    def status(self) -> grpc.Status:
        """The status to abort a call with."""
        details = [_packed(error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata))]
        if self.fields:
            violations = [
                error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
                for field, text in self.fields.items()
            ]
            details.append(_packed(error_details_pb2.BadRequest(field_violations=violations)))
        number: int = self.code.value[0]
        return rpc_status.to_status(status_pb2.Status(code=number, message=self.message, details=details))


def problem_of(error: grpc.RpcError) -> Problem | None:
    """The problem another service answered with, or None where its error is not one of ours."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    if status is None:
        return None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return Problem(error.code(), info.reason, status.message, dict(info.metadata))
    return None


def invalid(message: str, fields: Mapping[str, str] | None = None, reason: str = "INVALID_ARGUMENT") -> Problem:
    """The request breaks a rule, whatever the state of the system."""
    return Problem(grpc.StatusCode.INVALID_ARGUMENT, reason, message, fields=fields)


def not_found(what: str) -> Problem:
    """`what` does not exist, or not for this caller; the two are never told apart."""
    return Problem(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", f"There is no {what}, or it is not yours to see.")


def precondition(reason: str, message: str, **metadata: str) -> Problem:
    """The request is sound, but the state of the system does not allow it."""
    return Problem(grpc.StatusCode.FAILED_PRECONDITION, reason, message, metadata)


def already_exists(message: str, reason: str = "ALREADY_EXISTS") -> Problem:
    """Something that must be unique is taken."""
    return Problem(grpc.StatusCode.ALREADY_EXISTS, reason, message)


def denied(message: str) -> Problem:
    """The caller is known, but may not do this."""
    return Problem(grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED", message)


def unauthenticated(message: str) -> Problem:
    """Nobody we can name is calling."""
    return Problem(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", message)


def unavailable(message: str, reason: str = "DEPENDENCY_UNAVAILABLE") -> Problem:
    """Something this call needs does not answer; a repeat may succeed."""
    return Problem(grpc.StatusCode.UNAVAILABLE, reason, message)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed

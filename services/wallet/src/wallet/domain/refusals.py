"""What a rule says no with. Pure."""

from collections.abc import Mapping
from uuid import UUID

from directory.domain import Organization


class Refused(Exception):  # noqa: N818 - the word people use
    """A change that a rule forbids; nothing has been written.

    `reason` is a name of farthing.errors.v1.ErrorReason without its prefix. The message is for people. `field` is
    the request's field at fault, where one is; `metadata` is for programs.
    """

    def __init__(self, reason: str, message: str, *, field: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.metadata: Mapping[str, str] = metadata


class Actor:
    """Who asks: someone of an organization, or (None) one of our own services, which stands above all."""

    def __init__(self, organization_id: UUID | None) -> None:
        self.organization_id = organization_id

    @property
    def is_service(self) -> bool:
        return self.organization_id is None

    def sees(self, organization: Organization) -> bool:
        """True for the actor's own organization and those below it (mission O2)."""
        return self.organization_id == organization.id or self.is_above(organization)

    def is_above(self, organization: Organization) -> bool:
        """True for those below the actor's organization, not for its own."""
        return self.organization_id is None or organization.is_below(self.organization_id)

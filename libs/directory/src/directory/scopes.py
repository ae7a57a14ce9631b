"""The scope of each caller's organization, asked of the database once."""

from uuid import UUID

from servicekit.database import Database
from servicekit.scope import EVERYTHING, Scope

from directory.store import scope_of

CACHED_SCOPES = 10_000


class Scopes:
    """Remembers scopes, which never change: an organization never leaves its root, and none is ever deleted.

    What is unknown is asked again each time, since it may arrive at any moment.
    """

    def __init__(self, database: Database, capacity: int = CACHED_SCOPES) -> None:
        self._database, self._capacity = database, capacity
        self._scopes: dict[UUID, Scope] = {}

    async def of(self, organization_id: UUID) -> Scope | None:
        """How far a member of that organization sees, or None where it is not known here (yet)."""
        known = self._scopes.pop(organization_id, None)
        if known is None:
            async with self._database.transaction(EVERYTHING) as connection:
                known = await scope_of(connection, organization_id)
        if known is not None:
            self._scopes[organization_id] = known  # at the end: the first in the dict is the longest unused
            if len(self._scopes) > self._capacity:
                del self._scopes[next(iter(self._scopes))]
        return known

"""How far a call sees (mission O2)."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Scope:
    """An organization and those below it, or everything.

    `root_id` is the shard all of it lives in; None for the platform, which sees every root, and for `EVERYTHING`.
    """

    organization_id: UUID | None
    root_id: UUID | None
    everything: bool = False

    @property
    def setting(self) -> str:
        """The value of `farthing.scope` that row-level security reads."""
        return "all" if self.everything else str(self.organization_id)


EVERYTHING = Scope(None, None, everything=True)

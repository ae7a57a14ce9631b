"""An organization as every service sees it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a member may do; the value is the role's name in tokens."""

    BOSS = "boss"
    ADMIN = "admin"
    FINANCE = "finance"
    MEMBER = "member"


class Earnings(StrEnum):
    """Where a seller's revenue is booked (mission W5)."""

    REVENUE = "revenue"
    WALLET = "wallet"


@dataclass(frozen=True, slots=True)
class Member:
    """A person who acts for an organization."""

    id: UUID
    name: str
    email: str
    role: Role


@dataclass(frozen=True, slots=True)
class BillingAddress:
    """Where documents say the organization is. `country` is ISO 3166-1 alpha-2, or empty."""

    lines: tuple[str, ...] = ()
    postal_code: str = ""
    city: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Organization:
    """The platform, a partner, or a customer.

    `ancestor_ids` run from the parent up to the platform. `root_id` is the top-level partner under which it
    lives, its own id for that partner and for the platform. `language` is BCP 47, `currency` ISO 4217,
    colours `#rrggbb` or empty, `logo` SVG or PNG. `version` counts changes.
    """

    id: UUID
    root_id: UUID
    parent_id: UUID | None
    ancestor_ids: tuple[UUID, ...]
    name: str
    domain: str
    currency: str
    language: str
    created_at: datetime
    version: int = 1
    integration_code: str = ""
    billing_address: BillingAddress = BillingAddress()
    tax_id: str = ""
    logo: bytes = b""
    primary_color: str = ""
    accent_color: str = ""
    footer: str = ""
    earnings: Earnings = Earnings.REVENUE
    members: tuple[Member, ...] = ()

    @property
    def label(self) -> str:
        """For people: the name, and the domain, which no other organization has."""
        return f"{self.name} ({self.domain})"

    @property
    def boss(self) -> Member | None:
        """The owner, who gets every document; None while there is none yet."""
        return next((member for member in self.members if member.role is Role.BOSS), None)

    @property
    def is_platform(self) -> bool:
        """True for the one organization that buys from nobody."""
        return self.parent_id is None

    @property
    def address_lines(self) -> tuple[str, ...]:
        """The billing address as printed: its lines, postal code with city, country. Nothing empty."""
        address = self.billing_address
        place = " ".join(part for part in (address.postal_code, address.city) if part)
        return tuple(line for line in (*address.lines, place, address.country) if line)

    def member(self, member_id: UUID) -> Member | None:
        """The member of that id, or None."""
        return next((member for member in self.members if member.id == member_id), None)

    def is_below(self, other_id: UUID) -> bool:
        """True if `other_id` sells to it, directly or through others."""
        return other_id in self.ancestor_ids

"""The rules of the organization tree (mission O1, O2). Pure: an organization in, the changed one out, or Refused."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from directory.domain import Member, Organization, Role
from money import valid_currency

from wallet.domain.refusals import Actor, Refused

# A purchase posts a line at every tier; this many tiers is what a charge can have.
MAX_DEPTH = 16


def place(organization: Organization, parent: Organization | None) -> Organization:
    """Puts a new organization under its seller, or at the top where there is none, and checks it as a whole."""
    placed = replace(
        _under(organization, parent),
        root_id=organization.id if parent is None or parent.is_platform else parent.root_id,
        members=_boss_first(organization.members),
        version=1,
    )
    check_currency(placed.currency)
    _check_depth(placed)
    _check_members(placed)
    return placed


def move(organization: Organization, parent: Organization) -> Organization:
    """Puts an organization under another seller of the same root.

    Refuses ORGANIZATION_CYCLE and ORGANIZATION_PARENT_UNKNOWN (another root, which the platform's direct buyers
    cannot leave either).
    """
    if parent.id == organization.id or parent.is_below(organization.id):
        raise Refused(
            "ORGANIZATION_CYCLE",
            f"'{organization.domain}' cannot be put under '{parent.domain}', which is itself or one of its own"
            " buyers; choose a seller outside of it",
            field="organization.parent_id",
        )
    if organization.is_platform or parent.root_id != organization.root_id:
        raise parent_unknown(str(parent.id))
    moved = _under(organization, parent)
    _check_depth(moved)
    return moved


def follow(descendant: Organization, moved: Organization) -> Organization:
    """A descendant's new ancestors after `moved` (one of them) has found another parent."""
    if not descendant.is_below(moved.id):
        raise ValueError(f"{descendant.id} is not below {moved.id}")
    kept = descendant.ancestor_ids[: descendant.ancestor_ids.index(moved.id) + 1]
    followed = replace(descendant, ancestor_ids=(*kept, *moved.ancestor_ids))
    _check_depth(followed)
    return followed


def check_change(before: Organization, after: Organization, actor: Actor) -> None:
    """Refuses what `actor` may not change, and what the changed organization may not be.

    Where it stands, what it buys in, where its earnings go and its number in its seller's systems are its seller's
    to say, or of one above; the rest is also its own.
    """
    for field in ("parent_id", "currency", "earnings", "integration_code"):
        if getattr(before, field) != getattr(after, field) and not actor.is_above(before):
            raise Refused(
                "ROLE_NOT_ALLOWED",
                f"the field {field} of '{before.domain}' is set by its seller, not by itself; ask your seller",
                field=f"organization.{field}",
            )
    check_currency(after.currency)


def check_currency(currency: str) -> None:
    """Refuses what is not a currency of ISO 4217."""
    if not valid_currency(currency):
        raise Refused(
            "INVALID_ARGUMENT",
            f"'{currency}' is not a currency; use an ISO 4217 code such as EUR",
            field="organization.currency",
        )


def add_member(organization: Organization, member: Member) -> Organization:
    """Adds a member; the first boss may come so. Refuses a second boss and a mailbox that is there already."""
    return with_members(organization, (*organization.members, member))


def update_member(organization: Organization, changed: Member) -> Organization:
    """Replaces the member of the same id. Becoming or ceasing to be boss is ChangeBoss's."""
    current = _member(organization, changed.id)
    if (changed.role is Role.BOSS) != (current.role is Role.BOSS):
        raise Refused(
            "ORGANIZATION_HAS_BOSS" if organization.boss else "INVALID_ARGUMENT",
            f"the role of {current.name} cannot be changed from {current.role} to {changed.role} here;"
            " use ChangeBoss to say who is the boss",
            field="member.role",
        )
    return with_members(
        organization,
        tuple(changed if member.id == changed.id else member for member in organization.members),
    )


def remove_member(organization: Organization, member_id: UUID) -> Organization:
    """Takes a member out. The boss stays until another member is the boss."""
    gone = _member(organization, member_id)
    if gone.role is Role.BOSS:
        raise Refused(
            "ORGANIZATION_HAS_BOSS",
            f"{gone.name} is the boss of '{organization.domain}' and cannot be removed; make another member"
            " the boss first",
            field="member_id",
        )
    return with_members(organization, tuple(member for member in organization.members if member.id != member_id))


def change_boss(organization: Organization, member_id: UUID) -> Organization:
    """Makes a member the boss; the boss until then becomes an admin."""
    chosen = _member(organization, member_id)
    if chosen.role is Role.BOSS:
        return organization
    return with_members(
        organization,
        tuple(
            replace(member, role=Role.BOSS)
            if member.id == member_id
            else replace(member, role=Role.ADMIN)
            if member.role is Role.BOSS
            else member
            for member in organization.members
        ),
    )


def with_members(organization: Organization, members: Iterable[Member]) -> Organization:
    """The organization with these members, the boss first; refuses two bosses and two members of one mailbox."""
    changed = replace(organization, members=_boss_first(members))
    _check_members(changed)
    return changed


def parent_unknown(parent_id: str) -> Refused:
    """The one answer for a parent that does not exist, is not the caller's to see, or lives in another root."""
    return Refused(
        "ORGANIZATION_PARENT_UNKNOWN",
        f"there is no organization '{parent_id}' that could be the parent here; use the id of an organization you"
        " see, under the same partner of the platform",
        field="organization.parent_id",
    )


def _under(organization: Organization, parent: Organization | None) -> Organization:
    ancestors = () if parent is None else (parent.id, *parent.ancestor_ids)
    return replace(organization, parent_id=parent.id if parent else None, ancestor_ids=ancestors)


def _boss_first(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.role is not Role.BOSS))


def _member(organization: Organization, member_id: UUID) -> Member:
    found = organization.member(member_id)
    if found is None:
        raise Refused("NOT_FOUND", f"member '{member_id}' in '{organization.domain}'")
    return found


def _check_depth(organization: Organization) -> None:
    if len(organization.ancestor_ids) > MAX_DEPTH:
        raise Refused(
            "INVALID_ARGUMENT",
            f"'{organization.domain}' would stand {len(organization.ancestor_ids)} sellers below the platform; a"
            f" purchase passes {MAX_DEPTH} at most, so choose a parent nearer to the platform",
            field="organization.parent_id",
        )


def _check_members(organization: Organization) -> None:
    bosses = [member.name for member in organization.members if member.role is Role.BOSS]
    if len(bosses) > 1:
        raise Refused(
            "ORGANIZATION_HAS_BOSS",
            f"'{organization.domain}' has one boss, not {len(bosses)} ({', '.join(bosses)}); to hand over, add the"
            " member with another role and use ChangeBoss",
            field="member.role",
        )
    mailboxes = Counter(member.email.casefold() for member in organization.members)
    taken = next((mailbox for mailbox, count in mailboxes.items() if count > 1), None)
    if taken is not None:
        raise Refused(
            "ALREADY_EXISTS",
            f"'{organization.domain}' already has a member with the mailbox {taken}; each member needs their own",
            field="member.email",
        )

"""The rules of the tree, without a database: any sequence of creations and moves leaves a tree."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from directory.domain import Member, Organization, Role
from hypothesis import given
from hypothesis import strategies as st
from wallet.domain import organizations as rules
from wallet.domain.refusals import Actor, Refused

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def draft(number: int) -> Organization:
    """Organization `number`, not in the tree yet."""
    own = UUID(int=number)
    return Organization(own, own, None, (), f"org {number}", f"o{number}.example", "EUR", "en", CREATED_AT)


def check_tree(tree: dict[UUID, Organization]) -> None:
    """Every chain of parents is the stored ancestors, ends at the platform, and keeps its root."""
    for each in tree.values():
        climbed: list[UUID] = []
        above = each
        while above.parent_id is not None:
            above = tree[above.parent_id]
            climbed.append(above.id)
            assert above.id != each.id
        assert tuple(climbed) == each.ancestor_ids
        assert len(climbed) <= rules.MAX_DEPTH
        assert each.root_id == (each.id if len(climbed) < 2 else climbed[-2])


moves = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 30)), max_size=60)


@given(moves)
def test_any_sequence_leaves_a_tree(moves: list[tuple[bool, int, int]]) -> None:
    """Given any creations and moves, when each is done or refused, then what is there is a tree, root by root."""
    platform = rules.place(draft(1), None)
    tree = {platform.id: platform}
    for creates, first, second in moves:
        some = list(tree.values())
        parent, mover = some[first % len(some)], some[second % len(some)]
        try:
            if creates:
                made = rules.place(draft(len(tree) + 1), parent)
                tree[made.id] = made
                continue
            moved = rules.move(mover, parent)
            below = [rules.follow(each, moved) for each in some if each.is_below(mover.id)]
        except Refused as refused:
            reasons = {"ORGANIZATION_CYCLE", "ORGANIZATION_PARENT_UNKNOWN", "INVALID_ARGUMENT"}
            assert refused.reason in reasons
            continue
        tree.update({each.id: each for each in (moved, *below)})
    check_tree(tree)


members = st.lists(
    st.tuples(st.sampled_from(["add", "update", "remove", "boss"]), st.integers(0, 5), st.sampled_from(Role)),
    max_size=40,
)


@given(members)
def test_any_sequence_leaves_one_boss_and_distinct_mailboxes(steps: list[tuple[str, int, Role]]) -> None:
    """Given any changes of members, when each is done or refused, then there is never a second boss, nor none again."""
    organization = draft(1)
    had_boss = False
    for step, number, role in steps:
        member = Member(
            UUID(int=number), f"m{number}", ("M%d@x.example", "m%d@x.example")[number % 2] % (number // 2), role
        )
        try:
            match step:
                case "add" if organization.member(member.id) is None:
                    organization = rules.add_member(organization, member)
                case "update":
                    organization = rules.update_member(organization, member)
                case "remove":
                    organization = rules.remove_member(organization, member.id)
                case "boss":
                    organization = rules.change_boss(organization, member.id)
        except Refused as refused:
            assert refused.reason in {"ORGANIZATION_HAS_BOSS", "ALREADY_EXISTS", "NOT_FOUND", "INVALID_ARGUMENT"}
        bosses = [each for each in organization.members if each.role is Role.BOSS]
        assert len(bosses) <= 1
        assert bool(bosses) or not had_boss
        assert organization.members[:1] == tuple(bosses) or not bosses
        had_boss = bool(bosses)
        mailboxes = [each.email.casefold() for each in organization.members]
        assert len(set(mailboxes)) == len(mailboxes)


def test_becoming_boss_by_role_names_the_way() -> None:
    """Given no boss, when a member is made boss by its role, then ChangeBoss is named; there it works."""
    member = Member(UUID(int=7), "Ann", "ann@x.example", Role.MEMBER)
    organization = rules.add_member(draft(1), member)
    with pytest.raises(Refused, match="ChangeBoss") as caught:
        rules.update_member(organization, replace(member, role=Role.BOSS))
    assert caught.value.reason == "INVALID_ARGUMENT"
    assert rules.change_boss(organization, member.id).boss == replace(member, role=Role.BOSS)


def test_who_is_above() -> None:
    """Given a chain, when actors of each tier are compared, then only a service and those higher are above."""
    platform = rules.place(draft(1), None)
    partner = rules.place(draft(2), platform)
    customer = rules.place(draft(3), partner)
    above = {actor_id: Actor(actor_id).is_above(partner) for actor_id in (platform.id, partner.id, customer.id, None)}
    assert above == {platform.id: True, partner.id: False, customer.id: False, None: True}
    assert Actor(partner.id).sees(partner)
    assert not Actor(customer.id).sees(partner)

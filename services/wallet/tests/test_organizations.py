"""The organization tree, through its handlers, against a real PostgreSQL as the runtime role."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from farthing.wallet.v1 import organizations_pb2
from servicekit.problems import Problem
from servicekit.testing import as_service

from .world import (
    ADMIN,
    BOSS,
    FINANCE,
    MEMBER,
    House,
    Organization,
    Tree,
    creation,
    member_of,
    person,
    refused,
    request_id,
)


async def test_tree_has_roots_and_ancestors(house: House, tree: Tree) -> None:
    """Given a platform, when a tree grows under it, then roots and ancestors follow, and each buyer has its wallet."""
    platform, partner, reseller, customer = house.platform, tree.partner, tree.reseller, tree.customer
    assert (platform.root_id, list(platform.ancestor_ids), platform.parent_id) == (platform.id, [], "")
    assert (partner.root_id, list(partner.ancestor_ids)) == (partner.id, [platform.id])
    assert (reseller.root_id, list(reseller.ancestor_ids)) == (partner.id, [partner.id, platform.id])
    assert (customer.root_id, list(customer.ancestor_ids)) == (partner.id, [reseller.id, partner.id, platform.id])
    assert [each.version for each in (platform, partner, customer)] == [1, 1, 1]
    wallet = await house.wallet_of(customer)
    assert (wallet.organization_id, wallet.seller_id, wallet.currency) == (customer.id, reseller.id, "EUR")
    assert (wallet.credit_limit.units, wallet.credit_limit.currency_code) == (0, "EUR")
    with as_service():
        request = organizations_pb2.GetOrganizationRequest(id=platform.id)
        assert (await house.organizations.GetOrganization(request, None)) == platform


async def test_creation_is_published_whole(house: House, tree: Tree) -> None:
    """Given a new organization, when its events are read, then there is one, with everything and the boss first."""
    with as_service():
        made = await house.create(
            tree.partner,
            "published",
            members=[person("Ann"), person("Bob", BOSS)],
            billing_address=organizations_pb2.BillingAddress(lines=["Road 1"], city="Riga", country="LV"),
        )
    assert [member.name for member in made.members] == ["Bob", "Ann"]
    assert all(member.id for member in made.members)
    (event,) = await house.events_of(made)
    assert event.organization_created.organization == made


async def test_only_one_platform_and_only_by_a_service(house: House, tree: Tree) -> None:
    """Given a platform, when another is asked for, or somebody asks for one, then it is refused."""
    with as_service(), refused("ALREADY_EXISTS", said="platform"):
        await house.create(None, "second")
    with member_of(house.platform), refused("ROLE_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED):
        await house.create(None, "third")


@pytest.mark.parametrize("parent_id", [str(uuid4()), "sibling"])
async def test_unknown_and_foreign_parent_get_the_same_answer(house: House, tree: Tree, parent_id: str) -> None:
    """Given a partner's admin, when the parent is nobody or a sibling's, then it is unknown, in the same words."""
    asked = tree.sibling.id if parent_id == "sibling" else parent_id
    with member_of(tree.partner, "admin"), refused("ORGANIZATION_PARENT_UNKNOWN") as caught:
        await house.create(Organization(id=asked), "lost")
    assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.message.replace(asked, "X") == (
        "There is no organization 'X' that could be the parent here; use the id of an organization you see, under"
        " the same partner of the platform."
    )


async def test_a_parents_admin_creates_below_and_nowhere_else(house: House, tree: Tree) -> None:
    """Given a partner's admin, when it creates below itself, at any depth, then it may; above itself it may not."""
    with member_of(tree.partner, "admin"):
        made = await house.create(tree.reseller, "allowed")
    assert made.parent_id == tree.reseller.id
    with member_of(tree.customer, "admin"), refused("ORGANIZATION_PARENT_UNKNOWN"):
        await house.create(tree.reseller, "forbidden")


async def test_domain_is_unique_in_the_system(house: House, tree: Tree) -> None:
    """Given a domain in one root, when it is asked for in another, twice at once too, then it is taken."""
    with as_service(), refused("ALREADY_EXISTS", grpc.StatusCode.ALREADY_EXISTS, tree.customer.domain):
        await house.create(tree.sibling, "again", domain=tree.customer.domain)
    domain = f"raced-{uuid4().hex[:8]}.example"
    with as_service():
        answers = await asyncio.gather(
            *(house.create(parent, "raced", domain=domain) for parent in (tree.partner, tree.sibling)),
            return_exceptions=True,
        )
    assert sorted(type(answer).__name__ for answer in answers) == ["Organization", "Problem"]


@pytest.mark.parametrize("currency", ["XXX", "ABC", "XAU"])
async def test_currency_must_be_one(house: House, tree: Tree, currency: str) -> None:
    """Given letters that are no currency, when an organization is to buy in them, then the field is named."""
    with as_service(), refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT, currency) as caught:
        await house.create(tree.partner, "odd", currency=currency)
    assert list(caught.value.fields) == ["organization.currency"]


async def test_members_are_checked_at_creation(house: House, tree: Tree) -> None:
    """Given two bosses, or one mailbox twice in other letters, when an organization is created, then it is refused."""
    with as_service(), refused("ORGANIZATION_HAS_BOSS"):
        await house.create(tree.partner, "two", members=[person("Ann", BOSS), person("Bob", BOSS)])
    with as_service(), refused("ALREADY_EXISTS", said="ann@people.example"):
        await house.create(tree.partner, "same", members=[person("Ann"), person("Anna", email="ANN@people.example")])


async def test_a_tree_too_deep_for_a_purchase_is_refused(house: House, tree: Tree) -> None:
    """Given sixteen sellers in a row, when one more is put below, then it is refused: no purchase could pass."""
    with as_service():
        last = tree.partner
        for _ in range(15):
            last = await house.create(last, "deep")
        with refused("INVALID_ARGUMENT", said="16"):
            await house.create(last, "too-deep")


async def test_creation_is_replayed(house: House, tree: Tree) -> None:
    """Given a request, when it is repeated, at once and later, then it is one organization; another body is refused."""
    request = creation(tree.partner, "replayed")
    with member_of(tree.partner):
        answers = await asyncio.gather(*(house.organizations.CreateOrganization(request, None) for _ in range(3)))
        again = await house.organizations.CreateOrganization(request, None)
        assert all(answer == again for answer in answers)
        request.organization.name = "another"
        with refused("REQUEST_ID_REUSED", grpc.StatusCode.ALREADY_EXISTS):
            await house.organizations.CreateOrganization(request, None)
    assert len(await house.events_of(again)) == 1


async def test_a_change_counts_and_is_published(house: House, tree: Tree) -> None:
    """Given an organization, when its own admin changes what is its own, then version and event follow; once."""
    branding = organizations_pb2.Branding(primary_color="#112233", footer="acme.example")
    with member_of(tree.customer, "admin"):
        changed = await house.update(tree.customer, name="Renamed", language="de", tax_id="DE1", branding=branding)
        unchanged = await house.update(tree.customer, name="Renamed")
    assert (changed.name, changed.language, changed.tax_id, changed.branding) == ("Renamed", "de", "DE1", branding)
    assert changed.version == tree.customer.version + 1
    assert unchanged == changed
    created, updated = await house.events_of(tree.customer)
    assert created.organization_created.organization == tree.customer
    assert updated.organization_updated.organization == changed
    assert await house.get(tree.customer) == changed


async def test_only_the_mask_is_read_and_unset_fields_are_cleared(house: House, tree: Tree) -> None:
    """Given a request with more than its mask names, when it is done, then the rest stays, and the named is cleared."""
    with as_service():
        await house.update(tree.customer, tax_id="LV1", integration_code="C-1")
        request = organizations_pb2.UpdateOrganizationRequest(
            request_id=request_id(), organization=Organization(id=tree.customer.id, name="!", domain="not a domain")
        )
        request.update_mask.paths.append("tax_id")
        changed = await house.organizations.UpdateOrganization(request, None)
    assert (changed.name, changed.domain, changed.integration_code) == (
        tree.customer.name,
        tree.customer.domain,
        "C-1",
    )
    assert changed.tax_id == ""


@pytest.mark.parametrize("path", ["domain", "members", "version", "billing_address.city", "*", "nonsense"])
async def test_other_paths_are_refused_by_name(house: House, tree: Tree, path: str) -> None:
    """Given a mask outside of the list, when a change is asked for, then the path is named."""
    with as_service(), refused("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT, path):
        await house.update(tree.customer, path)
    with as_service(), refused("INVALID_ARGUMENT", said="names no field"):
        await house.update(tree.customer)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("language", "German"),
        ("currency", "euro"),
        ("branding", organizations_pb2.Branding(primary_color="red")),
        ("billing_address", organizations_pb2.BillingAddress(country="Latvia")),
    ],
)
async def test_the_changed_organization_obeys_the_rules(house: House, tree: Tree, field: str, value: Any) -> None:
    """Given a value that the proto forbids, when it is put into a field, then the field is named, nothing changed."""
    with as_service(), refused("INVALID_ARGUMENT") as caught:
        await house.update(tree.customer, field, **({field: value} if value else {}))
    assert any(name.startswith(f"organization.{field}") for name in caught.value.fields)
    assert await house.get(tree.customer) == tree.customer


@pytest.mark.parametrize(
    ("field", "value"),
    [("currency", "USD"), ("earnings", organizations_pb2.EARNINGS_WALLET), ("integration_code", "X-1")],
)
async def test_what_the_seller_says_is_not_its_own_to_change(house: House, tree: Tree, field: str, value: Any) -> None:
    """Given a customer's boss, when it changes what its seller says, then it is refused; its seller may."""
    with member_of(tree.customer), refused("ROLE_NOT_ALLOWED", grpc.StatusCode.PERMISSION_DENIED, field):
        await house.update(tree.customer, **{field: value})
    with member_of(tree.reseller, "admin"):
        changed = await house.update(tree.customer, **{field: value})
    assert getattr(changed, field) == value


async def test_earnings_reach_the_wallet(house: House, tree: Tree) -> None:
    """Given a reseller, when its earnings are to go to its wallet, then the ledger's row of the wallet says so."""
    wallet = await house.wallet_of(tree.reseller)
    with member_of(tree.partner):
        await house.update(tree.reseller, earnings=organizations_pb2.EARNINGS_WALLET)
    assert await house.value("SELECT earnings FROM wallets WHERE id = :id", id=wallet.id) == 2


async def test_moving_takes_everybody_below_along(house: House, tree: Tree) -> None:
    """Given a reseller with a customer, when it moves to another seller, then ancestors and events follow."""
    with member_of(tree.partner, "admin"):
        other = await house.create(tree.partner, "other")
        moved = await house.update(tree.reseller, parent_id=other.id)
    assert list(moved.ancestor_ids) == [other.id, tree.partner.id, house.platform.id]
    assert moved.root_id == tree.partner.id
    customer = await house.get(tree.customer)
    assert list(customer.ancestor_ids) == [tree.reseller.id, other.id, tree.partner.id, house.platform.id]
    assert customer.version == tree.customer.version + 1
    assert (await house.events_of(tree.customer))[-1].organization_updated.organization == customer
    assert (await house.events_of(tree.reseller))[-1].organization_updated.organization == moved
    assert (await house.wallet_of(tree.reseller)).seller_id == other.id
    assert (await house.wallet_of(tree.customer)).seller_id == tree.reseller.id
    with member_of(other):
        assert (await house.organizations.GetOrganization(_by_id(tree.customer), None)).id == tree.customer.id


async def test_moving_refuses_cycles_other_roots_and_the_own_hand(house: House, tree: Tree) -> None:
    """Given a tree, when somebody is put below itself, into another root, or moves itself, then it is refused."""
    with as_service():
        for parent in (tree.reseller, tree.customer):
            with refused("ORGANIZATION_CYCLE", grpc.StatusCode.FAILED_PRECONDITION):
                await house.update(tree.reseller, parent_id=parent.id)
        for parent in (tree.sibling, tree.nephew, house.platform):
            with refused("ORGANIZATION_PARENT_UNKNOWN"):
                await house.update(tree.reseller, parent_id=parent.id)
        with refused("ORGANIZATION_PARENT_UNKNOWN"):
            await house.update(tree.reseller, "parent_id")
        with refused("ORGANIZATION_PARENT_UNKNOWN"):
            await house.update(tree.partner, parent_id=tree.sibling.id)
        with refused("ORGANIZATION_CYCLE"):
            await house.update(house.platform, parent_id=tree.partner.id)
        child = await house.create(tree.customer, "child")
    with member_of(tree.reseller), refused("ORGANIZATION_PARENT_UNKNOWN"):
        await house.update(tree.customer, parent_id=tree.partner.id)
    with member_of(tree.customer), refused("ROLE_NOT_ALLOWED"):
        await house.update(tree.customer, parent_id=child.id)
    assert await house.get(tree.reseller) == tree.reseller


async def test_two_moves_at_once_make_no_cycle(house: House, tree: Tree) -> None:
    """Given two siblings, when each is put below the other at once, then one move wins and the tree stays a tree."""
    for _ in range(5):
        with as_service():
            one = await house.create(tree.partner, "one")
            two = await house.create(tree.partner, "two")
            answers = await asyncio.gather(
                house.update(one, parent_id=two.id), house.update(two, parent_id=one.id), return_exceptions=True
            )
        lost = [answer for answer in answers if isinstance(answer, Problem)]
        assert [problem.reason for problem in lost] == ["ORGANIZATION_CYCLE"]
        assert sum(isinstance(answer, Organization) for answer in answers) == 1
        for each in (await house.get(one), await house.get(two)):
            assert each.id not in each.ancestor_ids
            assert each.ancestor_ids[-1] == house.platform.id


async def test_a_child_born_during_a_move_has_the_right_ancestors(house: House, tree: Tree) -> None:
    """Given a move, when a child is created below at the same time, then its ancestors are those after the move."""
    with as_service():
        other = await house.create(tree.partner, "other")
        moved, *children = await asyncio.gather(
            house.update(tree.reseller, parent_id=other.id),
            *(house.create(tree.customer, "newborn") for _ in range(4)),
        )
    for child in children:
        assert list((await house.get(child)).ancestor_ids) == [tree.customer.id, tree.reseller.id, *moved.ancestor_ids]


@pytest.mark.parametrize("column", ["balance_micros", "credit_limit_micros"])
@pytest.mark.parametrize("change", ["currency", "parent_id"])
async def test_a_wallet_that_is_not_empty_stays_where_it_is(house: House, tree: Tree, column: str, change: str) -> None:
    """Given money or credit on a wallet, when currency or parent change, then it is refused, until it is empty."""
    wallet = await house.wallet_of(tree.customer)
    with as_service():
        other = await house.create(tree.partner, "other")
        asked = {"currency": "USD"} if change == "currency" else {"parent_id": other.id}
        await house.execute(f"UPDATE wallets SET {column} = 5 WHERE id = :id", id=wallet.id)
        with refused("WALLET_NOT_EMPTY", grpc.StatusCode.FAILED_PRECONDITION, "0.000005"):
            await house.update(tree.customer, **asked)
        assert await house.get(tree.customer) == tree.customer
        await house.execute(f"UPDATE wallets SET {column} = 0 WHERE id = :id", id=wallet.id)
        changed = await house.update(tree.customer, **asked)
    fresh = await house.wallet_of(tree.customer, changed.currency)
    assert fresh.id != wallet.id
    assert fresh.seller_id == changed.parent_id


async def test_money_reserved_keeps_the_currency(house: House, tree: Tree) -> None:
    """Given money held for a purchase under way, when the currency changes, then it is refused."""
    wallet = await house.wallet_of(tree.customer)
    await house.execute("UPDATE wallets SET balance_micros = 7, reserved_micros = 7 WHERE id = :id", id=wallet.id)
    with as_service(), refused("WALLET_NOT_EMPTY"):
        await house.update(tree.customer, currency="USD")


async def test_a_currency_can_come_back(house: House, tree: Tree) -> None:
    """Given a wallet in EUR, when the currency changes to USD and back, then the wallet in EUR is the same."""
    before = await house.wallet_of(tree.customer)
    with member_of(tree.partner):
        await house.update(tree.customer, currency="USD")
        assert (await house.wallet_of(tree.customer, "USD")).id != before.id
        await house.update(tree.customer, currency="EUR")
    assert await house.wallet_of(tree.customer) == before


async def test_members_come_change_and_go(house: House, tree: Tree) -> None:
    """Given members, when one is added, changed, made boss and removed, then each step counts and is published."""
    with member_of(tree.customer, "admin"):
        added = await _add(house, tree.customer, person("Nora", FINANCE))
        nora = _find(added, "Nora")
        nora.name, nora.role = "Nora N.", ADMIN
        updated = await house.organizations.UpdateMember(
            organizations_pb2.UpdateMemberRequest(
                request_id=request_id(), organization_id=tree.customer.id, member=nora
            ),
            None,
        )
        assert _find(updated, "Nora N.").role == ADMIN
    with member_of(tree.customer):
        bossed = await _make_boss(house, tree.customer, nora.id)
        assert [(member.name, member.role) for member in bossed.members] == [
            ("Nora N.", BOSS),
            ("Cleo", ADMIN),
            ("Max", MEMBER),
        ]
        removed = await _remove(house, tree.customer, _find(bossed, "Cleo").id)
    assert [member.name for member in removed.members] == ["Nora N.", "Max"]
    versions = [event.organization_updated.organization.version for event in await house.events_of(tree.customer)]
    assert versions[1:] == [2, 3, 4, 5]


async def test_one_boss(house: House, tree: Tree) -> None:
    """Given a boss, when another is added, made by role, or the boss removed or demoted, then it is refused."""
    cleo, maximilian = _find(tree.customer, "Cleo"), _find(tree.customer, "Max")
    with as_service():
        with refused("ORGANIZATION_HAS_BOSS", grpc.StatusCode.FAILED_PRECONDITION):
            await _add(house, tree.customer, person("Usurper", BOSS))
        for member, role in ((maximilian, BOSS), (cleo, MEMBER)):
            changed = organizations_pb2.Member(id=member.id, name=member.name, email=member.email, role=role)
            request = organizations_pb2.UpdateMemberRequest(
                request_id=request_id(), organization_id=tree.customer.id, member=changed
            )
            with refused("ORGANIZATION_HAS_BOSS", said="ChangeBoss"):
                await house.organizations.UpdateMember(request, None)
        with refused("ORGANIZATION_HAS_BOSS", said="Cleo"):
            await _remove(house, tree.customer, cleo.id)
        assert (await _make_boss(house, tree.customer, cleo.id)) == tree.customer
    assert await house.get(tree.customer) == tree.customer


async def test_two_bosses_at_once_are_one(house: House, tree: Tree) -> None:
    """Given no boss, when two are added at once, then one is the boss and the other is refused."""
    for _ in range(5):
        with as_service():
            orphan = await house.create(tree.partner, "orphan")
            answers = await asyncio.gather(
                *(_add(house, orphan, person(name, BOSS)) for name in ("Ann", "Bob")), return_exceptions=True
            )
        problems = [answer for answer in answers if isinstance(answer, Problem)]
        assert [problem.reason for problem in problems] == ["ORGANIZATION_HAS_BOSS"]
        assert [member.role for member in (await house.get(orphan)).members] == [BOSS]


async def test_two_changes_of_boss_at_once_leave_one(house: House, tree: Tree) -> None:
    """Given a boss and two members, when both are made boss at once, then there is one boss at the end."""
    with as_service():
        grown = await _add(house, tree.customer, person("Nora"))
        await asyncio.gather(*(_make_boss(house, tree.customer, _find(grown, name).id) for name in ("Nora", "Max")))
    members = (await house.get(tree.customer)).members
    assert [member.role for member in members].count(BOSS) == 1
    assert members[0].role == BOSS
    assert _find(await house.get(tree.customer), "Cleo").role == ADMIN


async def test_mailboxes_are_unique_whatever_their_letters(house: House, tree: Tree) -> None:
    """Given a member's mailbox, when it is given to another in capitals, then it is refused; elsewhere it is free."""
    with as_service():
        with refused("ALREADY_EXISTS", grpc.StatusCode.ALREADY_EXISTS, "max@people.example"):
            await _add(house, tree.customer, person("Twin", email="MAX@People.Example"))
        assert _find(await _add(house, tree.reseller, person("Max")), "Max")


async def test_member_changes_are_replayed(house: House, tree: Tree) -> None:
    """Given a request to add a member, when it is repeated, then there is one; with another body it is refused."""
    request = organizations_pb2.AddMemberRequest(
        request_id=request_id(), organization_id=tree.customer.id, member=person("Nora")
    )
    with member_of(tree.customer):
        first = await house.organizations.AddMember(request, None)
        assert await house.organizations.AddMember(request, None) == first
        request.member.name = "Nina"
        with refused("REQUEST_ID_REUSED"):
            await house.organizations.AddMember(request, None)
    assert await house.get(tree.customer) == first


async def test_a_request_id_is_the_callers_own(house: House, tree: Tree) -> None:
    """Given a request id of one tenant, when another uses it, then it gets neither the answer nor a refusal."""
    same = request_id()
    mine, theirs = creation(tree.partner, "mine"), creation(tree.sibling, "theirs")
    mine.request_id = theirs.request_id = same
    with member_of(tree.partner):
        first = await house.organizations.CreateOrganization(mine, None)
    with member_of(tree.sibling):
        second = await house.organizations.CreateOrganization(theirs, None)
    assert first.id != second.id


async def test_foreign_organizations_do_not_exist(house: House, tree: Tree) -> None:
    """Given another tenant's and an unknown id, when anything is asked about them, then both answers are the same."""
    for stranger in (tree.sibling, tree.nephew, tree.customer):
        with member_of(stranger):
            foreign = await _said(house, tree.reseller.id)
            unknown = await _said(house, str(uuid4()))
        assert foreign == unknown
        assert all("no organization 'X'" in said for said in foreign)
    assert await house.get(tree.reseller) == tree.reseller


async def test_by_domain_in_scope(house: House, tree: Tree) -> None:
    """Given a domain, when it is asked for in any letters, then it is found by those above, and by nobody else."""
    request = organizations_pb2.GetOrganizationRequest(id=tree.customer.domain.upper())
    with member_of(tree.partner, "member"):
        assert await house.organizations.GetOrganization(request, None) == tree.customer
    with member_of(tree.sibling), refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND):
        await house.organizations.GetOrganization(request, None)


async def test_list_pages_by_domain_within_the_scope(house: House, tree: Tree) -> None:
    """Given a tree, when it is listed in small pages, then each of the scope comes once, by domain, and no other."""
    with member_of(tree.partner, method="/test/List"):
        seen = await _listed(house, page_size=1)
        whole = await _listed(house)
        buyers = await _listed(house, parent_id=tree.reseller.id)
        foreign = await _listed(house, parent_id=tree.sibling.id)
    expected = sorted((tree.partner, tree.reseller, tree.customer), key=lambda each: each.domain)
    assert seen == whole == [each.domain for each in expected]
    assert buyers == [tree.customer.domain]
    assert foreign == []


async def test_logos_make_a_page_shorter_not_too_large(house: House, tree: Tree) -> None:
    """Given buyers with large logos, when they are listed, then a page stays small, and all come over several."""
    logo = organizations_pb2.Branding(logo=b"<svg/>".ljust(262_144))
    with as_service():
        made = [(await house.create(tree.customer, "logo", branding=logo)).domain for _ in range(6)]
        request = organizations_pb2.ListOrganizationsRequest(parent_id=tree.customer.id)
        page = await house.organizations.ListOrganizations(request, None)
        assert len(page.organizations) == 4
        assert page.ByteSize() < 1_500_000
        assert await _listed(house, parent_id=tree.customer.id) == sorted(made)


async def test_page_tokens_are_the_callers_own(house: House, tree: Tree) -> None:
    """Given a page token, when another tenant, or another filter, uses it, then it is refused."""
    with member_of(tree.partner, method="/test/List"):
        first = await house.organizations.ListOrganizations(
            organizations_pb2.ListOrganizationsRequest(page_size=1), None
        )
        with refused("PAGE_TOKEN_INVALID"):
            await _listed(house, page_token=first.next_page_token, parent_id=tree.reseller.id)
    with member_of(tree.sibling, method="/test/List"), refused("PAGE_TOKEN_INVALID"):
        await _listed(house, page_token=first.next_page_token)


async def _listed(house: House, **fields: Any) -> list[str]:
    request = organizations_pb2.ListOrganizationsRequest(**fields)
    domains = []
    while True:
        page = await house.organizations.ListOrganizations(request, None)
        domains += [each.domain for each in page.organizations]
        if not page.next_page_token:
            return domains
        request.page_token = page.next_page_token


async def _said(house: House, organization_id: str) -> list[str]:
    """What every method answers about that id."""
    stranger = Organization(id=organization_id)
    member_id = str(uuid4())
    calls = (
        lambda: house.organizations.GetOrganization(_by_id(stranger), None),
        lambda: house.update(stranger, name="Mine now"),
        lambda: _add(house, stranger, person("Spy")),
        lambda: _remove(house, stranger, member_id),
        lambda: _make_boss(house, stranger, member_id),
        lambda: house.organizations.UpdateMember(
            organizations_pb2.UpdateMemberRequest(
                request_id=request_id(),
                organization_id=organization_id,
                member=organizations_pb2.Member(id=member_id, name="Spy", email="spy@spy.example", role=MEMBER),
            ),
            None,
        ),
    )
    said = []
    for call in calls:
        with refused("NOT_FOUND", grpc.StatusCode.NOT_FOUND) as caught:
            await call()
        said.append(caught.value.message.replace(organization_id, "X"))
    return said


def _by_id(organization: Organization) -> organizations_pb2.GetOrganizationRequest:
    return organizations_pb2.GetOrganizationRequest(id=organization.id)


def _find(organization: Organization, name: str) -> organizations_pb2.Member:
    return next(member for member in organization.members if member.name == name)


async def _add(house: House, organization: Organization, member: organizations_pb2.Member) -> Organization:
    request = organizations_pb2.AddMemberRequest(
        request_id=request_id(), organization_id=organization.id, member=member
    )
    return await house.organizations.AddMember(request, None)


async def _remove(house: House, organization: Organization, member_id: str) -> Organization:
    request = organizations_pb2.RemoveMemberRequest(
        request_id=request_id(), organization_id=organization.id, member_id=member_id
    )
    return await house.organizations.RemoveMember(request, None)


async def _make_boss(house: House, organization: Organization, member_id: str) -> Organization:
    request = organizations_pb2.ChangeBossRequest(
        request_id=request_id(), organization_id=organization.id, member_id=member_id
    )
    return await house.organizations.ChangeBoss(request, None)

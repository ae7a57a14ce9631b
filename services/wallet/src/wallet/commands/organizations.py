"""Changes of the tree and of who acts for whom (mission O1, O2).

What the caller names is looked up in its own scope first, under row-level security. The change itself runs with
scope EVERYTHING, because the rules look further than the caller (a domain is unique in the system, a chain goes up
to the platform), holds the tree, and asks again whether the caller sees what it is about to change.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from directory import store as directory
from directory.convert import organization_to_message
from directory.domain import Organization
from farthing.wallet.v1 import organizations_pb2
from servicekit import audit, outbox
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.ids import new_id, parse_id
from servicekit.problems import already_exists, denied
from servicekit.requests import once
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.commands.callers import actor, seen_organization
from wallet.convert.audit import changed_fields, created_fields
from wallet.convert.organizations import changed, check_organization, draft, masked_fields, new_member
from wallet.convert.refusals import refusals_told
from wallet.domain import organizations as rules
from wallet.domain.refusals import Actor, Refused
from wallet.domain.top_ups import Failure
from wallet.domain.wallets import check_empty
from wallet.events.organizations import organization_created, organization_updated
from wallet.events.top_ups import top_up_failed
from wallet.store import organizations as store
from wallet.store import top_ups, wallets

# Under which the request that makes the platform is remembered: nothing else exists then.
NO_ROOT = UUID(int=0)

MemberChange = (
    organizations_pb2.AddMemberRequest
    | organizations_pb2.UpdateMemberRequest
    | organizations_pb2.RemoveMemberRequest
    | organizations_pb2.ChangeBossRequest
)

MOVED = "The wallet was closed: its owner has another seller now. Ask for a new top-up there."


async def create_organization(
    database: Database, clock: Clock, request: organizations_pb2.CreateOrganizationRequest
) -> organizations_pb2.Organization:
    """Creates an organization under its seller, with its wallet. Only a service makes the platform, once."""
    parent_id = request.organization.parent_id
    with refusals_told():
        parent = await _seen_parent(database, parent_id) if parent_id else None
        if parent is None and not actor().is_service:
            raise denied("Only the operator makes the platform; name the parent_id of an organization of yours.")

        async def change(connection: AsyncConnection) -> organizations_pb2.Organization:
            if not await store.claim_domain(connection, request.organization.domain):
                raise already_exists(
                    f"The domain '{request.organization.domain}' is taken; each organization has its own."
                )
            if parent is None and not await store.claim_platform(connection):
                raise already_exists("There is a platform already; name the parent_id of the new organization.")
            seller = parent and await _still_seen_parent(connection, parent, actor())
            created = rules.place(draft(request.organization, new_id, clock.now()), seller)
            await directory.save(connection, created)
            if seller is not None:
                await wallets.open_for(connection, created)
            await outbox.add(connection, [organization_created(created)])
            await _record(connection, "ORGANIZATION_CREATED", created, request.request_id)
            return organization_to_message(created)

        root_id = parent.root_id if parent else NO_ROOT
        return await once(database, root_id, request, organizations_pb2.Organization, change)


async def update_organization(
    database: Database, request: organizations_pb2.UpdateOrganizationRequest
) -> organizations_pb2.Organization:
    """Changes the fields that the mask names; a new parent or currency needs empty wallets."""
    fields = masked_fields(request)
    asked = request.organization
    found = await seen_organization(database, asked.id)
    with refusals_told():
        parent = None
        if "parent_id" in fields and asked.parent_id != str(found.parent_id or ""):
            parent = await _seen_parent(database, asked.parent_id)

        async def change(connection: AsyncConnection) -> organizations_pb2.Organization:
            before = await _held(connection, found, changing_tree=parent is not None)
            # Without a parent to move to, it stays where it is, even if somebody else has moved it meanwhile.
            after = changed(before, asked, fields if parent else fields - {"parent_id"})
            rules.check_change(before, after, actor())
            if parent and after.parent_id != before.parent_id:
                seller = await _still_seen_parent(connection, parent, actor(), held=True)
                after = rules.move(after, seller)
                await _follow(connection, after)
            if after.parent_id != before.parent_id or after.currency != before.currency:
                await _replace_wallets(connection, before, after)
            if after.earnings != before.earnings:
                opened = await wallets.lock_open(connection, after)
                await wallets.set_earnings(connection, opened, after.earnings)
            return await _written(connection, before, after, "ORGANIZATION_UPDATED", request.request_id)

        return await once(database, found.root_id, request, organizations_pb2.Organization, change)


async def add_member(database: Database, request: organizations_pb2.AddMemberRequest) -> organizations_pb2.Organization:
    """Adds a member; the first boss may come so."""
    return await _change_members(
        database,
        request,
        "MEMBER_ADDED",
        lambda before: rules.add_member(before, new_member(request.member, new_id())),
    )


async def update_member(
    database: Database, request: organizations_pb2.UpdateMemberRequest
) -> organizations_pb2.Organization:
    """Changes a member's name, mailbox or role, not to or from boss."""
    return await _change_members(
        database,
        request,
        "MEMBER_UPDATED",
        lambda before: rules.update_member(before, new_member(request.member, _member_id(request.member.id))),
    )


async def remove_member(
    database: Database, request: organizations_pb2.RemoveMemberRequest
) -> organizations_pb2.Organization:
    """Takes a member out; the boss stays."""
    return await _change_members(
        database,
        request,
        "MEMBER_REMOVED",
        lambda before: rules.remove_member(before, _member_id(request.member_id)),
    )


async def change_boss(
    database: Database, request: organizations_pb2.ChangeBossRequest
) -> organizations_pb2.Organization:
    """Makes a member the boss; the boss until then becomes an admin."""
    return await _change_members(
        database,
        request,
        "BOSS_CHANGED",
        lambda before: rules.change_boss(before, _member_id(request.member_id)),
    )


async def _change_members(
    database: Database,
    request: MemberChange,
    action: str,
    rule: Callable[[Organization], Organization],
) -> organizations_pb2.Organization:
    found = await seen_organization(database, request.organization_id)

    async def change(connection: AsyncConnection) -> organizations_pb2.Organization:
        before = await _held(connection, found)
        return await _written(connection, before, rule(before), action, request.request_id)

    with refusals_told():
        return await once(database, found.root_id, request, organizations_pb2.Organization, change)


async def _seen_parent(database: Database, parent_id: str) -> Organization:
    found = parse_id(parent_id)
    async with database.transaction(current_call().scope) as connection:
        parent = None if found is None else await directory.find(connection, found)
    if parent is None:
        raise rules.parent_unknown(parent_id)
    return parent


async def _still_seen_parent(
    connection: AsyncConnection, parent: Organization, asking: Actor, *, held: bool = False
) -> Organization:
    """The parent as it is now; its place stays as it is until the transaction ends."""
    if not held and not parent.is_platform:
        await store.hold_tree(connection, parent.root_id, changing=False)
    now = await directory.find(connection, parent.id)
    if now is None or not asking.sees(now):
        raise rules.parent_unknown(str(parent.id))
    return now


async def _held(connection: AsyncConnection, found: Organization, *, changing_tree: bool = False) -> Organization:
    """The organization as it is now, kept so; the root's row before its own, so that nobody waits in a circle."""
    # The root's own row is locked once, and as strongly as it will be needed.
    changing = changing_tree or found.id == found.root_id
    await store.hold_tree(connection, found.root_id, changing=changing)
    now = await store.lock(connection, found.root_id, found.id)
    if not actor().sees(now):
        raise Refused("NOT_FOUND", f"organization '{found.id}'")
    return now


async def _follow(connection: AsyncConnection, moved: Organization) -> None:
    """Those below go with it; each tells so."""
    events = []
    for descendant in await store.lock_below(connection, moved):
        followed = replace(rules.follow(descendant, moved), version=descendant.version + 1)
        await directory.save(connection, followed)
        events.append(organization_updated(followed))
    await outbox.add(connection, events)


async def _replace_wallets(connection: AsyncConnection, before: Organization, after: Organization) -> None:
    """Opens the wallet that the new seller or currency asks for, once nothing is on those until now."""
    opened = await wallets.lock_open(connection, before)
    check_empty(before, opened)
    if after.parent_id != before.parent_id:
        for wallet in opened:
            if await top_ups.payment_under_way(connection, wallet):
                raise Refused(
                    "WALLET_NOT_EMPTY",
                    f"a payment for the {wallet.currency} wallet of '{before.domain}' is under way; repeat in a"
                    " moment, and bring the wallet to zero then",
                )
            abandoned = await top_ups.abandon(connection, wallet, Failure.SELLER_CHANGED, MOVED)
            failed_at = await top_ups.now(connection)
            await outbox.add(connection, [top_up_failed(top_up, failed_at) for top_up in abandoned])
        await wallets.close(connection, opened)
    if not after.is_platform:
        await wallets.open_for(connection, after)


async def _written(
    connection: AsyncConnection, before: Organization, after: Organization, action: str, request_id: str
) -> organizations_pb2.Organization:
    """The changed organization, stored, told and in the audit trail; one that is as it was is none of it."""
    if after == before:
        return organization_to_message(before)
    written = replace(after, version=before.version + 1)
    message = organization_to_message(written)
    check_organization(message)
    await directory.save(connection, written)
    await outbox.add(connection, [organization_updated(written)])
    await _record(connection, action, written, request_id, before)
    return message


async def _record(
    connection: AsyncConnection, action: str, after: Organization, request_id: str, before: Organization | None = None
) -> None:
    was, now = (None, created_fields(after)) if before is None else changed_fields(before, after)
    await audit.record(
        connection,
        audit.Change(
            root_id=after.root_id,
            organization_id=after.id,
            action=action,
            target_type="organization",
            target_id=str(after.id),
            before=was,
            after=now,
            request_id=request_id,
        ),
    )


def _member_id(text: str) -> UUID:
    found = parse_id(text)
    if found is None:
        raise Refused("NOT_FOUND", f"member '{text}'")
    return found

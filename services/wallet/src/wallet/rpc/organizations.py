"""OrganizationService: the tree and its members."""

from typing import Any

from directory import store as directory
from directory.convert import organization_to_message
from farthing.wallet.v1 import organizations_pb2, organizations_pb2_grpc
from servicekit.call import current_call
from servicekit.clock import Clock
from servicekit.database import Database
from servicekit.ids import parse_id
from servicekit.paging import Pager, page_size
from servicekit.problems import not_found

from wallet.commands import organizations as commands
from wallet.store import organizations as store

Context = Any

# A page is shorter than asked for rather than too large a message; one organization is 0.8 MB at most.
PAGE_BYTES = 1_000_000


class OrganizationRpc(organizations_pb2_grpc.OrganizationServiceServicer):
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, clock: Clock, pager: Pager) -> None:
        self._database, self._clock, self._pager = database, clock, pager

    async def CreateOrganization(
        self, request: organizations_pb2.CreateOrganizationRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.create_organization(self._database, self._clock, request)

    async def UpdateOrganization(
        self, request: organizations_pb2.UpdateOrganizationRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.update_organization(self._database, request)

    async def AddMember(
        self, request: organizations_pb2.AddMemberRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.add_member(self._database, request)

    async def UpdateMember(
        self, request: organizations_pb2.UpdateMemberRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.update_member(self._database, request)

    async def RemoveMember(
        self, request: organizations_pb2.RemoveMemberRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.remove_member(self._database, request)

    async def ChangeBoss(
        self, request: organizations_pb2.ChangeBossRequest, context: Context
    ) -> organizations_pb2.Organization:
        return await commands.change_boss(self._database, request)

    async def GetOrganization(
        self, request: organizations_pb2.GetOrganizationRequest, context: Context
    ) -> organizations_pb2.Organization:
        organization_id = parse_id(request.id)
        async with self._database.transaction(current_call().scope) as connection:
            if organization_id is not None:
                found = await directory.find(connection, organization_id)
            else:
                found = await directory.find_by_domain(connection, request.id.lower())
        if found is None:
            raise not_found(f"organization '{request.id}'")
        return organization_to_message(found)

    async def ListOrganizations(
        self, request: organizations_pb2.ListOrganizationsRequest, context: Context
    ) -> organizations_pb2.ListOrganizationsResponse:
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.parent_id)
        scope = current_call().scope
        async with self._database.transaction(scope) as connection:
            found, more = await store.page(
                connection,
                scope,
                parent_id=parse_id(request.parent_id),
                after=str(cursor["domain"]) if cursor else "",
                limit=size,
                max_bytes=PAGE_BYTES,
            )
        response = organizations_pb2.ListOrganizationsResponse(
            organizations=[organization_to_message(each) for each in found]
        )
        if more:
            response.next_page_token = self._pager.encode({"domain": found[-1].domain}, bound_to=request.parent_id)
        return response

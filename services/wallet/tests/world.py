"""A house of organizations to try things in, and short ways to use its handlers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.wallet.events.v1.events_pb2 import WalletEvent
from farthing.wallet.v1 import organizations_pb2, wallets_pb2
from google.type import money_pb2
from servicekit.call import Call
from servicekit.database import Database
from servicekit.problems import Problem
from servicekit.scope import EVERYTHING
from servicekit.testing import as_caller, as_service
from sqlalchemy import text
from wallet.rpc.organizations import OrganizationRpc
from wallet.rpc.top_ups import TopUps
from wallet.rpc.wallets import Wallets

Organization = organizations_pb2.Organization
BOSS = organizations_pb2.MEMBER_ROLE_BOSS
ADMIN = organizations_pb2.MEMBER_ROLE_ADMIN
FINANCE = organizations_pb2.MEMBER_ROLE_FINANCE
MEMBER = organizations_pb2.MEMBER_ROLE_MEMBER
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def request_id() -> str:
    """A request id that nobody has used."""
    return f"test-{uuid4()}"


def eur(amount: int, currency: str = "EUR") -> money_pb2.Money:
    """Whole units of money."""
    return money_pb2.Money(currency_code=currency, units=amount)


@contextmanager
def refused(reason: str, code: grpc.StatusCode | None = None, said: str = "") -> Iterator[Any]:
    """Within the block a Problem of that reason (and code) is raised, with `said` in its message."""
    with pytest.raises(Problem) as caught:
        yield caught
    assert caught.value.reason == reason, caught.value.message
    assert code is None or caught.value.code is code
    assert said in caught.value.message


@contextmanager
def member_of(organization: Organization, role: str = "boss", method: str = "/test/Method") -> Iterator[Call]:
    """Within the block someone of `organization` calls."""
    root = UUID(organization.root_id) if organization.parent_id else None
    with as_caller(UUID(organization.id), root, roles=(role,), name="Carla Caller", email="carla@caller.example",
                   method=method) as call:  # fmt: skip
        yield call


@dataclass
class House:
    """The handlers, and short ways to use them."""

    database: Database
    organizations: OrganizationRpc
    wallets: Wallets
    top_ups: TopUps
    platform: Organization

    async def create(self, parent: Organization | None, name: str = "org", **fields: Any) -> Organization:
        """A new organization under `parent`, made by a service; `fields` replace what it would have."""
        return await self.organizations.CreateOrganization(creation(parent, name, **fields), None)

    async def update(self, organization: Organization, *paths: str, **fields: Any) -> Organization:
        """The organization changed by the caller, as the mask of `fields` (and `paths`) says."""
        request = organizations_pb2.UpdateOrganizationRequest(
            request_id=request_id(), organization=Organization(id=organization.id, **fields)
        )
        request.update_mask.paths.extend([*fields, *paths])
        return await self.organizations.UpdateOrganization(request, None)

    async def get(self, organization: Organization) -> Organization:
        """The organization as a service sees it now."""
        with as_service():
            request = organizations_pb2.GetOrganizationRequest(id=organization.id)
            return await self.organizations.GetOrganization(request, None)

    async def wallet_of(self, organization: Organization, currency: str = "EUR") -> wallets_pb2.Wallet:
        """The organization's wallet in that currency."""
        with as_service():
            request = wallets_pb2.ListWalletsRequest(organization_id=organization.id)
            found = (await self.wallets.ListWallets(request, None)).wallets
        return next(wallet for wallet in found if wallet.currency == currency)

    async def balance_micros(self, wallet: wallets_pb2.Wallet) -> int:
        """The wallet's balance as stored, after a look that its lines sum to it."""
        async with self.database.transaction(EVERYTHING) as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT balance_micros, (SELECT coalesce(sum(amount_micros), 0) FROM lines"
                        " WHERE wallet_id = wallets.id) AS sum_micros FROM wallets WHERE id = :id"
                    ),
                    {"id": UUID(wallet.id)},
                )
            ).one()
        assert row.balance_micros == row.sum_micros
        return int(row.balance_micros)

    async def events_of(self, organization: Organization) -> list[WalletEvent]:
        """Every event of that key in the outbox, in order."""
        async with self.database.transaction(EVERYTHING) as connection:
            rows = await connection.execute(
                text("SELECT payload FROM outbox WHERE key = :key ORDER BY id"), {"key": organization.id}
            )
            return [WalletEvent.FromString(payload) for payload in rows.scalars()]

    async def value(self, query: str, **values: Any) -> Any:
        """The one value that SQL finds, seeing everything."""
        async with self.database.transaction(EVERYTHING) as connection:
            return (await connection.execute(text(query), values)).scalar_one()

    async def rows(self, query: str, **values: Any) -> Any:
        """The rows that SQL finds, seeing everything."""
        async with self.database.transaction(EVERYTHING) as connection:
            return (await connection.execute(text(query), values)).all()

    async def execute(self, statement: str, **values: Any) -> None:
        """Runs SQL that sees everything."""
        async with self.database.transaction(EVERYTHING) as connection:
            await connection.execute(text(statement), values)


def creation(parent: Organization | None, name: str = "org", **fields: Any) -> Any:
    """A request for a new organization under `parent`."""
    asked = {
        "parent_id": parent.id if parent else "",
        "name": name,
        "domain": f"{name}-{uuid4().hex[:12]}.example",
        "currency": "EUR",
        "language": "en",
        **fields,
    }
    return organizations_pb2.CreateOrganizationRequest(request_id=request_id(), organization=Organization(**asked))


@dataclass
class Tree:
    """Under the house's platform: partner -> reseller -> customer, and sibling -> nephew."""

    partner: Organization
    reseller: Organization
    customer: Organization
    sibling: Organization
    nephew: Organization


def person(name: str, role: Any = MEMBER, email: str = "") -> organizations_pb2.Member:
    """A member to be added."""
    return organizations_pb2.Member(name=name, email=email or f"{name.lower()}@people.example", role=role)

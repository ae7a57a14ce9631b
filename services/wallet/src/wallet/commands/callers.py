"""Who asks for a change, and whether what they name exists for them."""

from uuid import UUID

from directory import store as directory
from directory.domain import Organization
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.ids import parse_id
from servicekit.problems import not_found
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.refusals import Actor
from wallet.domain.wallets import Wallet
from wallet.store import wallets


def actor() -> Actor:
    """The caller, as the rules see it."""
    principal = current_call().principal
    return Actor(None if principal.kind == "service" else principal.organization_id)


async def in_whose_name(connection: AsyncConnection, wallet: Wallet) -> tuple[str, str]:
    """Name and mailbox of the member of the wallet's owner who asks; of its boss where another does; empty without one.

    A seller's people may ask for a buyer; but the buyer is to hear no name of theirs, and they get none of its mail.
    """
    principal = current_call().principal
    if principal.kind == "member" and principal.organization_id == wallet.organization_id:
        return principal.name, principal.email
    owner = await directory.find(connection, wallet.organization_id)
    boss = owner.boss if owner else None
    return (boss.name, boss.email) if boss else ("", "")


async def seen_organization(database: Database, organization_id: str) -> Organization:
    """The organization that the caller names. Problem NOT_FOUND where it is not there, or not for the caller."""
    found = parse_id(organization_id)
    async with database.transaction(current_call().scope) as connection:
        organization = None if found is None else await directory.find(connection, found)
    if organization is None:
        raise not_found(f"organization '{organization_id}'")
    return organization


async def seen_wallet(database: Database, wallet_id: str) -> Wallet:
    """The wallet that the caller names. Problem NOT_FOUND where it is not there, or not for the caller."""
    async with database.transaction(current_call().scope) as connection:
        wallet = await wallets.find(connection, UUID(wallet_id))
    if wallet is None:
        raise not_found(f"wallet '{wallet_id}'")
    return wallet

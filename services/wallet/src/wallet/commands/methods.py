"""Payment methods that buyers save with their seller's provider, and remove (mission W4)."""

import asyncio
from dataclasses import replace
from uuid import UUID

from farthing.wallet.v1 import payments_pb2
from servicekit import audit
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.ids import new_id
from servicekit.problems import not_found, unavailable
from servicekit.requests import once
from servicekit.scope import EVERYTHING
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients.providers import UnusableError
from wallet.clients.registry import Providers
from wallet.commands.balance_rules import switch_off
from wallet.commands.callers import seen_wallet
from wallet.commands.payments import account_for
from wallet.convert.payments import method_to_message
from wallet.convert.refusals import refusals_told
from wallet.domain import payments as rules
from wallet.domain.wallets import check_open
from wallet.store import payments, wallets

PROVIDER_TIMEOUT_S = 10.0


async def create_setup_session(
    database: Database, providers: Providers, request: payments_pb2.CreateSetupSessionRequest
) -> payments_pb2.SetupSession:
    """A page of the provider's on which a method for the wallet is saved; a repeat gives the same page."""
    found = await seen_wallet(database, request.wallet_id)
    hosted = providers.hosted

    async def change(connection: AsyncConnection) -> payments_pb2.SetupSession:
        wallet = await wallets.keep(connection, found.root_id, found.id)
        check_open(wallet)
        _, account = await account_for(connection, hosted, wallet, request.payment_account_id)
        session_id = new_id()
        await payments.add_setup(connection, session_id, wallet, account)
        return payments_pb2.SetupSession(id=str(session_id))

    with refusals_told():
        session = await once(database, found.root_id, request, payments_pb2.SetupSession, change)
        async with database.transaction(EVERYTHING) as connection:
            account = await payments.setup_account(connection, UUID(session.id))
        if hosted is None or account is None:
            raise rules.unusable("the seller's payment account cannot be used")
        try:
            async with asyncio.timeout(PROVIDER_TIMEOUT_S):
                page = await hosted.begin_setup(account, UUID(session.id), found.currency)
        except UnusableError as error:
            raise rules.unusable(str(error)) from None
        except OSError as error:
            raise unavailable("The payment provider does not answer; repeat in a moment.") from error
    session.url = page.url
    session.expires_at.FromDatetime(page.expires_at)
    return session


async def remove_method(
    database: Database, request: payments_pb2.RemovePaymentMethodRequest
) -> payments_pb2.SavedPaymentMethod:
    """Stops using a saved method; one that is removed is answered as it is."""
    async with database.transaction(current_call().scope) as connection:
        found = await payments.find_method(connection, UUID(request.id))
    if found is None:
        raise not_found(f"payment method '{request.id}'")

    async def change(connection: AsyncConnection) -> payments_pb2.SavedPaymentMethod:
        await wallets.lock(connection, found.root_id, found.wallet_id)
        method = await payments.find_method(connection, found.id)
        if method is not None and method.is_active:
            await payments.remove_method(connection, found)
            fields = {"display_name": found.display_name, "wallet_id": str(found.wallet_id)}
            change = audit.Change(
                root_id=found.root_id,
                organization_id=found.organization_id,
                action="PAYMENT_METHOD_REMOVED",
                target_type="payment_method",
                target_id=str(found.id),
                before={**fields, "state": "ACTIVE"},
                after={**fields, "state": "REMOVED"},
                request_id=request.request_id,
            )
            await audit.record(connection, change)
            await switch_off(connection, method, request.request_id)
        return method_to_message(replace(found, is_active=False))

    return await once(database, found.root_id, request, payments_pb2.SavedPaymentMethod, change)

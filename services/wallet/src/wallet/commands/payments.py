"""Where sellers are paid, and the methods that buyers have saved there (mission W4)."""

from typing import Any
from uuid import UUID

from farthing.wallet.v1 import payments_pb2
from servicekit import audit
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.ids import new_id, parse_id
from servicekit.problems import not_found
from servicekit.requests import once
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.clients.providers import HostedProvider, UnusableError
from wallet.commands.callers import seen_organization
from wallet.convert.payments import account_from_message, account_to_message, changed_account
from wallet.convert.refusals import refusals_told
from wallet.domain import payments as rules
from wallet.domain.payments import PaymentAccount, Provider, SavedMethod
from wallet.domain.refusals import Refused
from wallet.domain.wallets import Wallet
from wallet.store import payments as store


async def create_account(
    database: Database, request: payments_pb2.CreatePaymentAccountRequest, *, development: bool
) -> payments_pb2.PaymentAccount:
    """Sets up an account of a seller: the caller's own organization, or one below."""
    seller = await seen_organization(database, request.payment_account.seller_id)

    async def change(connection: AsyncConnection) -> payments_pb2.PaymentAccount:
        account = account_from_message(request.payment_account, new_id(), seller.root_id, seller.id)
        rules.check_account(account, development=development)
        account = await store.add(connection, account)
        await _record(connection, account, "PAYMENT_ACCOUNT_CREATED", None, request.request_id)
        return account_to_message(account)

    with refusals_told():
        return await once(database, seller.root_id, request, payments_pb2.PaymentAccount, change)


async def update_account(
    database: Database, request: payments_pb2.UpdatePaymentAccountRequest, *, development: bool
) -> payments_pb2.PaymentAccount:
    """Changes the fields that the mask names."""
    account_id = parse_id(request.payment_account.id)
    async with database.transaction(current_call().scope) as connection:
        found = None if account_id is None else await store.find(connection, account_id)
    if found is None:
        raise not_found(f"payment account '{request.payment_account.id}'")

    async def change(connection: AsyncConnection) -> payments_pb2.PaymentAccount:
        before = await store.lock(connection, found)
        after = changed_account(before, request)
        rules.check_account(after, development=development)
        if after != before:
            await store.save(connection, after)
            await _record(connection, after, "PAYMENT_ACCOUNT_CHANGED", before, request.request_id)
        return account_to_message(after)

    with refusals_told():
        return await once(database, found.root_id, request, payments_pb2.PaymentAccount, change)


async def account_for(
    connection: AsyncConnection, hosted: HostedProvider | None, wallet: Wallet, account_id: str
) -> tuple[HostedProvider, PaymentAccount]:
    """The account of the wallet's seller at which its owner may pay: the one named, or the first that is enabled.

    Refuses PAYMENT_ACCOUNT_UNUSABLE. Needs scope EVERYTHING: a buyer does not see its seller.
    """
    if account_id:
        account = await store.find(connection, UUID(account_id))
    else:
        accounts = await store.page(connection, wallet.seller_id)
        account = next((each for each in accounts if each.provider is Provider.STRIPE and each.enabled), None)
    usable = rules.check_usable(account, wallet.seller_id)
    if hosted is None:
        raise rules.unusable("payments through a provider are not offered here")
    try:
        hosted.check(usable)
    except UnusableError as error:
        raise rules.unusable(str(error)) from None
    return hosted, usable


async def usable_method(connection: AsyncConnection, wallet: Wallet, method_id: str) -> SavedMethod:
    """The wallet's saved method of that id. Refuses NOT_FOUND."""
    method = await store.find_method(connection, UUID(method_id))
    if method is None or method.wallet_id != wallet.id or not method.is_active:
        raise Refused("NOT_FOUND", f"payment method '{method_id}' on this wallet")
    return method


async def _record(
    connection: AsyncConnection, after: PaymentAccount, action: str, before: PaymentAccount | None, request_id: str
) -> None:
    change = audit.Change(
        root_id=after.root_id,
        organization_id=after.seller_id,
        action=action,
        target_type="payment_account",
        target_id=str(after.id),
        before=None if before is None else _audited(before),
        after=_audited(after),
        request_id=request_id,
    )
    await audit.record(connection, change)


def _audited(account: PaymentAccount) -> dict[str, Any]:
    """What the audit trail keeps of an account: everything but the names of its secrets."""
    return {
        "provider": account.provider.upper(),
        "display_name": account.display_name,
        "enabled": account.enabled,
        "account_holder": account.bank.account_holder,
        "iban": account.bank.iban,
        "bic": account.bank.bic,
        "bank_name": account.bank.bank_name,
        "instructions": account.bank.instructions,
        "success_url": account.stripe.success_url,
        "cancel_url": account.stripe.cancel_url,
        "has_api_key_secret": bool(account.stripe.api_key_secret),
        "has_webhook_secret": bool(account.stripe.webhook_secret),
    }

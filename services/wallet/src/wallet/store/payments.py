"""Payment accounts, saved methods and providers' events in SQL."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain.payments import BankDetails, PaymentAccount, Provider, SavedMethod, StripeSettings
from wallet.domain.wallets import Wallet

# The numbers of farthing.wallet.v1.PaymentProvider.
_PROVIDERS = {Provider.BANK: 1, Provider.SANDBOX: 2, Provider.STRIPE: 3}
_PROVIDER_OF = {number: provider for provider, number in _PROVIDERS.items()}
_ACTIVE = 1
# More than a seller has.
ACCOUNTS_MAX = 1000

_ADD = text(
    "INSERT INTO payment_accounts (root_id, id, seller_id, provider, display_name, enabled, account_holder, iban, bic,"
    " bank_name, instructions, success_url, cancel_url, api_key_secret, webhook_secret)"
    " VALUES (:root_id, :id, :seller_id, :provider, :display_name, :enabled, :account_holder, :iban, :bic,"
    " :bank_name, :instructions, :success_url, :cancel_url, :api_key_secret, :webhook_secret)"
)
_SAVE = text(
    "UPDATE payment_accounts SET display_name = :display_name, enabled = :enabled, account_holder = :account_holder,"
    " iban = :iban, bic = :bic, bank_name = :bank_name, instructions = :instructions, success_url = :success_url,"
    " cancel_url = :cancel_url, api_key_secret = :api_key_secret, webhook_secret = :webhook_secret"
    " WHERE root_id = :root_id AND id = :id AND seller_id = :seller_id AND provider = :provider"
)
_FIND = text("SELECT * FROM payment_accounts WHERE id = :id")
_LOCK = text("SELECT * FROM payment_accounts WHERE root_id = :root_id AND id = :id FOR NO KEY UPDATE")
_PAGE = text(
    "SELECT * FROM payment_accounts WHERE seller_id = :seller_id AND (CAST(:after AS uuid) IS NULL OR id > :after)"
    " ORDER BY id LIMIT :limit"
)
_REMEMBER = text(
    "INSERT INTO payment_events (root_id, payment_account_id, event_id, seller_id)"
    " VALUES (:root_id, :payment_account_id, :event_id, :seller_id) ON CONFLICT DO NOTHING RETURNING 1"
)
_IS_REMEMBERED = text(
    "SELECT EXISTS (SELECT FROM payment_events WHERE root_id = :root_id"
    " AND payment_account_id = :payment_account_id AND event_id = :event_id)"
)
_ADD_SETUP = text(
    "INSERT INTO setup_sessions (root_id, id, wallet_id, organization_id, payment_account_id)"
    " VALUES (:root_id, :id, :wallet_id, :organization_id, :payment_account_id)"
)
_SETUP_WALLET = text(
    "SELECT root_id, wallet_id FROM setup_sessions WHERE id = :id AND payment_account_id = :payment_account_id"
)
_SETUP_ACCOUNT = text(
    "SELECT a.* FROM setup_sessions s JOIN payment_accounts a ON a.id = s.payment_account_id WHERE s.id = :id"
)
_ADD_METHOD = text(
    "INSERT INTO payment_methods (root_id, id, wallet_id, organization_id, payment_account_id, provider, display_name,"
    " provider_customer, provider_method) VALUES (:root_id, :id, :wallet_id, :organization_id, :payment_account_id,"
    " :provider, :display_name, :provider_customer, :provider_method) ON CONFLICT DO NOTHING"
)
_FIND_METHOD = text("SELECT * FROM payment_methods WHERE id = :id")
_REMOVE_METHOD = text("UPDATE payment_methods SET state = 2 WHERE root_id = :root_id AND id = :id")
_METHODS_PAGE = text(
    "SELECT * FROM payment_methods WHERE root_id = :root_id AND wallet_id = :wallet_id"
    " AND (CAST(:before AS uuid) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
)


async def add(connection: AsyncConnection, account: PaymentAccount) -> PaymentAccount:
    """Writes a new account; gives it as it is written."""
    await connection.execute(_ADD, _values(account))
    return await lock(connection, account)


async def save(connection: AsyncConnection, account: PaymentAccount) -> None:
    """Writes a locked account's new fields."""
    await connection.execute(_SAVE, _values(account))


async def find(connection: AsyncConnection, account_id: UUID) -> PaymentAccount | None:
    """The account of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND, {"id": account_id})).one_or_none()
    return None if row is None else _read(row)


async def lock(connection: AsyncConnection, account: PaymentAccount) -> PaymentAccount:
    """The account as it is now, kept so until the transaction ends."""
    return _read((await connection.execute(_LOCK, {"root_id": account.root_id, "id": account.id})).one())


async def page(
    connection: AsyncConnection, seller_id: UUID, *, after: UUID | None = None, limit: int = ACCOUNTS_MAX
) -> list[PaymentAccount]:
    """Up to `limit` accounts of a seller, the oldest first, newer than the account `after`."""
    values = {"seller_id": seller_id, "after": after, "limit": limit}
    return [_read(row) for row in await connection.execute(_PAGE, values)]


async def remember(connection: AsyncConnection, account: PaymentAccount, event_id: str) -> bool:
    """True the first time that this event of the provider's is remembered for the account."""
    values = {**_event_key(account, event_id), "seller_id": account.seller_id}
    return (await connection.execute(_REMEMBER, values)).one_or_none() is not None


async def is_remembered(connection: AsyncConnection, account: PaymentAccount, event_id: str) -> bool:
    """True where the event has been acted on."""
    return bool((await connection.execute(_IS_REMEMBERED, _event_key(account, event_id))).scalar_one())


async def add_setup(connection: AsyncConnection, session_id: UUID, wallet: Wallet, account: PaymentAccount) -> None:
    """Writes that a method is being saved for the wallet."""
    await connection.execute(
        _ADD_SETUP,
        {
            "root_id": wallet.root_id,
            "id": session_id,
            "wallet_id": wallet.id,
            "organization_id": wallet.organization_id,
            "payment_account_id": account.id,
        },
    )


async def setup_wallet(
    connection: AsyncConnection, session_id: UUID, account: PaymentAccount
) -> tuple[UUID, UUID] | None:
    """Root and id of the wallet that the account's setup session is for, or None where it has no such session."""
    row = (await connection.execute(_SETUP_WALLET, {"id": session_id, "payment_account_id": account.id})).one_or_none()
    return None if row is None else (row.root_id, row.wallet_id)


async def setup_account(connection: AsyncConnection, session_id: UUID) -> PaymentAccount | None:
    """The account at which a setup session saves its method. Needs scope EVERYTHING."""
    row = (await connection.execute(_SETUP_ACCOUNT, {"id": session_id})).one_or_none()
    return None if row is None else _read(row)


async def add_method(connection: AsyncConnection, method: SavedMethod) -> bool:
    """Writes a saved method; False where the wallet has it already."""
    added = await connection.execute(
        _ADD_METHOD,
        {
            "root_id": method.root_id,
            "id": method.id,
            "wallet_id": method.wallet_id,
            "organization_id": method.organization_id,
            "payment_account_id": method.payment_account_id,
            "provider": _PROVIDERS[method.provider],
            "display_name": method.display_name,
            "provider_customer": method.provider_customer,
            "provider_method": method.provider_method,
        },
    )
    return added.rowcount == 1


async def find_method(connection: AsyncConnection, method_id: UUID) -> SavedMethod | None:
    """The saved method of that id, or None where there is none in the connection's scope."""
    row = (await connection.execute(_FIND_METHOD, {"id": method_id})).one_or_none()
    return None if row is None else _method(row)


async def remove_method(connection: AsyncConnection, method: SavedMethod) -> None:
    """Writes that a method is not used any more."""
    await connection.execute(_REMOVE_METHOD, {"root_id": method.root_id, "id": method.id})


async def methods_page(
    connection: AsyncConnection, wallet: Wallet, *, before: UUID | None, limit: int
) -> list[SavedMethod]:
    """Up to `limit` saved methods of a wallet, the newest first, older than the method `before`."""
    values = {"root_id": wallet.root_id, "wallet_id": wallet.id, "before": before, "limit": limit}
    return [_method(row) for row in await connection.execute(_METHODS_PAGE, values)]


def _event_key(account: PaymentAccount, event_id: str) -> dict[str, Any]:
    return {"root_id": account.root_id, "payment_account_id": account.id, "event_id": event_id}


def _values(account: PaymentAccount) -> dict[str, Any]:
    return {
        "root_id": account.root_id,
        "id": account.id,
        "seller_id": account.seller_id,
        "provider": _PROVIDERS[account.provider],
        "display_name": account.display_name,
        "enabled": account.enabled,
        "account_holder": account.bank.account_holder,
        "iban": account.bank.iban,
        "bic": account.bank.bic,
        "bank_name": account.bank.bank_name,
        "instructions": account.bank.instructions,
        "success_url": account.stripe.success_url,
        "cancel_url": account.stripe.cancel_url,
        "api_key_secret": account.stripe.api_key_secret,
        "webhook_secret": account.stripe.webhook_secret,
    }


def _read(row: Row[Any]) -> PaymentAccount:
    return PaymentAccount(
        id=row.id,
        root_id=row.root_id,
        seller_id=row.seller_id,
        provider=_PROVIDER_OF[row.provider],
        display_name=row.display_name,
        enabled=row.enabled,
        bank=BankDetails(row.account_holder, row.iban, row.bic, row.bank_name, row.instructions),
        stripe=StripeSettings(row.success_url, row.cancel_url, row.api_key_secret, row.webhook_secret),
        created_at=row.created_at,
    )


def _method(row: Row[Any]) -> SavedMethod:
    return SavedMethod(
        id=row.id,
        root_id=row.root_id,
        wallet_id=row.wallet_id,
        organization_id=row.organization_id,
        payment_account_id=row.payment_account_id,
        provider=_PROVIDER_OF[row.provider],
        display_name=row.display_name,
        provider_customer=row.provider_customer,
        provider_method=row.provider_method,
        is_active=row.state == _ACTIVE,
        created_at=row.created_at,
    )

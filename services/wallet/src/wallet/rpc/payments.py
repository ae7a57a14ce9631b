"""PaymentService."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from farthing.wallet.v1 import payments_pb2, wallets_pb2
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.paging import Pager, page_size
from servicekit.scope import EVERYTHING

from wallet.clients.providers import UnusableError
from wallet.clients.registry import Providers
from wallet.commands import methods, webhooks
from wallet.commands import payments as commands
from wallet.commands.callers import seen_organization, seen_wallet
from wallet.convert.payments import account_to_message, method_to_message, option_of
from wallet.domain.payments import PaymentAccount, Provider, check_usable
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Method
from wallet.store import payments as store
from wallet.store.payments import ACCOUNTS_MAX

Context = Any


class PaymentsRpc:
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, pager: Pager, providers: Providers) -> None:
        self._database, self._pager, self._providers = database, pager, providers

    @property
    def _development(self) -> bool:
        return self._providers.get(Method.SANDBOX) is not None

    async def CreatePaymentAccount(
        self, request: payments_pb2.CreatePaymentAccountRequest, context: Context
    ) -> payments_pb2.PaymentAccount:
        return await commands.create_account(self._database, request, development=self._development)

    async def UpdatePaymentAccount(
        self, request: payments_pb2.UpdatePaymentAccountRequest, context: Context
    ) -> payments_pb2.PaymentAccount:
        return await commands.update_account(self._database, request, development=self._development)

    async def ReceiveWebhook(
        self, request: payments_pb2.ReceiveWebhookRequest, context: Context
    ) -> payments_pb2.ReceiveWebhookResponse:
        return await webhooks.receive(self._database, self._providers, request)

    async def CreateSetupSession(
        self, request: payments_pb2.CreateSetupSessionRequest, context: Context
    ) -> payments_pb2.SetupSession:
        return await methods.create_setup_session(self._database, self._providers, request)

    async def RemovePaymentMethod(
        self, request: payments_pb2.RemovePaymentMethodRequest, context: Context
    ) -> payments_pb2.SavedPaymentMethod:
        return await methods.remove_method(self._database, request)

    async def ListPaymentAccounts(
        self, request: payments_pb2.ListPaymentAccountsRequest, context: Context
    ) -> payments_pb2.ListPaymentAccountsResponse:
        seller = await seen_organization(self._database, request.seller_id)
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.seller_id)
        after = UUID(str(cursor["after"])) if cursor else None
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.page(connection, seller.id, after=after, limit=size + 1)
        shown = [account_to_message(account) for account in found[:size]]
        response = payments_pb2.ListPaymentAccountsResponse(payment_accounts=shown)
        if len(found) > size:
            cursor = {"after": shown[-1].id}
            response.next_page_token = self._pager.encode(cursor, bound_to=request.seller_id)
        return response

    async def ListPaymentOptions(
        self, request: payments_pb2.ListPaymentOptionsRequest, context: Context
    ) -> payments_pb2.ListPaymentOptionsResponse:
        wallet = await seen_wallet(self._database, request.wallet_id)
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.wallet_id)
        start = int(cursor["start"]) if cursor else 0
        # A buyer does not see its seller, but how to pay there.
        async with self._database.transaction(EVERYTHING) as connection:
            accounts = await store.page(connection, wallet.seller_id, limit=ACCOUNTS_MAX)
        options = self._options(accounts)
        response = payments_pb2.ListPaymentOptionsResponse(options=options[start : start + size])
        if len(options) > start + size:
            response.next_page_token = self._pager.encode({"start": start + size}, bound_to=request.wallet_id)
        return response

    async def ListPaymentMethods(
        self, request: payments_pb2.ListPaymentMethodsRequest, context: Context
    ) -> payments_pb2.ListPaymentMethodsResponse:
        wallet = await seen_wallet(self._database, request.wallet_id)
        size = page_size(request.page_size)
        cursor = self._pager.decode(request.page_token, bound_to=request.wallet_id)
        before = UUID(str(cursor["before"])) if cursor else None
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.methods_page(connection, wallet, before=before, limit=size + 1)
        shown = [method_to_message(method) for method in found[:size]]
        response = payments_pb2.ListPaymentMethodsResponse(payment_methods=shown)
        if len(found) > size:
            response.next_page_token = self._pager.encode({"before": shown[-1].id}, bound_to=request.wallet_id)
        return response

    def _options(self, accounts: Sequence[PaymentAccount]) -> list[payments_pb2.PaymentOption]:
        """What the seller has set up and can be used; by bank always, the pretended card in development alone."""
        usable = {Provider.BANK, Provider.STRIPE} | ({Provider.SANDBOX} if self._development else set())
        shown = [each for each in accounts if each.enabled and each.provider in usable and self._complete(each)]
        options = [option_of(account) for account in shown]
        offered = {account.provider for account in shown}
        if Provider.BANK not in offered:
            options.append(payments_pb2.PaymentOption(method=wallets_pb2.TOP_UP_METHOD_MANUAL))
        if self._development and Provider.SANDBOX not in offered:
            options.append(payments_pb2.PaymentOption(method=wallets_pb2.TOP_UP_METHOD_SANDBOX))
        return options

    def _complete(self, account: PaymentAccount) -> bool:
        """True if payments at the account can begin: its settings are there, and its secrets."""
        if account.provider is not Provider.STRIPE:
            return True
        try:
            check_usable(account, account.seller_id)
            if self._providers.hosted is not None:
                self._providers.hosted.check(account)
        except (Refused, UnusableError):
            return False
        return self._providers.hosted is not None

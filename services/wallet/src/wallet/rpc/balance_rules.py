"""PaymentService: balance rules."""

from typing import Any

from farthing.wallet.v1 import payments_pb2
from servicekit.call import current_call
from servicekit.database import Database

from wallet.clients.registry import Providers
from wallet.commands import balance_rules as commands
from wallet.commands.callers import seen_wallet
from wallet.convert.balance_rules import rules_to_message
from wallet.store import balance_rules as store

Context = Any


class BalanceRulesRpc:
    """Handlers; the server has checked who calls and what they sent."""

    def __init__(self, database: Database, providers: Providers) -> None:
        self._database, self._providers = database, providers

    async def SetBalanceRules(
        self, request: payments_pb2.SetBalanceRulesRequest, context: Context
    ) -> payments_pb2.BalanceRules:
        return await commands.set_rules(self._database, self._providers, request)

    async def GetBalanceRules(
        self, request: payments_pb2.GetBalanceRulesRequest, context: Context
    ) -> payments_pb2.BalanceRules:
        wallet = await seen_wallet(self._database, request.wallet_id)
        async with self._database.transaction(current_call().scope) as connection:
            found = await store.find(connection, wallet.root_id, wallet.id)
        return payments_pb2.BalanceRules(wallet_id=str(wallet.id)) if found is None else rules_to_message(found)

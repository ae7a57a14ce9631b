"""What the other services learn of balances that fall."""

from datetime import datetime

from farthing.wallet.events.v1.events_pb2 import BalanceLow, WalletEvent
from money.messages import money_to_message
from servicekit.outbox import OutboxEvent

from wallet.domain.balance_rules import available_micros
from wallet.domain.wallets import Wallet
from wallet.events.ledger import TOPIC


def balance_low(wallet: Wallet, threshold_micros: int, fell_at: datetime) -> OutboxEvent:
    """A wallet's available balance is below the threshold of its notice."""
    fact = BalanceLow(
        root_id=str(wallet.root_id),
        wallet_id=str(wallet.id),
        organization_id=str(wallet.organization_id),
        seller_id=str(wallet.seller_id),
        available=money_to_message(wallet.currency, available_micros(wallet)),
        threshold=money_to_message(wallet.currency, threshold_micros),
    )
    fact.fell_at.FromDatetime(fell_at)
    return OutboxEvent(wallet.root_id, TOPIC, wallet.organization_id, WalletEvent(balance_low=fact))

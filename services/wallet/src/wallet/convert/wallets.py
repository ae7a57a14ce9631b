"""Wallet -> farthing.wallet.v1.Wallet."""

from farthing.wallet.v1 import wallets_pb2
from money.messages import money_to_message

from wallet.domain.wallets import Wallet


def wallet_to_message(wallet: Wallet) -> wallets_pb2.Wallet:
    """Writes a wallet."""
    message = wallets_pb2.Wallet(
        id=str(wallet.id),
        organization_id=str(wallet.organization_id),
        seller_id=str(wallet.seller_id),
        currency=wallet.currency,
        credit_limit=money_to_message(wallet.currency, wallet.credit_limit_micros),
    )
    message.created_at.FromDatetime(wallet.created_at)
    return message

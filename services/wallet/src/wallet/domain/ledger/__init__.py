"""The double-entry ledger: purchases posted at every tier, money received, and what is refused (W5, W7). Pure."""

from wallet.domain.ledger.book import Book
from wallet.domain.ledger.malformed import malformed
from wallet.domain.ledger.types import (
    CLOUD_PHONE_ID_MAX_CHARACTERS,
    ITEM_MAX_CHARACTERS,
    ORDER_NUMBER_MAX_CHARACTERS,
    REQUEST_ID_MAX_CHARACTERS,
    TIERS_MAX,
    Charge,
    Kind,
    Line,
    LineType,
    Outcome,
    Posted,
    Recharge,
    Refusal,
    RefusalReason,
    Tier,
    Transaction,
    Unhashed,
    Wallet,
    WalletKey,
)

__all__ = [
    "CLOUD_PHONE_ID_MAX_CHARACTERS",
    "ITEM_MAX_CHARACTERS",
    "ORDER_NUMBER_MAX_CHARACTERS",
    "REQUEST_ID_MAX_CHARACTERS",
    "TIERS_MAX",
    "Book",
    "Charge",
    "Kind",
    "Line",
    "LineType",
    "Outcome",
    "Posted",
    "Recharge",
    "Refusal",
    "RefusalReason",
    "Tier",
    "Transaction",
    "Unhashed",
    "Wallet",
    "WalletKey",
    "malformed",
]

"""Vouchers: credit that a seller gives away, one code a piece (mission W4, W7). Pure.

A code is `FV-` and 16 characters of Crockford's base 32, which no two people read differently: 80 bits of HMAC-SHA256
over its lot and number. Codes are made again from the key when they are asked for; what is stored is their SHA-256.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from money import Money, format_exact, not_a_currency, valid_currency

from wallet.domain.refusals import Refused
from wallet.domain.wallets import Wallet

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHARACTERS = 16
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", " ": None, "-": None})


@dataclass(frozen=True, slots=True)
class VoucherLot:
    """Vouchers made together, each worth `amount`, for the buyers of `seller_id`. `root_id` is the seller's."""

    id: UUID
    root_id: UUID
    seller_id: UUID
    name: str
    amount: Money
    count: int
    created_by_name: str
    created_at: datetime
    expires_at: datetime
    voided_at: datetime | None = None
    redeemed_count: int = 0


@dataclass(frozen=True, slots=True)
class Voucher:
    """One of a lot, numbered from 1."""

    number: int
    code_sha256: bytes
    redeemed_at: datetime | None = None


class VoucherKey:
    """Makes codes. Derived from a secret that all replicas share, so that it cannot be turned back into it."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"farthing voucher code\0" + secret.encode()).digest()

    def code(self, lot_id: UUID, number: int) -> str:
        """The code of a lot's voucher, such as `FV-7K3M-9Q2X-4T8W-0H5J`."""
        digest = hmac.digest(self._key, lot_id.bytes + number.to_bytes(4), "sha256")
        bits = int.from_bytes(digest[:10])
        characters = "".join(_ALPHABET[bits >> 5 * place & 31] for place in reversed(range(_CHARACTERS)))
        return "FV-" + "-".join(characters[start : start + 4] for start in range(0, _CHARACTERS, 4))


def code_sha256(code: str) -> bytes:
    """What stands for a code, however it is written: case, spaces and dashes do not matter, nor O for 0, I, L for 1."""
    return hashlib.sha256(code.upper().translate(_MISREAD).encode()).digest()


def check_lot(amount: Money, expires_at: datetime, now: datetime) -> None:
    """Refuses a lot that is worth nothing, in no currency, or over before it begins."""
    if not valid_currency(amount.currency):
        raise Refused("INVALID_ARGUMENT", str(not_a_currency(amount.currency)), field="amount.currency_code")
    if amount.micros <= 0:
        raise Refused(
            "AMOUNT_OUT_OF_RANGE",
            f"{format_exact(amount.micros)} {amount.currency} is nothing to give away; use more than zero",
            field="amount",
        )
    if expires_at <= now:
        raise Refused("INVALID_ARGUMENT", "the vouchers would have expired already; use a later time",
                      field="expires_at")  # fmt: skip


def check_redeemable(
    lot: VoucherLot | None, voucher: Voucher | None, wallet: Wallet, now: datetime
) -> tuple[VoucherLot, Voucher]:
    """Both, if the wallet may have the voucher now. Refuses VOUCHER_NOT_VALID, the same whatever the cause."""
    if (
        lot is None
        or voucher is None
        or lot.seller_id != wallet.seller_id
        or lot.amount.currency != wallet.currency
        or lot.voided_at is not None
        or lot.expires_at <= now
        or voucher.redeemed_at is not None
    ):
        raise Refused(
            "VOUCHER_NOT_VALID",
            "this is not a voucher that can be used on this wallet now; check the code, or ask who gave it to you",
            field="code",
        )
    return lot, voucher

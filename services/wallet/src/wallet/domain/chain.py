"""The hash chain of a wallet: each line carries the SHA-256 over itself, its transaction and the line before.

Whoever changes, drops, adds or reorders a line afterwards has to change every later hash of that wallet too.
All integers are big-endian and signed; all texts are UTF-8 after their length in bytes (4 bytes); an instant is its
microseconds since 1970-01-01T00:00Z; a missing order or original is 16 zero bytes. Version 2 of the encoding:

    transaction digest = SHA-256("farthing.transaction.2" root_id id organization_id order_id original_id
                                 posted_at(8) type(2) kind(2)
                                 currency order_number item request_key cloud_phone_id request_sha256)
    line hash          = SHA-256(hash of the line before | transaction digest | wallet_id organization_id seller_id
                                 sequence(8) tier(2) type(2) amount(8) revenue(8) tax(8) cash(8) clearing(8)
                                 balance_after(8) credit_limit(8) credits(8))

Version 1, of the transactions written before there were kinds (kind 0), begins with "farthing.transaction.1" and lacks
original_id, kind, cloud_phone_id and credits.

The line before a wallet's first is 32 zero bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wallet.domain.ledger import Line, Transaction, Unhashed

FIRST_HASH = bytes(32)
_NONE = bytes(16)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIXED = struct.Struct(">22s16s16s16s16s16sqhh")
_FIXED_1 = struct.Struct(">22s16s16s16s16sqh")
_LINE = struct.Struct(">32s32s16s16s16sqhhqqqqqqqq")
_LINE_1 = struct.Struct(">32s32s16s16s16sqhhqqqqqqq")
_LENGTH = struct.Struct(">I")


def instant_us(instant: datetime) -> int:
    """Microseconds since 1970-01-01T00:00Z."""
    return (instant - _EPOCH) // _MICROSECOND


def transaction_digest(transaction: Transaction) -> bytes:
    """32 bytes over everything the transaction says."""
    currency = transaction.currency.encode()
    order_number = transaction.order_number.encode()
    item = transaction.item.encode()
    request_key = transaction.request_key.encode()
    cloud_phone_id = transaction.cloud_phone_id.encode()
    order_id, original_id, kind = transaction.order_id, transaction.original_id, transaction.kind
    ids = (
        transaction.root_id.bytes,
        transaction.id.bytes,
        transaction.organization_id.bytes,
        _NONE if order_id is None else order_id.bytes,
    )
    posted_at_us = instant_us(transaction.posted_at)
    if kind:
        original = _NONE if original_id is None else original_id.bytes
        fixed = _FIXED.pack(b"farthing.transaction.2", *ids, original, posted_at_us, transaction.type, kind)
    else:
        fixed = _FIXED_1.pack(b"farthing.transaction.1", *ids, posted_at_us, transaction.type)
    return sha256(
        b"".join(
            (
                fixed,
                _LENGTH.pack(len(currency)),
                currency,
                _LENGTH.pack(len(order_number)),
                order_number,
                _LENGTH.pack(len(item)),
                item,
                _LENGTH.pack(len(request_key)),
                request_key,
                _LENGTH.pack(len(cloud_phone_id)) if kind else b"",
                cloud_phone_id if kind else b"",
                transaction.request_sha256,
            )
        )
    ).digest()


def line_hash(previous_hash: bytes, digest: bytes, line: Line | Unhashed) -> bytes:
    """The hash of `line`, with or without its own hash, which is not looked at. `digest` is that of its transaction."""
    _, wallet_id, _, organization_id, seller_id, sequence = line[:6]
    return sha256(
        _LINE.pack(
            previous_hash,
            digest,
            wallet_id.bytes,
            organization_id.bytes,
            seller_id.bytes,
            sequence,
            *line[13:15],
            *line[6:13],
            line[15],
        )
    ).digest()


def line_hash_1(previous_hash: bytes, digest: bytes, line: Line) -> bytes:
    """The same in version 1, for a line of a transaction of kind 0."""
    parties = (line.wallet_id.bytes, line.organization_id.bytes, line.seller_id.bytes)
    return sha256(_LINE_1.pack(previous_hash, digest, *parties, line.sequence, *line[13:15], *line[6:13])).digest()


def broken_at(entries: Iterable[tuple[Line, Transaction]], previous_hash: bytes = FIRST_HASH) -> int | None:
    """The sequence of the first line of one wallet that does not follow from the one before, or None.

    `entries` are in the order of their sequence, beginning with the line after `previous_hash`.
    """
    expected: int | None = None
    for line, transaction in entries:
        hashed = line_hash if transaction.kind else line_hash_1
        intact = line.hash == hashed(previous_hash, transaction_digest(transaction), line)
        if not intact or (expected is not None and line.sequence != expected):
            return line.sequence
        previous_hash, expected = line.hash, line.sequence + 1
    return None

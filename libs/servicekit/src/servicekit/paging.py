"""Pages of a list (AIP-158): signed tokens that hold the place after the last row.

A token works for the caller, the method and the filter it was made for, and for nothing else.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from google.protobuf.message import Message

from servicekit.call import current_call
from servicekit.problems import invalid

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000
_SIGNATURE_BYTES = 16

Cursor = dict[str, str | int]


def page_size(asked: int, default: int = PAGE_SIZE_DEFAULT, maximum: int = PAGE_SIZE_MAX) -> int:
    """Rows a page: what was asked, within the limits; `default` for 0."""
    return min(asked, maximum) if asked > 0 else default


class Pager:
    """Makes and reads page tokens. `key` is shared by all replicas of a service."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(b"farthing page token\0" + key.encode()).digest()

    def encode(self, cursor: Cursor, *, bound_to: Message | str = "") -> str:
        """The token for the page after `cursor`."""
        body = json.dumps(cursor, separators=(",", ":"), sort_keys=True).encode()
        return base64.urlsafe_b64encode(self._signature(body, bound_to) + body).decode().rstrip("=")

    def decode(self, token: str, *, bound_to: Message | str = "") -> dict[str, Any] | None:
        """The cursor in `token`, or None for the first page. Raises Problem where the token is not good here."""
        if not token:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _bad_token() from None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(body, bound_to)):
            raise _bad_token()
        cursor: dict[str, Any] = json.loads(body)
        return cursor

    def _signature(self, body: bytes, bound_to: Message | str) -> bytes:
        call = current_call()
        scope = bound_to if isinstance(bound_to, str) else bound_to.SerializeToString(deterministic=True).hex()
        bound = "\0".join((call.principal.requester, call.method, scope)).encode()
        return hmac.digest(self._key, hashlib.sha256(bound).digest() + body, "sha256")[:_SIGNATURE_BYTES]


def _bad_token() -> Exception:
    return invalid(
        "The page token is not one of this list: start again from the first page, with the same filter for every page.",
        fields={"page_token": "not a token of this list, filter and caller"},
        reason="PAGE_TOKEN_INVALID",
    )

"""Makes foreign text safe to draw: no control characters, no reordering tricks, no endless words."""

from __future__ import annotations

import re
import unicodedata

# Embeddings, overrides and isolates can make a name or number read as another one.
_REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069\ufeff]")
_LONG_WORD = re.compile(r"[^\s-]{25,}")
_BREAK = "\u200b"
_PIECE = 8


def clean(text: str, characters_max: int) -> str:
    """`text` on one line, at most `characters_max` characters (the last one then an ellipsis), breakable.

    Words of more than 24 characters get invisible places to break, so that they wrap and never leave their
    column. Lone surrogates, controls and line breaks become spaces; bidirectional overrides go.
    """
    short = text[: characters_max * 2]
    short = _REORDERING.sub("", short)
    short = "".join(" " if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} else c for c in short)
    short = " ".join(short.split())
    if len(short) > characters_max or len(text) > characters_max * 2:
        short = short[: characters_max - 1].rstrip() + "…"
    return _LONG_WORD.sub(_breakable, short)


def plain(text: str, characters_max: int) -> str:
    """`text` as `clean` makes it, without the places to break, which are for paper."""
    return clean(text, characters_max).replace(_BREAK, "")


def _breakable(match: re.Match[str]) -> str:
    word = match[0]
    return _BREAK.join(word[start : start + _PIECE] for start in range(0, len(word), _PIECE))

"""The typefaces of documents: those of the font packages, and only those, so that every machine agrees.

Inter for Latin, Greek and Cyrillic; Noto Sans for Arabic, Hebrew, Chinese, Japanese and Korean. A package
that is not installed is simply not used; Typst's own built-in faces then stand in.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import typst

_FOLDERS = (
    ("fontpkg_inter", "files"),
    ("justmytype_intl_rtl", "fonts"),
    ("justmytype_intl_cjk", "fonts"),
)
_PREFERENCE = (
    "Inter",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Noto Sans TC",
    "Libertinus Serif",
)


def _folders() -> list[str]:
    folders = []
    for package, folder in _FOLDERS:
        # Found, not imported: only its files are of interest.
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(place) / folder).is_dir():
                folders.append(str(Path(place) / folder))
    return folders


@lru_cache(maxsize=1)
def fonts() -> typst.Fonts:
    """All usable fonts, read once per process."""
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=True, font_paths=_folders())


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """The installed families in the order in which a character looks for its glyph."""
    installed = set(fonts().families())
    return tuple(family for family in _PREFERENCE if family in installed)

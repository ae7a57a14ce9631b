"""An issuer's look: its logo or a monogram, and its two colours made safe to read."""

from __future__ import annotations

import base64
import re
import struct
from functools import lru_cache

import typst

from documents.text import clean
from documents.views import IssuerView

PRIMARY_DEFAULT = "#1f3a5f"
INK = "#16181d"
LOGO_BYTES_MAX = 1_000_000
# WCAG 2.2, 1.4.3: large text needs a contrast of 3 to 1.
_CONTRAST_MIN = 3.0
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_PNG = b"\x89PNG\r\n\x1a\n"


def brand(issuer: IssuerView) -> dict[str, str]:
    """Colours, logo (SVG text, empty without a usable one) and monogram letter for the template."""
    primary = issuer.primary_colour if _HEX.fullmatch(issuer.primary_colour) else PRIMARY_DEFAULT
    accent = issuer.accent_colour if _HEX.fullmatch(issuer.accent_colour) else primary
    letters = [c for c in clean(issuer.name, 60) if c.isalnum()]
    return {
        "primary": primary,
        "accent": accent,
        "primary_text": primary if _contrast(primary, "#ffffff") >= _CONTRAST_MIN else INK,
        "on_primary": "#ffffff" if _contrast(primary, "#ffffff") >= _CONTRAST_MIN else INK,
        "logo": usable_logo(issuer.logo) if issuer.logo else "",
        "monogram": letters[0].upper()[:1] if letters else "•",
    }


@lru_cache(maxsize=128)
def usable_logo(logo: bytes) -> str:
    """The logo as SVG text, a PNG wrapped in one; empty when it is too large or Typst cannot draw it."""
    if len(logo) > LOGO_BYTES_MAX:
        return ""
    try:
        svg = _wrap_png(logo) if logo.startswith(_PNG) else logo.decode("utf-8")
        source = b'#image(bytes(sys.inputs.logo), format: "svg")'
        typst.compile(source, sys_inputs={"logo": svg}, format="svg", ignore_system_fonts=True)
    except (typst.TypstError, UnicodeDecodeError, struct.error):
        return ""
    return svg


def _wrap_png(png: bytes) -> str:
    # PNG 11.2.1: width and height follow the first chunk's length and type.
    width, height = struct.unpack(">II", png[16:24])
    data = base64.b64encode(png).decode("ascii")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{data}"/></svg>'
    )


def _contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two '#rrggbb' colours, 1 to 21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

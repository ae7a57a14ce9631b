"""Draws receipts with Typst. Pure: the same view gives the same bytes, and every text in it is data.

Python decides what is said (words, numbers, dates, colours); `templates/receipt.typ` decides where it
stands. The content travels as JSON, so no character of it is ever read as markup.

Typst works without Python's lock, so threads draw side by side. A process pool must `spawn`: a forked
child inherits Typst's thread pool without its threads, and waits for ever.
"""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import typst
from babel.dates import format_date, format_time, get_datetime_format
from babel.numbers import format_decimal
from money import decimals_needed, format_amount, format_money, minor_exponent, round_to_minor

from documents.branding import brand
from documents.fonts import families, fonts
from documents.languages import LANGUAGES, RIGHT_TO_LEFT, Words, supported_language
from documents.text import clean
from documents.views import LineView, ReceiptKind, ReceiptView

_TEMPLATES = Path(__file__).parent / "templates"
# Tags make a PDF readable aloud, and cost as much again as the layout; a very long one goes without.
_TAGGED_LINES_MAX = 300
# The most characters drawn of an identifier, of a name or address line, and of a description.
_NARROW = 60
_NAME = 160
_WIDE = 300
_ADDRESS_LINES_MAX = 8

_thread = threading.local()


def render_receipt(receipt: ReceiptView) -> bytes:
    """Draw the receipt as PDF/A-3b, dated by `issued_at`.

    A receipt with a character that no font has (an emoji, say) cannot be PDF/A; it becomes a plain PDF that
    shows the missing-glyph box in its place. MoneyError for an unknown currency.
    """
    content = _content(receipt)
    options: dict[str, Any] = {
        "format": "pdf",
        # Typst takes whole seconds, and so does the date within a PDF.
        "timestamp": receipt.issued_at.astimezone(UTC).replace(microsecond=0),
        "pdf_tags": len(receipt.lines) <= _TAGGED_LINES_MAX,
    }
    try:
        return _compile(content, pdf_standards=["a-3b"], **options)
    except typst.TypstError as error:
        if "PDF/A" not in str(error):
            raise
        return _compile(content, pdf_standards=[], **options)


def render_receipt_png(receipt: ReceiptView, ppi: float = 144) -> bytes:
    """Draw the receipt's first page as PNG."""
    return _compile(_content(receipt), format="png", ppi=ppi)


def _compile(content: str, **options: Any) -> bytes:
    # A compiler serves one call at a time, so each thread keeps its own; the fonts are shared.
    compiler = getattr(_thread, "compiler", None)
    if compiler is None:
        compiler = _thread.compiler = typst.Compiler(root=str(_TEMPLATES), font_paths=fonts(), ignore_system_fonts=True)
    drawn: Any = compiler.compile(_source(content), **options)
    page: bytes = drawn[0] if isinstance(drawn, list) else drawn
    return page


def _source(content: str) -> bytes:
    """A document that hands `content` to the template as one string literal.

    JSON holds no raw control characters, so backslash and quote are all that a Typst string needs escaped.
    (Through sys.inputs it would be a new library each time, and Typst would evaluate the template afresh.)
    """
    literal = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'#import "/receipt.typ": receipt\n#receipt(json(bytes("{literal}")))'.encode()


def _content(receipt: ReceiptView) -> str:
    language = supported_language(receipt.language)
    words = LANGUAGES[language]
    rounded, rounding = round_to_minor(receipt.total_micros, receipt.currency)
    total = format_money(rounded, receipt.currency, language)
    title = words.receipt if receipt.kind is ReceiptKind.PURCHASE else words.top_up_receipt
    number = clean(receipt.number, _NARROW)
    return json.dumps(
        {
            "language": language,
            "direction": "rtl" if language in RIGHT_TO_LEFT else "ltr",
            "fonts": families(),
            "title": title,
            "number": number,
            "issued": _date(receipt.issued_at, language),
            "hero": total,
            "paid_on": words.paid_on.format(date=_date(receipt.paid_at, language)),
            "facts": _facts(receipt, words, language),
            "brand": brand(receipt.issuer),
            "issuer": _issuer(receipt, words),
            "recipient": _recipient(receipt, words),
            "table": _table(receipt, words, language),
            "totals": _totals(receipt, words, language, rounding),
            "total": {"label": words.total, "amount": total},
            "taxes": _taxes(receipt, words, language),
            "ledger": {"label": words.ledger, "id": clean(receipt.ledger_transaction_id, _NARROW)},
            "page": words.page,
        },
        ensure_ascii=False,
    )


def _facts(receipt: ReceiptView, words: Words, language: str) -> list[dict[str, Any]]:
    facts = [
        (words.number, clean(receipt.number, _NARROW)),
        (words.order, clean(receipt.order_number, _NARROW)),
        (words.paid, _instant(receipt.paid_at, language)),
        (words.method, words.methods.get(receipt.payment_method, clean(receipt.payment_method, _NARROW))),
    ]
    return [{"label": label, "value": value} for label, value in facts if value]


def _issuer(receipt: ReceiptView, words: Words) -> dict[str, Any]:
    issuer = receipt.issuer
    return {
        "name": clean(issuer.name, _NAME),
        "address": _address(issuer.address_lines),
        "tax_id": words.tax_id.format(id=clean(issuer.tax_id, _NARROW)) if issuer.tax_id else "",
        "contact": [clean(text, _NAME) for text in (issuer.email, issuer.website) if text],
    }


def _recipient(receipt: ReceiptView, words: Words) -> dict[str, Any]:
    recipient = receipt.recipient
    return {
        "label": words.billed_to,
        "name": clean(recipient.name, _NAME),
        "address": _address(recipient.address_lines),
        "tax_id": words.tax_id.format(id=clean(recipient.tax_id, _NARROW)) if recipient.tax_id else "",
        "purchaser_label": words.purchased_by,
        "purchaser": [clean(text, _NAME) for text in (recipient.purchaser_name, recipient.purchaser_email) if text],
    }


def _address(lines: tuple[str, ...]) -> list[str]:
    return [clean(line, _NAME) for line in lines[:_ADDRESS_LINES_MAX]]


def _table(receipt: ReceiptView, words: Words, language: str) -> dict[str, Any]:
    minor = minor_exponent(receipt.currency)
    price_decimals = _column_decimals([line.unit_price_micros for line in receipt.lines], minor)
    net_decimals = _column_decimals([line.net_micros for line in receipt.lines], minor)

    def row(line: LineView) -> dict[str, Any]:
        return {
            "description": clean(line.description, _WIDE),
            "details": [clean(detail, _WIDE) for detail in line.details],
            "quantity": str(format_decimal(line.quantity, locale=language)),
            "unit_price": format_amount(line.unit_price_micros, language, price_decimals),
            "tax": _percent(line.tax_rate_ppm, language) if line.tax_rate_ppm else "–",
            "amount": format_amount(line.net_micros, language, net_decimals),
        }

    return {
        "description": words.description,
        "quantity": words.quantity,
        "unit_price": words.unit_price,
        "tax": words.tax,
        "amount": f"{words.amount} ({receipt.currency})",
        "rows": [row(line) for line in receipt.lines],
    }


def _totals(receipt: ReceiptView, words: Words, language: str, rounding: int) -> list[dict[str, str]]:
    amounts = [(words.subtotal, receipt.net_micros)]
    amounts += [(label, tax) for label, _, tax in _tax_groups(receipt, words, language)]
    if rounding:
        amounts.append((words.rounding, rounding))
    decimals = _column_decimals([amount for _, amount in amounts], minor_exponent(receipt.currency))
    return [{"label": label, "amount": format_amount(amount, language, decimals)} for label, amount in amounts]


def _taxes(receipt: ReceiptView, words: Words, language: str) -> dict[str, Any]:
    groups = _tax_groups(receipt, words, language)
    amounts = [amount for _, net, tax in groups for amount in (net, tax)]
    decimals = _column_decimals(amounts, minor_exponent(receipt.currency))
    return {
        "rate": words.tax_rate,
        "net": words.tax_net,
        "tax": words.tax_amount,
        "rows": [
            {
                "rate": label,
                "net": format_amount(net, language, decimals),
                "tax": format_amount(tax, language, decimals),
            }
            for label, net, tax in groups
        ],
    }


def _tax_groups(receipt: ReceiptView, words: Words, language: str) -> list[tuple[str, int, int]]:
    """Label, net and tax micros of each tax name and rate, highest rate first; none without any tax."""
    groups: dict[tuple[int, str], tuple[int, int]] = {}
    for line in receipt.lines:
        key = (line.tax_rate_ppm, line.tax_name)
        net, tax = groups.get(key, (0, 0))
        groups[key] = (net + line.net_micros, tax + line.tax_micros)
    if not any(rate for rate, _ in groups):
        return []
    return [
        (f"{clean(name, _NARROW) or words.tax} {_percent(rate, language)}", net, tax)
        for (rate, name), (net, tax) in sorted(groups.items(), reverse=True)
    ]


def _column_decimals(amounts: list[int], minor: int) -> int:
    return max([minor, *(decimals_needed(amount) for amount in amounts)])


def _percent(rate_ppm: int, language: str) -> str:
    gap = "" if language in {"en", "zh", "ar"} else "\u00a0"
    return f"{format_amount(rate_ppm * 100, language, 0)}{gap}%"


@lru_cache(maxsize=256)
def _date(instant: datetime, language: str) -> str:
    return format_date(instant.astimezone(UTC).date(), format="long", locale=language)


@lru_cache(maxsize=256)
def _instant(instant: datetime, language: str) -> str:
    moment = instant.astimezone(UTC)
    day = format_date(moment.date(), format="medium", locale=language)
    time = format_time(moment, format="short", locale=language, tzinfo=UTC)
    joined = str(get_datetime_format("medium", locale=language)).replace("{1}", day).replace("{0}", f"{time} UTC")
    return joined.replace("'", "")

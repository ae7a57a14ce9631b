"""The receipt as people get it: what it says, that it never changes, and that no text in it can break it."""

import io
import json
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from documents.branding import usable_logo
from documents.fonts import families
from documents.languages import LANGUAGES, supported_language
from documents.render import render_receipt, render_receipt_png
from documents.text import clean
from documents.views import IssuerView, LineView, ReceiptKind, ReceiptView, RecipientView
from hypothesis import given, settings
from hypothesis import strategies as st
from money import INT64_MAX, MoneyError, format_money, tax_micros
from pypdf import PdfReader

ISSUER = IssuerView(
    name="Meridian Cloud Services",
    address_lines=("Unter den Linden 21", "10117 Berlin", "Germany"),
    tax_id="DE 298 114 203",
    primary_colour="#0b6e5f",
    accent_colour="#f2a541",
    email="billing@meridian.example",
    website="meridian.example",
)
RECIPIENT = RecipientView(
    name="Northwind Studio GmbH",
    address_lines=("Lange Reihe 14", "20099 Hamburg", "Germany"),
    tax_id="DE 311 902 577",
    purchaser_name="Clara Neumann",
    purchaser_email="clara@northwind.example",
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 30"><path d="M0 0h90v30z" fill="#d33"/></svg>'
HOSTILE = '#import "x" *b* $a$ \\ _i_ `c` <l> @r // [x] {page} #panic("p") "))) \x00\x1b\n\u202e\ud800 \\u{41}'


def line(description: str, quantity: int, price_micros: int, rate_ppm: int = 200_000, *details: str) -> LineView:
    net = quantity * price_micros
    tax = tax_micros(net, rate_ppm)
    return LineView(description, quantity, price_micros, net, rate_ppm, tax, "VAT", details)


PACKAGE = line("Cloud Phone Business, 12 months", 1, 83_880_000, 200_000, "5 cloud phones", "Priority support")
PROXY = line("Residential proxy, Frankfurt", 2, 12_450_000, 200_000, "fra-07.meridian.example : 8080")


def receipt(*lines: LineView, **changes: object) -> ReceiptView:
    lines = lines or (PACKAGE, PROXY)
    net, tax = sum(x.net_micros for x in lines), sum(x.tax_micros for x in lines)
    view = ReceiptView(
        kind=ReceiptKind.PURCHASE,
        number="R-2026-000184",
        issued_at=datetime(2026, 11, 23, 9, 15, tzinfo=UTC),
        language="en",
        issuer=ISSUER,
        recipient=RECIPIENT,
        paid_at=datetime(2026, 11, 23, 9, 14, 37, tzinfo=UTC),
        payment_method="BALANCE",
        currency="EUR",
        lines=lines,
        net_micros=net,
        tax_micros=tax,
        total_micros=net + tax,
        ledger_transaction_id="019ab0e4-7c3e-7d52-9f6b-2f6d1c8e4a10",
        order_number="MER-2026-004512",
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def pages(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


def squeezed(text: str) -> str:
    """Text without spaces: how a line wraps or is spaced is the layout's business."""
    return "".join(text.split())


def test_it_says_everything_once_paid() -> None:
    """Given a purchase of a package and proxies, When drawn, Then all of it can be read on one page."""
    (text,) = pages(render_receipt(receipt()))
    for said in (
        "Services Receipt November 23, 2026",
        "R-2026-000184",
        "MER-2026-004512",
        "Paid on November 23, 2026",
        "Nov 23, 2026, 9:14",
        "Wallet balance",
        "Northwind Studio GmbH",
        "Tax ID DE 311 902 577",
        "Clara Neumann",
        "clara@northwind.example",
        "Meridian Cloud Services",
        "Unter den Linden 21",
        "Tax ID DE 298 114 203",
        "Cloud Phone Business, 12 months",
        "Priority support",
        "fra-07.meridian.example : 8080",
        "Subtotal 108.780",
        "VAT 20% 21.756",
        "Rounding 0.004",
        "Total €130.54",
        "019ab0e4-7c3e-7d52-9f6b-2f6d1c8e4a10",
        "Page 1 of 1",
    ):
        assert said in text
    assert text.count("€130.54") == 2


def test_the_largest_amount_can_be_drawn() -> None:
    """Given a total whose cents lie beyond the largest amount, When drawn, Then it is rounded like any other."""
    (text,) = pages(render_receipt(receipt(line("Top-up", 1, INT64_MAX, 0), currency="USD")))
    assert "$9,223,372,036,854.78" in text
    assert "9,223,372,036,854.775807" in text
    assert "Rounding 0.004193" in text


def test_no_rounding_is_shown_where_nothing_was_rounded() -> None:
    """Given a total of whole cents, When drawn, Then no rounding line and no needless decimals appear."""
    (text,) = pages(render_receipt(receipt(line("Proxy", 3, 10_000_000))))
    assert "Rounding" not in text
    assert "Subtotal 30.00\n" in text
    assert "Total €36.00" in text


def test_taxes_are_summed_by_rate() -> None:
    """Given lines of three rates, When drawn, Then each rate stands once with its net and its tax."""
    lines = (PACKAGE, PROXY, line("Book", 1, 10_000_000, 100_000), line("Setup", 1, 5_000_000, 0))
    (text,) = pages(render_receipt(receipt(*lines)))
    assert "VAT 20% 108.780 21.756" in text
    assert "VAT 10% 10.000 1.000" in text
    assert "VAT 0% 5.000 0.000" in text


def test_a_top_up_has_its_own_title_and_no_order() -> None:
    """Given a top-up by card, When drawn, Then it is a top-up receipt without an order or a tax line."""
    top_up = receipt(
        LineView("Wallet top-up", 1, 250_000_000, 250_000_000),
        kind=ReceiptKind.TOP_UP,
        order_number="",
        payment_method="CARD",
    )
    (text,) = pages(render_receipt(top_up))
    assert "Top-up receipt" in text
    assert "Total €250.00" in text
    assert "Card" in text
    assert "Order" not in text
    assert "VAT" not in text


def test_numbers_stay_in_one_piece() -> None:
    """Given numbers as Farthing makes them, in every language, When drawn, Then both can be searched for."""
    for language in LANGUAGES:
        view = receipt(number="R-2026-000002", order_number="FA-261123-MSRKYDC3", language=language)
        (text,) = pages(render_receipt(view))
        assert "R-2026-000002" in text
        assert "FA-261123-MSRKYDC3" in text


def test_an_instant_with_fractions_of_a_second_can_be_drawn() -> None:
    """Given a receipt issued between two seconds, as the ledger's clock has it, When drawn, Then it is a PDF."""
    view = receipt()
    issued_at = view.issued_at.replace(microsecond=814044)
    assert render_receipt(replace(view, issued_at=issued_at)).startswith(b"%PDF")


def test_the_same_view_gives_the_same_bytes() -> None:
    """Given one view, When drawn again, from other time zones and processes, Then no byte differs."""
    view = receipt()
    first = render_receipt(view)
    east = timezone(timedelta(hours=8))
    moved = replace(view, issued_at=view.issued_at.astimezone(east), paid_at=view.paid_at.astimezone(east))
    render_receipt(receipt(number="R-2026-000185"))
    assert render_receipt(view) == first
    assert render_receipt(moved) == first
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_render as t; "
        "sys.stdout.buffer.write(t.render_receipt(t.receipt()))"
    )
    again = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, check=True)
    assert again.stdout == first
    assert render_receipt(receipt(number="R-2026-000185")) != first


def test_threads_draw_side_by_side() -> None:
    """Given four threads and forty receipts, When drawn at once, Then each is the one it would be alone."""
    views = [receipt(number=f"R-2026-{i:06d}") for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(render_receipt, views))
    assert drawn == [render_receipt(view) for view in views]


def test_it_is_an_archivable_pdf_dated_by_its_issue() -> None:
    """Given a receipt, When drawn, Then it is PDF/A-3b, titled, and dated when issued."""
    reader = PdfReader(io.BytesIO(render_receipt(receipt())))
    xmp = reader.trailer["/Root"]["/Metadata"].get_data()
    assert b"<pdfaid:part>3</pdfaid:part>" in xmp
    assert b"<pdfaid:conformance>B</pdfaid:conformance>" in xmp
    assert reader.metadata is not None
    assert reader.metadata.title == "Receipt R-2026-000184"
    assert reader.metadata.creation_date == datetime(2026, 11, 23, 9, 15, tzinfo=UTC)


def test_two_hundred_lines_span_pages() -> None:
    """Given 200 lines, When drawn, Then headers and page numbers repeat and totals close the last page."""
    many = [line(f"Residential proxy number {i}", 1, 10_000_000) for i in range(200)]
    drawn = pages(render_receipt(receipt(*many)))
    assert len(drawn) > 3
    for index, text in enumerate(drawn):
        assert f"Page {index + 1} of {len(drawn)}" in text
        assert ("Amount (EUR)" in text) == ("Residential proxy" in text)
        assert ("Total €2,400.00" in text) == (index == len(drawn) - 1)
    whole = "\n".join(drawn)
    assert all(f"Residential proxy number {i} 1 10.00 20% 10.00" in whole for i in range(200))


def test_hostile_text_is_only_text() -> None:
    """Given markup, code, controls and half a surrogate everywhere, When drawn, Then they are letters."""
    issuer = replace(ISSUER, name=HOSTILE, address_lines=(HOSTILE,), tax_id=HOSTILE, email=HOSTILE)
    recipient = RecipientView(HOSTILE, (HOSTILE,), HOSTILE, HOSTILE, HOSTILE)
    hostile = receipt(
        replace(PACKAGE, description=HOSTILE, details=(HOSTILE,), tax_name=HOSTILE),
        issuer=issuer,
        recipient=recipient,
        number=HOSTILE,
        order_number=HOSTILE,
        payment_method=HOSTILE,
        ledger_transaction_id=HOSTILE,
    )
    text = squeezed("".join(pages(render_receipt(hostile))))
    shown = squeezed('#import "x" *b* $a$ \\ _i_ `c` <l> @r // [x] {page} #panic("p")')
    assert text.count(shown) >= 8
    assert "\\u{41}" in text
    assert "\u202e" not in text


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_can_be_drawn(name: str, description: str) -> None:
    """Given any Unicode text, When drawn, Then there is a PDF with its number."""
    view = receipt(replace(PROXY, description=description, details=(name,)), recipient=replace(RECIPIENT, name=name))
    assert "R-2026-000184" in "".join(pages(render_receipt(view)))


@pytest.mark.parametrize("name", ["N" * 10_000, "word " * 2_000, "شركة " * 2_000, "北京" * 5_000, "😀" * 10_000])
def test_endless_names_are_cut_and_stay_on_paper(name: str) -> None:
    """Given names of 10,000 characters, When drawn, Then they are cut and the totals are still there."""
    view = receipt(
        issuer=replace(ISSUER, name=name, address_lines=(name,) * 50), recipient=replace(RECIPIENT, name=name)
    )
    drawn = pages(render_receipt(view))
    assert len(drawn) <= 2
    assert "…" in drawn[0]
    assert "Total €130.54" in drawn[-1]


def test_an_emoji_costs_only_its_own_glyph() -> None:
    """Given an emoji that no font draws, When drawn, Then all the rest of the receipt stands."""
    (text,) = pages(render_receipt(receipt(recipient=replace(RECIPIENT, name="Rocket 🚀 Ltd"))))
    assert "Rocket" in text
    assert "Total €130.54" in text


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_language_speaks_its_own(language: str) -> None:
    """Given each language, When drawn, Then words and money are as people there write them."""
    words = LANGUAGES[language]
    text = squeezed(pages(render_receipt(receipt(language=language)))[0])
    total = squeezed(format_money(130_540_000, "EUR", language)).replace("\u200f", "")
    assert total in text.replace("\u200f", "")
    assert "R-2026-000184" in text
    if language != "ar":  # text extraction hands Arabic back in the order of its glyphs
        for word in (words.receipt, words.billed_to, words.subtotal, words.total, words.methods["BALANCE"]):
            assert squeezed(word) in text


def test_every_word_is_translated() -> None:
    """Given the languages, When compared with English, Then none lacks a word, a method or a placeholder."""
    for words in LANGUAGES.values():
        assert words.methods.keys() == LANGUAGES["en"].methods.keys()
        assert "{date}" in words.paid_on
        assert "{id}" in words.tax_id
        assert "{page}" in words.page
        assert "{pages}" in words.page
    assert [supported_language(tag) for tag in ("de-AT", "zh_CN", "FR", "tlh", "")] == [
        "de", "zh", "fr", "en", "en",
    ]  # fmt: skip


def test_fonts_for_every_language_are_installed() -> None:
    """Given this installation, When fonts are listed, Then Latin, Arabic and Chinese have their own."""
    assert {"Inter", "Noto Sans Arabic", "Noto Sans SC"} <= set(families())


def test_chinese_and_arabic_keep_their_letters() -> None:
    """Given Chinese and Arabic names in English, When drawn, Then PDF/A holds: no glyph is missing."""
    view = receipt(
        recipient=replace(RECIPIENT, name="北京云手机科技有限公司", purchaser_name="ليلى حسن"), currency="CNY"
    )
    pdf = render_receipt(view)
    assert "北京云手机科技有限公司" in pages(pdf)[0]
    assert b"<pdfaid:part>3</pdfaid:part>" in PdfReader(io.BytesIO(pdf)).trailer["/Root"]["/Metadata"].get_data()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\x00" + b"\xd0\x30\x30" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("logo", [SVG, png(60, 20)])
def test_a_logo_takes_the_monograms_place(logo: bytes) -> None:
    """Given an SVG or PNG logo, When drawn, Then the picture changes and the name is only in the footer."""
    plain, branded = receipt(), receipt(issuer=replace(ISSUER, logo=logo))
    assert render_receipt_png(branded, 40) != render_receipt_png(plain, 40)
    assert pages(render_receipt(plain))[0].count(ISSUER.name) == 2
    assert pages(render_receipt(branded))[0].count(ISSUER.name) == 1


@pytest.mark.parametrize("logo", [b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xfe", b"<svg", SVG + b" " * 1_000_000])
def test_a_broken_logo_falls_back_to_the_monogram(logo: bytes) -> None:
    """Given a logo that cannot be drawn, When drawn, Then the receipt equals the one without a logo."""
    assert usable_logo(logo) == ""
    assert render_receipt(receipt(issuer=replace(ISSUER, logo=logo))) == render_receipt(receipt())


@pytest.mark.parametrize("colour", ["", "red", '#12345", x', "#ffffff", "#fff200"])
def test_any_colour_leaves_a_readable_receipt(colour: str) -> None:
    """Given no, a wrong or a far too light colour, When drawn, Then the text is all there."""
    view = receipt(issuer=replace(ISSUER, primary_colour=colour, accent_colour=colour))
    assert "Total €130.54" in pages(render_receipt(view))[0]


def test_png_is_a_picture_of_the_first_page() -> None:
    """Given a receipt, When drawn as PNG at 72 ppi, Then it is A4 in points."""
    picture = render_receipt_png(receipt(), 72)
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    assert abs(width - 595) <= 1
    assert abs(height - 842) <= 1


def test_what_does_not_add_up_is_refused() -> None:
    """Given totals, instants or a currency that cannot be, When made, Then the error says which."""
    with pytest.raises(ValueError, match=r"net add up to 108\.78 EUR, but it states 108\.780001"):
        receipt(net_micros=108_780_001)
    with pytest.raises(ValueError, match="tax add up to"):
        receipt(tax_micros=0)
    with pytest.raises(ValueError, match="net and tax add up to"):
        receipt(total_micros=1)
    with pytest.raises(ValueError, match=r"paid_at .* has no time zone"):
        receipt(paid_at=datetime(2026, 11, 23))  # noqa: DTZ001
    with pytest.raises(MoneyError, match="'EURO' is not a currency"):
        render_receipt(receipt(currency="EURO"))


@given(st.text(), st.integers(1, 200))
def test_clean_text_is_short_plain_and_breakable(text: str, characters_max: int) -> None:
    """Given any text, When cleaned, Then it is one line of valid Unicode within its length, and can wrap."""
    cleaned = clean(text, characters_max)
    visible = cleaned.replace("\u200b", "")
    assert len(visible) <= characters_max
    assert not set(visible) & {"\n", "\x00", "\u202e", "\u2066"}
    assert json.loads(json.dumps(cleaned.encode("utf-8").decode("utf-8"))) == cleaned
    assert all(len(word) <= 24 for part in cleaned.split("\u200b") for word in part.replace("-", " ").split())

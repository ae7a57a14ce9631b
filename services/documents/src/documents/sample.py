"""A believable receipt, for the picture in the README and for measuring: a package and two proxies.

`python -m documents.sample docs/images/receipt.png` draws the picture anew.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from money import tax_micros, times

from documents.render import render_receipt_png
from documents.views import IssuerView, LineView, ReceiptKind, ReceiptView, RecipientView

_RATE_PPM = 190_000


def _line(description: str, quantity: int, unit_price_micros: int, *details: str) -> LineView:
    net = times(unit_price_micros, quantity)
    tax = tax_micros(net, _RATE_PPM)
    return LineView(description, quantity, unit_price_micros, net, _RATE_PPM, tax, "VAT", details)


def sample_receipt(number: str = "R-2026-000184", customer: str = "Northwind Studio GmbH") -> ReceiptView:
    """The sample, under a number and for a customer of one's choice."""
    lines = (
        _line(
            "Cloud Phone Business, 12 months",
            1,
            83_880_000,
            "5 cloud phones, Android 14, 8 GB",
            "1,200 running hours included",
            "Priority support",
        ),
        _line(
            "Residential proxy, Frankfurt",
            1,
            12_450_000,
            "fra-07.meridian.example : 8080",
            "Until November 23, 2027",
        ),
        _line(
            "Residential proxy, Amsterdam",
            1,
            11_990_000,
            "ams-02.meridian.example : 8080",
            "Until November 23, 2027",
        ),
    )
    net = sum(line.net_micros for line in lines)
    tax = sum(line.tax_micros for line in lines)
    return ReceiptView(
        kind=ReceiptKind.PURCHASE,
        number=number,
        issued_at=datetime(2026, 11, 23, 9, 15, tzinfo=UTC),
        language="en",
        issuer=IssuerView(
            name="Meridian Cloud Services",
            address_lines=("Unter den Linden 21", "10117 Berlin", "Germany"),
            tax_id="DE 298 114 203",
            primary_colour="#0b6e5f",
            accent_colour="#f2a541",
            email="billing@meridian.example",
            website="meridian.example",
        ),
        recipient=RecipientView(
            name=customer,
            address_lines=("Lange Reihe 14", "20099 Hamburg", "Germany"),
            tax_id="DE 311 902 577",
            purchaser_name="Clara Neumann",
            purchaser_email="clara@northwind.example",
        ),
        paid_at=datetime(2026, 11, 23, 9, 14, 37, tzinfo=UTC),
        payment_method="BALANCE",
        currency="EUR",
        lines=lines,
        net_micros=net,
        tax_micros=tax,
        total_micros=net + tax,
        ledger_transaction_id="019ab0e4-7c3e-7d52-9f6b-2f6d1c8e4a10",
        order_number="FA-261123-7K3M9Q2X",
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(render_receipt_png(sample_receipt(), 150))

"""The words on a document, in each language it can be written in. English stands in for any other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words; `{name}` marks what the renderer fills in."""

    receipt: str
    top_up_receipt: str
    paid_on: str
    number: str
    issued: str
    order: str
    paid: str
    method: str
    billed_to: str
    purchased_by: str
    tax_id: str
    description: str
    quantity: str
    unit_price: str
    tax: str
    amount: str
    subtotal: str
    rounding: str
    total: str
    tax_rate: str
    tax_net: str
    tax_amount: str
    ledger: str
    page: str
    methods: dict[str, str]


_EN = Words(
    receipt="Receipt",
    top_up_receipt="Top-up receipt",
    paid_on="Paid on {date}",
    number="Receipt number",
    issued="Issued",
    order="Order",
    paid="Paid",
    method="Payment method",
    billed_to="Billed to",
    purchased_by="Purchased by",
    tax_id="Tax ID {id}",
    description="Description",
    quantity="Qty",
    unit_price="Unit price",
    tax="Tax",
    amount="Amount",
    subtotal="Subtotal",
    rounding="Rounding",
    total="Total",
    tax_rate="Tax summary",
    tax_net="Net",
    tax_amount="Tax",
    ledger="Ledger transaction",
    page="Page {page} of {pages}",
    methods={
        "BALANCE": "Wallet balance",
        "CARD": "Card",
        "BANK_TRANSFER": "Bank transfer",
        "VOUCHER": "Voucher",
        "MANUAL": "Manual credit",
    },
)
_DE = Words(
    receipt="Quittung",
    top_up_receipt="Aufladequittung",
    paid_on="Bezahlt am {date}",
    number="Quittungsnummer",
    issued="Ausgestellt",
    order="Bestellung",
    paid="Bezahlt",
    method="Zahlungsart",
    billed_to="Ausgestellt für",
    purchased_by="Gekauft von",
    tax_id="USt-IdNr. {id}",
    description="Beschreibung",
    quantity="Menge",
    unit_price="Einzelpreis",
    tax="Steuer",
    amount="Betrag",
    subtotal="Zwischensumme",
    rounding="Rundung",
    total="Gesamtbetrag",
    tax_rate="Steuerübersicht",
    tax_net="Netto",
    tax_amount="Steuer",
    ledger="Buchung",
    page="Seite {page} von {pages}",
    methods={
        "BALANCE": "Guthaben",
        "CARD": "Karte",
        "BANK_TRANSFER": "Überweisung",
        "VOUCHER": "Gutschein",
        "MANUAL": "Manuelle Gutschrift",
    },
)
_FR = Words(
    receipt="Reçu",
    top_up_receipt="Reçu de recharge",
    paid_on="Payé le {date}",
    number="Numéro de reçu",
    issued="Émis",
    order="Commande",
    paid="Payé",
    method="Mode de paiement",
    billed_to="Facturé à",
    purchased_by="Acheté par",
    tax_id="N° fiscal {id}",
    description="Désignation",
    quantity="Qté",
    unit_price="Prix unitaire",
    tax="Taxe",
    amount="Montant",
    subtotal="Sous-total",
    rounding="Arrondi",
    total="Total",
    tax_rate="Détail des taxes",
    tax_net="Net",
    tax_amount="Taxe",
    ledger="Écriture comptable",
    page="Page {page} sur {pages}",
    methods={
        "BALANCE": "Solde du portefeuille",
        "CARD": "Carte",
        "BANK_TRANSFER": "Virement bancaire",
        "VOUCHER": "Bon d’achat",
        "MANUAL": "Crédit manuel",
    },
)
_ES = Words(
    receipt="Recibo",
    top_up_receipt="Recibo de recarga",
    paid_on="Pagado el {date}",
    number="Número de recibo",
    issued="Emitido",
    order="Pedido",
    paid="Pagado",
    method="Forma de pago",
    billed_to="Facturado a",
    purchased_by="Comprado por",
    tax_id="NIF {id}",
    description="Descripción",
    quantity="Cant.",
    unit_price="Precio unitario",
    tax="Impuesto",
    amount="Importe",
    subtotal="Subtotal",
    rounding="Redondeo",
    total="Total",
    tax_rate="Resumen de impuestos",
    tax_net="Neto",
    tax_amount="Impuesto",
    ledger="Asiento contable",
    page="Página {page} de {pages}",
    methods={
        "BALANCE": "Saldo del monedero",
        "CARD": "Tarjeta",
        "BANK_TRANSFER": "Transferencia bancaria",
        "VOUCHER": "Vale",
        "MANUAL": "Abono manual",
    },
)
_ZH = Words(
    receipt="收据",
    top_up_receipt="充值收据",
    paid_on="付款日期：{date}",
    number="收据编号",
    issued="开具日期",
    order="订单号",
    paid="付款时间",
    method="付款方式",
    billed_to="付款方",
    purchased_by="购买人",
    tax_id="税号 {id}",
    description="项目",
    quantity="数量",
    unit_price="单价",
    tax="税率",
    amount="金额",
    subtotal="小计",
    rounding="舍入",
    total="合计",
    tax_rate="税额汇总",
    tax_net="不含税金额",
    tax_amount="税额",
    ledger="账务流水号",
    page="第 {page} 页，共 {pages} 页",
    methods={
        "BALANCE": "余额支付",
        "CARD": "银行卡",
        "BANK_TRANSFER": "银行转账",
        "VOUCHER": "代金券",
        "MANUAL": "人工入账",
    },
)
_AR = Words(
    receipt="إيصال",
    top_up_receipt="إيصال شحن الرصيد",
    paid_on="تم الدفع في {date}",
    number="رقم الإيصال",
    issued="تاريخ الإصدار",
    order="الطلب",
    paid="وقت الدفع",
    method="طريقة الدفع",
    billed_to="صادر إلى",
    purchased_by="المشتري",
    tax_id="الرقم الضريبي {id}",
    description="الوصف",
    quantity="الكمية",
    unit_price="سعر الوحدة",
    tax="الضريبة",
    amount="المبلغ",
    subtotal="المجموع الفرعي",
    rounding="التقريب",
    total="الإجمالي",
    tax_rate="ملخص الضريبة",
    tax_net="الصافي",
    tax_amount="الضريبة",
    ledger="قيد دفتر الأستاذ",
    page="صفحة {page} من {pages}",
    methods={
        "BALANCE": "رصيد المحفظة",
        "CARD": "بطاقة",
        "BANK_TRANSFER": "تحويل بنكي",
        "VOUCHER": "قسيمة",
        "MANUAL": "إضافة يدوية",
    },
)

LANGUAGES: dict[str, Words] = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES, "zh": _ZH, "ar": _AR}
RIGHT_TO_LEFT = frozenset({"ar"})


def supported_language(tag: str) -> str:
    """The language a document in `tag` (BCP 47, such as 'de-AT') is written in; 'en' for any unknown one."""
    primary = tag.replace("_", "-").partition("-")[0].lower()
    return primary if primary in LANGUAGES else "en"

"""The words of the mail that carries a receipt, in the languages receipts are written in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Letter:
    """Subject and sentences of a mail, with places for {issuer}, {number}, {total}, {order} and {name}.

    `top_up_line` is what a top-up is called on its receipt.
    """

    subject: str
    greeting: str
    purchase: str
    top_up: str
    attached: str
    automatic: str
    top_up_line: str


LETTERS: dict[str, Letter] = {
    "en": Letter(
        subject="Receipt {number} from {issuer}",
        greeting="Hello {name},",
        purchase="thank you for your purchase. Order {order} is paid: {total}.",
        top_up="thank you. Your top-up of {total} is on your balance.",
        attached="Receipt {number} is attached as a PDF.",
        automatic="This message was sent automatically by {issuer}.",
        top_up_line="Balance top-up",
    ),
    "de": Letter(
        subject="Beleg {number} von {issuer}",
        greeting="Guten Tag {name},",
        purchase="vielen Dank für Ihren Einkauf. Die Bestellung {order} ist bezahlt: {total}.",
        top_up="vielen Dank. Ihre Aufladung über {total} ist auf Ihrem Guthaben.",
        attached="Der Beleg {number} liegt als PDF bei.",
        automatic="Diese Nachricht wurde automatisch von {issuer} gesendet.",
        top_up_line="Guthabenaufladung",
    ),
    "fr": Letter(
        subject="Reçu {number} de {issuer}",
        greeting="Bonjour {name},",
        purchase="merci pour votre achat. La commande {order} est payée : {total}.",
        top_up="merci. Votre recharge de {total} est sur votre solde.",
        attached="Le reçu {number} est joint au format PDF.",
        automatic="Ce message a été envoyé automatiquement par {issuer}.",
        top_up_line="Recharge du solde",
    ),
    "es": Letter(
        subject="Recibo {number} de {issuer}",
        greeting="Hola, {name}:",
        purchase="Gracias por su compra. El pedido {order} está pagado: {total}.",
        top_up="Gracias. Su recarga de {total} ya está en su saldo.",
        attached="El recibo {number} va adjunto en PDF.",
        automatic="Este mensaje lo ha enviado automáticamente {issuer}.",
        top_up_line="Recarga de saldo",
    ),
    "zh": Letter(
        subject="{issuer} 收据 {number}",
        greeting="{name}，您好：",
        purchase="感谢您的购买。订单 {order} 已付款：{total}。",
        top_up="谢谢。您充值的 {total} 已计入余额。",
        attached="收据 {number} 见 PDF 附件。",
        automatic="此邮件由 {issuer} 自动发送。",
        top_up_line="余额充值",
    ),
    "ar": Letter(
        subject="إيصال {number} من {issuer}",
        greeting="مرحبًا {name}،",
        purchase="شكرًا لشرائكم. تم دفع الطلب {order}: {total}.",
        top_up="شكرًا لكم. أضيف مبلغ الشحن {total} إلى رصيدكم.",
        attached="الإيصال {number} مرفق بصيغة PDF.",
        automatic="أُرسلت هذه الرسالة تلقائيًا من {issuer}.",
        top_up_line="شحن الرصيد",
    ),
}

"""The words of notices, in the languages receipts are written in; greeting and closing are those of `letters`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Case(StrEnum):
    """What there is to say."""

    BALANCE_LOW = "BALANCE_LOW"
    TOP_UP_FAILED = "TOP_UP_FAILED"
    # Of an automatic top-up: tried again, or given up.
    TOP_UP_RETRIED = "TOP_UP_RETRIED"
    TOP_UP_ENDED = "TOP_UP_ENDED"
    REFUNDED = "REFUNDED"
    CANCELED = "CANCELED"
    KEPT = "KEPT"
    # The same, to the seller.
    KEPT_FOR_BUYER = "KEPT_FOR_BUYER"
    CREDITED = "CREDITED"
    DEBITED = "DEBITED"


@dataclass(frozen=True, slots=True)
class NoticeLetter:
    """Subject and sentence of each case, with places for {issuer}, {amount}, {threshold}, {order}, {person}, {time}.

    `items` has a place for {items}, `reason` for {reason}, `note` for {note}, what somebody wrote: sentences of their
    own, left out where there is nothing.
    """

    subjects: dict[Case, str]
    sentences: dict[Case, str]
    items: str
    reason: str
    note: str


NOTICE_LETTERS: dict[str, NoticeLetter] = {
    "en": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "Balance low: {amount} available",
            Case.TOP_UP_FAILED: "Top-up of {amount} failed",
            Case.TOP_UP_RETRIED: "Automatic top-up of {amount} failed",
            Case.TOP_UP_ENDED: "Automatic top-up of {amount} failed",
            Case.REFUNDED: "Refund of {amount} for order {order}",
            Case.CANCELED: "Order {order} is canceled",
            Case.KEPT: "Order {order}: {amount} is on your balance",
            Case.KEPT_FOR_BUYER: "Order {order}: a payment of {amount} could not be used",
            Case.CREDITED: "{amount} added to your balance",
            Case.DEBITED: "{amount} taken from your balance",
        },
        sentences={
            Case.BALANCE_LOW: (
                "your balance with {issuer} is low: {amount} is available, less than {threshold}. "
                "Please top it up so that your orders go through."
            ),
            Case.TOP_UP_FAILED: "your top-up of {amount} failed. Nothing was added to your balance.",
            Case.TOP_UP_RETRIED: "an automatic top-up of {amount} failed. It is tried again at {time}.",
            Case.TOP_UP_ENDED: (
                "an automatic top-up of {amount} failed and is not tried again. Please check how you pay, or top up "
                "by hand."
            ),
            Case.REFUNDED: "for order {order}, {amount} was refunded to your balance.",
            Case.CANCELED: "order {order} over {amount} is canceled.",
            Case.KEPT: (
                "your payment of {amount} for order {order} arrived, but the order is canceled. "
                "The money is on your balance."
            ),
            Case.KEPT_FOR_BUYER: (
                "{person} paid {amount} for order {order}, but the order is canceled. "
                "The money is on the buyer's balance."
            ),
            Case.CREDITED: "{issuer} corrected your balance: {amount} was added.",
            Case.DEBITED: "{issuer} corrected your balance: {amount} was taken.",
        },
        items="Refunded: {items}.",
        reason="Reason: {reason}",
        note="Note: {note}",
    ),
    "de": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "Guthaben niedrig: {amount} verfügbar",
            Case.TOP_UP_FAILED: "Aufladung über {amount} fehlgeschlagen",
            Case.TOP_UP_RETRIED: "Automatische Aufladung über {amount} fehlgeschlagen",
            Case.TOP_UP_ENDED: "Automatische Aufladung über {amount} fehlgeschlagen",
            Case.REFUNDED: "Erstattung von {amount} für Bestellung {order}",
            Case.CANCELED: "Bestellung {order} ist storniert",
            Case.KEPT: "Bestellung {order}: {amount} sind auf Ihrem Guthaben",
            Case.KEPT_FOR_BUYER: "Bestellung {order}: Zahlung über {amount} nicht verwendbar",
            Case.CREDITED: "{amount} Ihrem Guthaben gutgeschrieben",
            Case.DEBITED: "{amount} von Ihrem Guthaben abgebucht",
        },
        sentences={
            Case.BALANCE_LOW: (
                "Ihr Guthaben bei {issuer} ist niedrig: {amount} sind verfügbar, weniger als {threshold}. "
                "Bitte laden Sie es auf, damit Ihre Bestellungen ausgeführt werden."
            ),
            Case.TOP_UP_FAILED: (
                "Ihre Aufladung über {amount} ist fehlgeschlagen. Ihrem Guthaben wurde nichts gutgeschrieben."
            ),
            Case.TOP_UP_RETRIED: (
                "eine automatische Aufladung über {amount} ist fehlgeschlagen. Nächster Versuch: {time}."
            ),
            Case.TOP_UP_ENDED: (
                "eine automatische Aufladung über {amount} ist fehlgeschlagen und wird nicht wiederholt. "
                "Bitte prüfen Sie Ihre Zahlungsart oder laden Sie von Hand auf."
            ),
            Case.REFUNDED: "zur Bestellung {order} wurden {amount} auf Ihr Guthaben erstattet.",
            Case.CANCELED: "die Bestellung {order} über {amount} ist storniert.",
            Case.KEPT: (
                "Ihre Zahlung von {amount} für die Bestellung {order} ist eingegangen, die Bestellung ist aber "
                "storniert. Das Geld ist auf Ihrem Guthaben."
            ),
            Case.KEPT_FOR_BUYER: (
                "{person} hat {amount} für die Bestellung {order} bezahlt, die Bestellung ist aber "
                "storniert. Das Geld ist auf dem Guthaben des Käufers."
            ),
            Case.CREDITED: "{issuer} hat Ihr Guthaben berichtigt: {amount} wurden gutgeschrieben.",
            Case.DEBITED: "{issuer} hat Ihr Guthaben berichtigt: {amount} wurden abgebucht.",
        },
        items="Erstattet: {items}.",
        reason="Grund: {reason}",
        note="Anmerkung: {note}",
    ),
    "fr": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "Solde bas : {amount} disponibles",
            Case.TOP_UP_FAILED: "Échec de la recharge de {amount}",
            Case.TOP_UP_RETRIED: "Échec de la recharge automatique de {amount}",
            Case.TOP_UP_ENDED: "Échec de la recharge automatique de {amount}",
            Case.REFUNDED: "Remboursement de {amount} pour la commande {order}",
            Case.CANCELED: "La commande {order} est annulée",
            Case.KEPT: "Commande {order} : {amount} sont sur votre solde",
            Case.KEPT_FOR_BUYER: "Commande {order} : un paiement de {amount} n'a pas pu être utilisé",
            Case.CREDITED: "{amount} ajoutés à votre solde",
            Case.DEBITED: "{amount} retirés de votre solde",
        },
        sentences={
            Case.BALANCE_LOW: (
                "votre solde chez {issuer} est bas : {amount} sont disponibles, moins que {threshold}. "
                "Veuillez le recharger pour que vos commandes aboutissent."
            ),
            Case.TOP_UP_FAILED: "votre recharge de {amount} a échoué. Rien n'a été ajouté à votre solde.",
            Case.TOP_UP_RETRIED: "une recharge automatique de {amount} a échoué. Prochain essai : {time}.",
            Case.TOP_UP_ENDED: (
                "une recharge automatique de {amount} a échoué et ne sera pas réessayée. Veuillez vérifier votre "
                "moyen de paiement ou recharger vous-même."
            ),
            Case.REFUNDED: "pour la commande {order}, {amount} ont été remboursés sur votre solde.",
            Case.CANCELED: "la commande {order} de {amount} est annulée.",
            Case.KEPT: (
                "votre paiement de {amount} pour la commande {order} est arrivé, mais la commande est annulée. "
                "L'argent est sur votre solde."
            ),
            Case.KEPT_FOR_BUYER: (
                "{person} a payé {amount} pour la commande {order}, mais la commande est annulée. "
                "L'argent est sur le solde de l'acheteur."
            ),
            Case.CREDITED: "{issuer} a corrigé votre solde : {amount} ont été ajoutés.",
            Case.DEBITED: "{issuer} a corrigé votre solde : {amount} ont été retirés.",
        },
        items="Remboursé : {items}.",
        reason="Motif : {reason}",
        note="Remarque : {note}",
    ),
    "es": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "Saldo bajo: {amount} disponibles",
            Case.TOP_UP_FAILED: "La recarga de {amount} ha fallado",
            Case.TOP_UP_RETRIED: "La recarga automática de {amount} ha fallado",
            Case.TOP_UP_ENDED: "La recarga automática de {amount} ha fallado",
            Case.REFUNDED: "Reembolso de {amount} por el pedido {order}",
            Case.CANCELED: "El pedido {order} está cancelado",
            Case.KEPT: "Pedido {order}: {amount} están en su saldo",
            Case.KEPT_FOR_BUYER: "Pedido {order}: un pago de {amount} no se pudo usar",
            Case.CREDITED: "{amount} añadidos a su saldo",
            Case.DEBITED: "{amount} retirados de su saldo",
        },
        sentences={
            Case.BALANCE_LOW: (
                "Su saldo con {issuer} es bajo: hay {amount} disponibles, menos de {threshold}. "
                "Recárguelo para que sus pedidos se completen."
            ),
            Case.TOP_UP_FAILED: "Su recarga de {amount} ha fallado. No se ha añadido nada a su saldo.",
            Case.TOP_UP_RETRIED: "Una recarga automática de {amount} ha fallado. Próximo intento: {time}.",
            Case.TOP_UP_ENDED: (
                "Una recarga automática de {amount} ha fallado y no se volverá a intentar. Revise su forma de pago o "
                "recargue usted mismo."
            ),
            Case.REFUNDED: "Por el pedido {order} se han reembolsado {amount} a su saldo.",
            Case.CANCELED: "El pedido {order} por {amount} está cancelado.",
            Case.KEPT: (
                "Su pago de {amount} por el pedido {order} ha llegado, pero el pedido está cancelado. "
                "El dinero está en su saldo."
            ),
            Case.KEPT_FOR_BUYER: (
                "{person} pagó {amount} por el pedido {order}, pero el pedido está cancelado. "
                "El dinero está en el saldo del comprador."
            ),
            Case.CREDITED: "{issuer} ha corregido su saldo: se han añadido {amount}.",
            Case.DEBITED: "{issuer} ha corregido su saldo: se han retirado {amount}.",
        },
        items="Reembolsado: {items}.",
        reason="Motivo: {reason}",
        note="Nota: {note}",
    ),
    "zh": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "余额不足：可用 {amount}",
            Case.TOP_UP_FAILED: "充值 {amount} 失败",
            Case.TOP_UP_RETRIED: "自动充值 {amount} 失败",
            Case.TOP_UP_ENDED: "自动充值 {amount} 失败",
            Case.REFUNDED: "订单 {order} 退款 {amount}",
            Case.CANCELED: "订单 {order} 已取消",
            Case.KEPT: "订单 {order}：{amount} 已计入您的余额",
            Case.KEPT_FOR_BUYER: "订单 {order}：付款 {amount} 未能使用",
            Case.CREDITED: "您的余额已增加 {amount}",
            Case.DEBITED: "您的余额已扣除 {amount}",
        },
        sentences={
            Case.BALANCE_LOW: "您在 {issuer} 的余额较低：可用 {amount}，低于 {threshold}。请充值，以便订单顺利完成。",
            Case.TOP_UP_FAILED: "您的充值 {amount} 失败，余额未增加。",
            Case.TOP_UP_RETRIED: "自动充值 {amount} 失败。下次尝试时间：{time}。",
            Case.TOP_UP_ENDED: "自动充值 {amount} 失败，系统不会再次尝试。请检查您的付款方式，或手动充值。",
            Case.REFUNDED: "订单 {order} 的 {amount} 已退回您的余额。",
            Case.CANCELED: "金额为 {amount} 的订单 {order} 已取消。",
            Case.KEPT: "您为订单 {order} 支付的 {amount} 已到账，但订单已取消。款项已计入您的余额。",
            Case.KEPT_FOR_BUYER: "{person} 为订单 {order} 支付了 {amount}，但订单已取消。款项在买方的余额中。",
            Case.CREDITED: "{issuer} 调整了您的余额：增加 {amount}。",
            Case.DEBITED: "{issuer} 调整了您的余额：扣除 {amount}。",
        },
        items="退款内容：{items}。",
        reason="原因：{reason}",
        note="备注：{note}",
    ),
    "ar": NoticeLetter(
        subjects={
            Case.BALANCE_LOW: "الرصيد منخفض: المتاح {amount}",
            Case.TOP_UP_FAILED: "فشل شحن الرصيد بمبلغ {amount}",
            Case.TOP_UP_RETRIED: "فشل الشحن التلقائي بمبلغ {amount}",
            Case.TOP_UP_ENDED: "فشل الشحن التلقائي بمبلغ {amount}",
            Case.REFUNDED: "استرداد {amount} عن الطلب {order}",
            Case.CANCELED: "أُلغي الطلب {order}",
            Case.KEPT: "الطلب {order}: المبلغ {amount} في رصيدكم",
            Case.KEPT_FOR_BUYER: "الطلب {order}: تعذر استخدام دفعة بمبلغ {amount}",
            Case.CREDITED: "أُضيف {amount} إلى رصيدكم",
            Case.DEBITED: "خُصم {amount} من رصيدكم",
        },
        sentences={
            Case.BALANCE_LOW: (
                "رصيدكم لدى {issuer} منخفض: المتاح {amount}، وهو أقل من {threshold}. يرجى شحنه حتى تكتمل طلباتكم."
            ),
            Case.TOP_UP_FAILED: "فشل شحن رصيدكم بمبلغ {amount}. لم يُضف شيء إلى رصيدكم.",
            Case.TOP_UP_RETRIED: "فشل الشحن التلقائي بمبلغ {amount}. المحاولة التالية: {time}.",
            Case.TOP_UP_ENDED: (
                "فشل الشحن التلقائي بمبلغ {amount} ولن تُعاد المحاولة. يرجى مراجعة وسيلة الدفع أو الشحن يدويًا."
            ),
            Case.REFUNDED: "عن الطلب {order}، رُدّ مبلغ {amount} إلى رصيدكم.",
            Case.CANCELED: "أُلغي الطلب {order} بقيمة {amount}.",
            Case.KEPT: "وصلت دفعتكم بمبلغ {amount} للطلب {order}، لكن الطلب أُلغي. المبلغ في رصيدكم.",
            Case.KEPT_FOR_BUYER: "دفع {person} مبلغ {amount} للطلب {order}، لكن الطلب أُلغي. المبلغ في رصيد المشتري.",
            Case.CREDITED: "صحّح {issuer} رصيدكم: أُضيف {amount}.",
            Case.DEBITED: "صحّح {issuer} رصيدكم: خُصم {amount}.",
        },
        items="المسترد: {items}.",
        reason="السبب: {reason}",
        note="ملاحظة: {note}",
    ),
}

"""Why a payment failed or an order was canceled, in the languages of notices."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """What an event says in a code, for documents to say in words."""

    CALLED_OFF = "CALLED_OFF"
    # By one of its people, whose name is not known.
    CALLED_OFF_BY_BUYER = "CALLED_OFF_BY_BUYER"
    CALLED_OFF_BY_SELLER = "CALLED_OFF_BY_SELLER"
    CALLED_OFF_BY_SERVICE = "CALLED_OFF_BY_SERVICE"
    NOT_PAID = "NOT_PAID"
    PAYMENT_NOT_OFFERED = "PAYMENT_NOT_OFFERED"
    INSUFFICIENT_CREDIT = "INSUFFICIENT_CREDIT"
    CHAIN_CHANGED = "CHAIN_CHANGED"
    CANNOT_SELL = "CANNOT_SELL"
    # The same, to the seller.
    COULD_NOT_SELL = "COULD_NOT_SELL"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    DECLINED = "DECLINED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    CARD_EXPIRED = "CARD_EXPIRED"
    AUTHENTICATION_REQUIRED = "AUTHENTICATION_REQUIRED"
    CHECKOUT_ABANDONED = "CHECKOUT_ABANDONED"
    METHOD_UNUSABLE = "METHOD_UNUSABLE"
    SELLER_CHANGED = "SELLER_CHANGED"
    PAYMENT_CALLED_OFF = "PAYMENT_CALLED_OFF"


CAUSES: dict[str, dict[Cause, str]] = {
    "en": {
        Cause.CALLED_OFF: "{canceler} canceled the order.",
        Cause.CALLED_OFF_BY_BUYER: "the buyer canceled the order.",
        Cause.CALLED_OFF_BY_SELLER: "the seller canceled the order.",
        Cause.CALLED_OFF_BY_SERVICE: "the order was canceled automatically.",
        Cause.NOT_PAID: "it was not paid by {due}.",
        Cause.PAYMENT_NOT_OFFERED: (
            "the seller does not take this way of payment at the moment. Order again and pay another way."
        ),
        Cause.INSUFFICIENT_CREDIT: "the balance is not enough: {needed} needed, {available} available.",
        Cause.CHAIN_CHANGED: "the sellers of this order changed while it was being paid. It can be ordered again.",
        Cause.CANNOT_SELL: "your seller cannot sell this at the moment. Order again later, or ask your seller.",
        Cause.COULD_NOT_SELL: "you, or a seller above you, could not sell this when the payment arrived.",
        Cause.PAYMENT_FAILED: "the payment failed.",
        Cause.DECLINED: "the payment was declined.",
        Cause.INSUFFICIENT_FUNDS: "the payment was declined: the card or account lacks funds.",
        Cause.CARD_EXPIRED: "the card has expired.",
        Cause.AUTHENTICATION_REQUIRED: "the bank asks the card's owner to confirm the payment.",
        Cause.CHECKOUT_ABANDONED: "the payment page was left without a payment.",
        Cause.METHOD_UNUSABLE: "this way of payment cannot be used at the moment.",
        Cause.SELLER_CHANGED: "you have another seller now. Please start again with that seller.",
        Cause.PAYMENT_CALLED_OFF: "the payment was called off.",
    },
    "de": {
        Cause.CALLED_OFF: "{canceler} hat die Bestellung storniert.",
        Cause.CALLED_OFF_BY_BUYER: "der Käufer hat die Bestellung storniert.",
        Cause.CALLED_OFF_BY_SELLER: "der Verkäufer hat die Bestellung storniert.",
        Cause.CALLED_OFF_BY_SERVICE: "die Bestellung wurde automatisch storniert.",
        Cause.NOT_PAID: "sie wurde bis {due} nicht bezahlt.",
        Cause.PAYMENT_NOT_OFFERED: (
            "der Verkäufer nimmt diese Zahlungsart zurzeit nicht an. Bestellen Sie neu und zahlen Sie auf andere Weise."
        ),
        Cause.INSUFFICIENT_CREDIT: "das Guthaben reicht nicht: {needed} nötig, {available} verfügbar.",
        Cause.CHAIN_CHANGED: (
            "die Verkäufer dieser Bestellung haben während der Zahlung gewechselt. Sie kann neu aufgegeben werden."
        ),
        Cause.CANNOT_SELL: (
            "Ihr Verkäufer kann dies zurzeit nicht verkaufen. Bestellen Sie später noch einmal oder fragen Sie ihn."
        ),
        Cause.COULD_NOT_SELL: (
            "Sie oder ein Verkäufer über Ihnen konnten dies nicht verkaufen, als die Zahlung eintraf."
        ),
        Cause.PAYMENT_FAILED: "die Zahlung ist fehlgeschlagen.",
        Cause.DECLINED: "die Zahlung wurde abgelehnt.",
        Cause.INSUFFICIENT_FUNDS: "die Zahlung wurde abgelehnt: Karte oder Konto sind nicht gedeckt.",
        Cause.CARD_EXPIRED: "die Karte ist abgelaufen.",
        Cause.AUTHENTICATION_REQUIRED: "die Bank verlangt, dass der Karteninhaber die Zahlung bestätigt.",
        Cause.CHECKOUT_ABANDONED: "die Zahlungsseite wurde ohne Zahlung verlassen.",
        Cause.METHOD_UNUSABLE: "diese Zahlungsart kann zurzeit nicht verwendet werden.",
        Cause.SELLER_CHANGED: "Sie haben jetzt einen anderen Verkäufer. Bitte beginnen Sie bei ihm noch einmal.",
        Cause.PAYMENT_CALLED_OFF: "die Zahlung wurde abgebrochen.",
    },
    "fr": {
        Cause.CALLED_OFF: "{canceler} a annulé la commande.",
        Cause.CALLED_OFF_BY_BUYER: "l'acheteur a annulé la commande.",
        Cause.CALLED_OFF_BY_SELLER: "le vendeur a annulé la commande.",
        Cause.CALLED_OFF_BY_SERVICE: "la commande a été annulée automatiquement.",
        Cause.NOT_PAID: "elle n'a pas été payée avant le {due}.",
        Cause.PAYMENT_NOT_OFFERED: (
            "le vendeur n'accepte pas ce moyen de paiement pour le moment. Commandez à nouveau et payez autrement."
        ),
        Cause.INSUFFICIENT_CREDIT: "le solde ne suffit pas : {needed} nécessaires, {available} disponibles.",
        Cause.CHAIN_CHANGED: (
            "les vendeurs de cette commande ont changé pendant le paiement. Elle peut être passée à nouveau."
        ),
        Cause.CANNOT_SELL: (
            "votre vendeur ne peut pas vendre ceci pour le moment. Réessayez plus tard ou adressez-vous à lui."
        ),
        Cause.COULD_NOT_SELL: (
            "vous, ou un vendeur au-dessus de vous, n'avez pas pu vendre ceci à l'arrivée du paiement."
        ),
        Cause.PAYMENT_FAILED: "le paiement a échoué.",
        Cause.DECLINED: "le paiement a été refusé.",
        Cause.INSUFFICIENT_FUNDS: "le paiement a été refusé : la carte ou le compte n'est pas approvisionné.",
        Cause.CARD_EXPIRED: "la carte a expiré.",
        Cause.AUTHENTICATION_REQUIRED: "la banque demande au titulaire de la carte de confirmer le paiement.",
        Cause.CHECKOUT_ABANDONED: "la page de paiement a été quittée sans paiement.",
        Cause.METHOD_UNUSABLE: "ce moyen de paiement ne peut pas être utilisé pour le moment.",
        Cause.SELLER_CHANGED: "vous avez un autre vendeur à présent. Veuillez recommencer auprès de lui.",
        Cause.PAYMENT_CALLED_OFF: "le paiement a été abandonné.",
    },
    "es": {
        Cause.CALLED_OFF: "{canceler} canceló el pedido.",
        Cause.CALLED_OFF_BY_BUYER: "el comprador canceló el pedido.",
        Cause.CALLED_OFF_BY_SELLER: "el vendedor canceló el pedido.",
        Cause.CALLED_OFF_BY_SERVICE: "el pedido se canceló automáticamente.",
        Cause.NOT_PAID: "no se pagó antes del {due}.",
        Cause.PAYMENT_NOT_OFFERED: (
            "el vendedor no acepta esta forma de pago por el momento. Haga el pedido de nuevo y pague de otra forma."
        ),
        Cause.INSUFFICIENT_CREDIT: "el saldo no alcanza: hacen falta {needed} y hay {available} disponibles.",
        Cause.CHAIN_CHANGED: "los vendedores de este pedido cambiaron durante el pago. Se puede hacer de nuevo.",
        Cause.CANNOT_SELL: "su vendedor no puede vender esto por el momento. Pruebe más tarde o consúltele.",
        Cause.COULD_NOT_SELL: "usted, o un vendedor por encima de usted, no pudo vender esto cuando llegó el pago.",
        Cause.PAYMENT_FAILED: "el pago falló.",
        Cause.DECLINED: "el pago fue rechazado.",
        Cause.INSUFFICIENT_FUNDS: "el pago fue rechazado: la tarjeta o la cuenta no tiene fondos.",
        Cause.CARD_EXPIRED: "la tarjeta ha caducado.",
        Cause.AUTHENTICATION_REQUIRED: "el banco pide al titular de la tarjeta que confirme el pago.",
        Cause.CHECKOUT_ABANDONED: "la página de pago se abandonó sin pagar.",
        Cause.METHOD_UNUSABLE: "esta forma de pago no se puede usar por el momento.",
        Cause.SELLER_CHANGED: "ahora tiene otro vendedor. Empiece de nuevo con él.",
        Cause.PAYMENT_CALLED_OFF: "el pago se anuló.",
    },
    "zh": {
        Cause.CALLED_OFF: "{canceler} 取消了订单。",
        Cause.CALLED_OFF_BY_BUYER: "买方取消了订单。",
        Cause.CALLED_OFF_BY_SELLER: "卖方取消了订单。",
        Cause.CALLED_OFF_BY_SERVICE: "订单已被系统自动取消。",
        Cause.NOT_PAID: "未在 {due} 前付款。",
        Cause.PAYMENT_NOT_OFFERED: "卖方目前不接受此付款方式。请重新下单并使用其他方式付款。",
        Cause.INSUFFICIENT_CREDIT: "余额不足：需要 {needed}，可用 {available}。",
        Cause.CHAIN_CHANGED: "付款期间此订单的卖方已变更。可以重新下单。",
        Cause.CANNOT_SELL: "您的卖方目前无法出售此商品。请稍后再下单，或咨询您的卖方。",
        Cause.COULD_NOT_SELL: "付款到账时，您或您的上级卖方无法出售此商品。",
        Cause.PAYMENT_FAILED: "付款失败。",
        Cause.DECLINED: "付款被拒绝。",
        Cause.INSUFFICIENT_FUNDS: "付款被拒绝：银行卡或账户资金不足。",
        Cause.CARD_EXPIRED: "银行卡已过期。",
        Cause.AUTHENTICATION_REQUIRED: "银行要求持卡人确认此笔付款。",
        Cause.CHECKOUT_ABANDONED: "未付款即离开了付款页面。",
        Cause.METHOD_UNUSABLE: "目前无法使用此付款方式。",
        Cause.SELLER_CHANGED: "您现在有新的卖方。请向新的卖方重新申请。",
        Cause.PAYMENT_CALLED_OFF: "付款已被撤销。",
    },
    "ar": {
        Cause.CALLED_OFF: "ألغى {canceler} الطلب.",
        Cause.CALLED_OFF_BY_BUYER: "ألغى المشتري الطلب.",
        Cause.CALLED_OFF_BY_SELLER: "ألغى البائع الطلب.",
        Cause.CALLED_OFF_BY_SERVICE: "أُلغي الطلب تلقائيًا.",
        Cause.NOT_PAID: "لم يُدفع قبل {due}.",
        Cause.PAYMENT_NOT_OFFERED: (
            "لا يقبل البائع وسيلة الدفع هذه في الوقت الحالي. يرجى تقديم الطلب من جديد والدفع بوسيلة أخرى."
        ),
        Cause.INSUFFICIENT_CREDIT: "الرصيد غير كافٍ: المطلوب {needed}، والمتاح {available}.",
        Cause.CHAIN_CHANGED: "تغيّر بائعو هذا الطلب أثناء الدفع. يمكن تقديم الطلب من جديد.",
        Cause.CANNOT_SELL: "لا يستطيع بائعكم بيع هذا في الوقت الحالي. حاولوا لاحقًا أو اسألوا بائعكم.",
        Cause.COULD_NOT_SELL: "لم تتمكنوا أنتم، أو بائع فوقكم، من بيع هذا عند وصول الدفعة.",
        Cause.PAYMENT_FAILED: "فشلت عملية الدفع.",
        Cause.DECLINED: "رُفضت عملية الدفع.",
        Cause.INSUFFICIENT_FUNDS: "رُفضت عملية الدفع: لا يوجد رصيد كافٍ في البطاقة أو الحساب.",
        Cause.CARD_EXPIRED: "انتهت صلاحية البطاقة.",
        Cause.AUTHENTICATION_REQUIRED: "يطلب البنك من صاحب البطاقة تأكيد عملية الدفع.",
        Cause.CHECKOUT_ABANDONED: "غودرت صفحة الدفع دون إتمام الدفع.",
        Cause.METHOD_UNUSABLE: "لا يمكن استخدام وسيلة الدفع هذه في الوقت الحالي.",
        Cause.SELLER_CHANGED: "لديكم الآن بائع آخر. يرجى البدء من جديد لديه.",
        Cause.PAYMENT_CALLED_OFF: "أُلغيت عملية الدفع.",
    },
}

"""TopUp <-> farthing.wallet.v1.TopUp."""

from farthing.wallet.v1 import wallets_pb2
from money.messages import money_to_message

from wallet.domain.top_ups import Failure, Method, State, TopUp

_METHODS = {
    Method.MANUAL: wallets_pb2.TOP_UP_METHOD_MANUAL,
    Method.SANDBOX: wallets_pb2.TOP_UP_METHOD_SANDBOX,
    Method.PROVIDER: wallets_pb2.TOP_UP_METHOD_PROVIDER,
    Method.VOUCHER: wallets_pb2.TOP_UP_METHOD_VOUCHER,
}
_METHOD_OF = {number: method for method, number in _METHODS.items()}
_STATES = {
    State.PENDING: wallets_pb2.TopUp.STATE_PENDING,
    State.SETTLED: wallets_pb2.TopUp.STATE_SETTLED,
    State.FAILED: wallets_pb2.TopUp.STATE_FAILED,
}
_FAILURES = {
    Failure.DECLINED: wallets_pb2.TOP_UP_FAILURE_DECLINED,
    Failure.INSUFFICIENT_FUNDS: wallets_pb2.TOP_UP_FAILURE_INSUFFICIENT_FUNDS,
    Failure.CARD_EXPIRED: wallets_pb2.TOP_UP_FAILURE_CARD_EXPIRED,
    Failure.AUTHENTICATION_REQUIRED: wallets_pb2.TOP_UP_FAILURE_AUTHENTICATION_REQUIRED,
    Failure.CHECKOUT_ABANDONED: wallets_pb2.TOP_UP_FAILURE_CHECKOUT_ABANDONED,
    Failure.METHOD_UNUSABLE: wallets_pb2.TOP_UP_FAILURE_METHOD_UNUSABLE,
    Failure.SELLER_CHANGED: wallets_pb2.TOP_UP_FAILURE_SELLER_CHANGED,
    Failure.CANCELED: wallets_pb2.TOP_UP_FAILURE_CANCELED,
}


def method_from_number(number: wallets_pb2.TopUpMethod.ValueType) -> Method:
    """Reads how a top-up is paid. KeyError for UNSPECIFIED, which the proto's rules refuse before."""
    return _METHOD_OF[number]


def top_up_to_message(top_up: TopUp) -> wallets_pb2.TopUp:
    """Writes a top-up; its payment token stays here."""
    message = wallets_pb2.TopUp(
        id=str(top_up.id),
        wallet_id=str(top_up.wallet_id),
        organization_id=str(top_up.organization_id),
        amount=money_to_message(top_up.amount.currency, top_up.amount.micros),
        method=_METHODS[top_up.method],
        state=_STATES[top_up.state],
        reference=top_up.reference,
        created_by_name=top_up.created_by_name,
        created_by_email=top_up.created_by_email,
        transaction_id=str(top_up.transaction_id or ""),
        failure_reason=top_up.failure_reason,
        order_id=str(top_up.order_id or ""),
        order_number=top_up.order_number,
        hold_id=str(top_up.hold_id or ""),
        payment_account_id=str(top_up.payment_account_id or ""),
        automatic=top_up.automatic,
    )
    message.created_at.FromDatetime(top_up.created_at)
    if top_up.failure is not None:
        message.failure = _FAILURES[top_up.failure]
    if top_up.settled_at is not None:
        message.settled_at.FromDatetime(top_up.settled_at)
    if top_up.state is State.PENDING and top_up.checkout_url and not top_up.cancel_reason:
        message.checkout_url = top_up.checkout_url
        if top_up.checkout_expires_at is not None:
            message.checkout_expires_at.FromDatetime(top_up.checkout_expires_at)
    return message

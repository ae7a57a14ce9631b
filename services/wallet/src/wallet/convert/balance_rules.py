"""BalanceRules -> farthing.wallet.v1.BalanceRules."""

from farthing.wallet.v1 import payments_pb2
from money.messages import money_to_message

from wallet.domain.balance_rules import AutoState, BalanceRules

_STATES = {
    AutoState.ACTIVE: payments_pb2.AutoTopUp.STATE_ACTIVE,
    AutoState.RETRYING: payments_pb2.AutoTopUp.STATE_RETRYING,
    AutoState.SUSPENDED: payments_pb2.AutoTopUp.STATE_SUSPENDED,
}


def rules_to_message(rules: BalanceRules) -> payments_pb2.BalanceRules:
    """Writes a wallet's rules, and where its automatic top-up stands."""
    message = payments_pb2.BalanceRules(wallet_id=str(rules.wallet_id))
    if rules.low is not None:
        message.low_balance_threshold.CopyFrom(money_to_message(rules.currency, rules.low.threshold_micros))
    auto = rules.auto
    if auto is not None:
        message.auto_top_up.CopyFrom(
            payments_pb2.AutoTopUp(
                threshold=money_to_message(rules.currency, auto.watch.threshold_micros),
                amount=money_to_message(rules.currency, auto.amount_micros),
                payment_method_id=str(auto.payment_method_id or ""),
                state=_STATES[auto.state],
                failures=auto.failures,
                last_failure=auto.last_failure,
                last_top_up_id=str(auto.last_top_up_id or ""),
            )
        )
        if auto.next_attempt_at is not None:
            message.auto_top_up.next_attempt_at.FromDatetime(auto.next_attempt_at)
    return message

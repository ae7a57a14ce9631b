"""What orders reads from its environment beside what every service reads."""

from servicekit.settings import Settings


class OrdersSettings(Settings):
    """`wallet_target` is host:port of wallet's internal listener.

    `charge_timeout_s` bounds one question to wallet. Who asks holds the order for `charge_lease_s`; it must be so
    long that wallet posts nothing later than that after it was asked, or a refused order might still be charged.
    An order waits `bank_transfer_timeout_minutes` for a bank transfer, `payment_timeout_minutes` for other payments
    from outside; then it is canceled.
    """

    wallet_target: str
    charge_timeout_s: float = 4.0
    charge_lease_s: float = 10.0
    payment_timeout_minutes: int = 60
    bank_transfer_timeout_minutes: int = 10_080

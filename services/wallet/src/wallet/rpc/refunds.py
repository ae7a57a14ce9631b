"""WalletService: refunds, for our own services."""

from farthing.wallet.v1 import wallets_pb2
from servicekit.database import Database
from servicekit.server import Context

from wallet.commands import refunds as commands


class RefundsRpc:
    """PostRefund."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def PostRefund(
        self, request: wallets_pb2.PostRefundRequest, _context: Context
    ) -> wallets_pb2.PostRefundResponse:
        return await commands.post_refund(self._database, request)

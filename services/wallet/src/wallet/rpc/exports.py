"""A wallet's lines as a file, as they were when it was asked for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from directory import store as organizations
from farthing.export.v1.export_pb2 import ExportChunk
from farthing.wallet.v1 import wallets_pb2 as pb
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.export import Row, export, file_name_stem
from servicekit.scope import EVERYTHING
from servicekit.server import Context

from wallet.convert.exports import COLUMNS, CURRENCY_COLUMN, export_rows, filter_facts
from wallet.convert.search import filter_from_message, order_from_message
from wallet.domain.entries import WalletState
from wallet.domain.search import EntryFilter, Order, Place, Window
from wallet.rpc.entries import wallet_in_scope
from wallet.store import search

_LINES_A_BATCH = 2_000


class ExportsRpc:
    """ExportEntries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ExportEntries(self, request: pb.ExportEntriesRequest, _context: Context) -> AsyncIterator[ExportChunk]:
        call = current_call()
        wanted, order = filter_from_message(request.filter), order_from_message(request.order)
        async with self._database.transaction(call.scope) as connection:
            wallet = await wallet_in_scope(connection, request.wallet_id)
            window = await search.window_of(connection, wallet, wanted)
            owner = await organizations.find(connection, wallet.organization_id)
        # A buyer that has moved away is not below its old seller any more; the wallet stays in the seller's books.
        domain = str(wallet.organization_id) if owner is None else owner.domain
        facts = [
            ("Wallet", request.wallet_id),
            ("Organization", domain if owner is None else owner.label),
            ("Currency", wallet.currency),
            ("As of (UTC)", f"{wallet.now:%Y-%m-%d %H:%M:%S}"),
            *filter_facts(request),
        ]
        chunks = export(
            request.format,
            file_stem=file_name_stem("balance", f"{domain}-{wallet.currency}", wallet.now),
            sheet_name="Balance details",
            columns=COLUMNS,
            batches=self._batches(wallet, wanted, order, window),
            facts=facts,
            currency_column=CURRENCY_COLUMN,
        )
        # When it is closed it ends its worker, and the batches.
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _batches(
        self, wallet: WalletState, wanted: EntryFilter, order: Order, window: Window
    ) -> AsyncIterator[Sequence[Row]]:
        """A short transaction a batch: an export of hours holds no snapshot and no connection.

        The wallet was found in the caller's scope; see `wallet.rpc.lists`.
        """
        place = None
        while True:
            async with self._database.transaction(EVERYTHING) as connection:
                rows = await search.page(
                    connection, wallet, wanted, window, order=order, place=place, limit=_LINES_A_BATCH
                )
            if rows:
                yield export_rows(wallet.currency, rows)
            if len(rows) < _LINES_A_BATCH:
                return
            place = Place(rows[-1].sequence, rows[-1].amount_micros)

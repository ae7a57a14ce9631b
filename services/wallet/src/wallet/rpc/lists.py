"""Lists and statements of a wallet's lines, page by page, of the lines that there were when the first was asked for.

Whether the caller sees the wallet is asked once, under row-level security; its lines are then read by its key alone.
To ask again for each line costs some seventy times what reading it does.
"""

from datetime import datetime
from typing import Any

from farthing.wallet.v1 import wallets_pb2 as pb
from money.messages import money_to_message
from servicekit.call import current_call
from servicekit.database import Database
from servicekit.instants import boundary
from servicekit.paging import Cursor, Pager, page_size
from servicekit.problems import invalid
from servicekit.scope import EVERYTHING
from servicekit.server import Context

from wallet.convert.ledger import entry_to_message
from wallet.convert.search import filter_from_message, order_from_message, totals_to_message
from wallet.domain.entries import WalletState
from wallet.domain.search import EntryFilter, Order, Place, Window
from wallet.domain.statements import Header, TypeSum
from wallet.rpc.entries import wallet_in_scope
from wallet.store import search, statements

_EVERY_LINE = EntryFilter()


class ListsRpc:
    """ListEntries and GetStatement."""

    def __init__(self, database: Database, pager: Pager) -> None:
        self._database = database
        self._pager = pager

    async def ListEntries(self, request: pb.ListEntriesRequest, _context: Context) -> pb.ListEntriesResponse:
        bound = _without_page(request)
        cursor = self._pager.decode(request.page_token, bound_to=bound)
        size = page_size(request.page_size)
        wanted, order = filter_from_message(request.filter), order_from_message(request.order)
        async with self._database.transaction(current_call().scope) as connection:
            wallet = await wallet_in_scope(connection, request.wallet_id)
        async with self._database.transaction(EVERYTHING) as connection:
            if cursor is None:
                window, place = await search.window_of(connection, wallet, wanted), None
            else:
                window, place = Window(cursor["after"], cursor["to"]), Place(cursor["at"], cursor["amount"])
            rows = await search.page(connection, wallet, wanted, window, order=order, place=place, limit=size + 1)
            totals = await search.totals(connection, wallet, wanted, window) if request.with_totals else None
        answer = pb.ListEntriesResponse(entries=[entry_to_message(wallet.currency, row) for row in rows[:size]])
        if len(rows) > size:
            last = rows[size - 1]
            place_after: Cursor = {"after": window.after, "to": window.to, "at": last.sequence}
            answer.next_page_token = self._pager.encode({**place_after, "amount": last.amount_micros}, bound_to=bound)
        if totals is not None:
            answer.totals.CopyFrom(totals_to_message(wallet.currency, totals))
        return answer

    async def GetStatement(self, request: pb.GetStatementRequest, _context: Context) -> pb.Statement:
        bound = _without_page(request)
        cursor = self._pager.decode(request.page_token, bound_to=bound)
        size = page_size(request.page_size)
        async with self._database.transaction(current_call().scope) as connection:
            wallet = await wallet_in_scope(connection, request.wallet_id)
        async with self._database.transaction(EVERYTHING) as connection:
            start, end = _period(request, wallet.now)
            # The header goes along in the token: what is posted later, at however close an instant, is not in it.
            header = (
                await statements.header_of(connection, wallet, start, end) if cursor is None else _read_header(cursor)
            )
            if not header.agrees:
                raise RuntimeError(f"the lines of wallet {wallet.id} do not add up to its balances: {header}")
            at = header.after if cursor is None else cursor["at"]
            window = Window(at, min(header.to, at + size))
            rows = await search.page(connection, wallet, _EVERY_LINE, window, order=Order.OLDEST, limit=size)
            seller_id = await statements.seller_of(connection, wallet)
        statement = _statement(wallet, header, request)
        statement.seller_id = str(seller_id)
        statement.lines.extend(entry_to_message(wallet.currency, row) for row in rows)
        if window.to < header.to:
            statement.next_page_token = self._pager.encode({**_write_header(header), "at": window.to}, bound_to=bound)
        return statement


def _without_page(request: Any) -> Any:
    """What a token is bound to: everything that must be the same for every page."""
    bound = type(request)()
    bound.CopyFrom(request)
    bound.ClearField("page_size")
    bound.ClearField("page_token")
    return bound


def _period(request: pb.GetStatementRequest, now: datetime) -> tuple[datetime, datetime]:
    start, end = boundary(request, "from"), boundary(request, "to")
    if start is None or end is None:
        raise invalid("a statement is over [from, to): give both", fields={"from": "required", "to": "required"})
    if start > end:
        message = f"from {start.isoformat()} is after to {end.isoformat()}; a statement is over [from, to)"
        raise invalid(message, fields={"from": "after to"})
    if end > now:
        message = f"to {end.isoformat()} is in the future; the books end at {now.isoformat()}"
        raise invalid(message, fields={"to": "in the future"})
    return start, end


def _statement(wallet: WalletState, header: Header, request: pb.GetStatementRequest) -> pb.Statement:
    currency = wallet.currency
    statement = pb.Statement(
        wallet_id=str(wallet.id),
        organization_id=str(wallet.organization_id),
        to=request.to,
        opening=money_to_message(currency, header.opening_micros),
        credits=money_to_message(currency, header.credits_micros),
        debits=money_to_message(currency, header.debits_micros),
        closing=money_to_message(currency, header.closing_micros),
        sums=[
            pb.StatementSum(
                type=pb.EntryType.ValueType(each.type),
                count=each.count,
                amount=money_to_message(currency, each.amount_micros),
            )
            for each in header.sums
        ],
        line_count=header.line_count,
    )
    # `from` is a word of Python's own.
    getattr(statement, "from").CopyFrom(getattr(request, "from"))
    return statement


def _write_header(header: Header) -> Cursor:
    sums = " ".join(f"{each.type} {each.count} {each.credits_micros} {each.debits_micros}" for each in header.sums)
    ends: Cursor = {"after": header.after, "to": header.to, "sums": sums}
    # As text: a sum may pass what JSON's readers hold.
    return {**ends, "opening": str(header.opening_micros), "closing": str(header.closing_micros)}


def _read_header(cursor: dict[str, Any]) -> Header:
    numbers = [int(number) for number in cursor["sums"].split()]
    sums = tuple(TypeSum(*numbers[start : start + 4]) for start in range(0, len(numbers), 4))
    return Header(cursor["after"], cursor["to"], int(cursor["opening"]), int(cursor["closing"]), sums)

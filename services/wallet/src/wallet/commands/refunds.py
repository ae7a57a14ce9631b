"""Purchases taken back (mission W7): refunds of all tiers together, never more than was charged at any."""

from hashlib import sha256
from uuid import UUID

from farthing.wallet.v1 import wallets_pb2
from servicekit import audit
from servicekit.call import current_call
from servicekit.database import Database, driver
from servicekit.faults import fault_point
from servicekit.ids import new_id
from servicekit.problems import not_found
from servicekit.scope import EVERYTHING
from servicekit.telemetry import current_traceparent
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.convert.ledger import result_to_message
from wallet.domain.ledger import Outcome, Posted, Refund, Tier, WalletKey
from wallet.events.ledger import TOPIC, refund_posted
from wallet.store.ledger import open_book, write
from wallet.store.refunds import find_original, with_refunds


async def post_refund(database: Database, request: wallets_pb2.PostRefundRequest) -> wallets_pb2.PostRefundResponse:
    """Posts a refund, once for each request id of the calling service. A refusal is an answer and leaves no trace.

    Problem NOT_FOUND where the original is no purchase.
    """
    asked = request.refund
    tiers = tuple(
        Tier(UUID(tier.buyer_id), UUID(tier.seller_id), tier.net_micros, tier.tax_micros) for tier in asked.tiers
    )
    request_key = f"{current_call().principal.service}:{asked.request_id}"
    body = sha256(asked.SerializeToString(deterministic=True)).digest()
    async with database.transaction(EVERYTHING) as connection:
        ledger = await driver(connection)
        original = await find_original(ledger, UUID(asked.original_transaction_id))
        if original is None:
            raise not_found(f"purchase '{asked.original_transaction_id}'")
        keys = [WalletKey(original.root_id, tier.buyer_id, original.currency) for tier in original.tiers]
        book = await open_book(ledger, keys, [(original.root_id, request_key)])
        refund = Refund(request_key, body, await with_refunds(ledger, original), tiers)
        outcome = book.refund(refund, new_id())
        if isinstance(outcome, Posted) and outcome.lines:
            await write(ledger, book, TOPIC, [refund_posted(refund, outcome, asked.reason, current_traceparent())])
            await _record(connection, refund, outcome, asked)
        await fault_point("wallet.before_refund_commit")
    await fault_point("wallet.after_refund_commit")
    return _answer(asked.request_id, outcome)


async def _record(connection: AsyncConnection, refund: Refund, posted: Posted, asked: wallets_pb2.Refund) -> None:
    purchaser = refund.tiers[0]
    await audit.record(
        connection,
        audit.Change(
            root_id=refund.original.root_id,
            organization_id=refund.original.organization_id,
            action="REFUND_POSTED",
            target_type="transaction",
            target_id=str(refund.original.id),
            after={
                "refund_transaction_id": str(posted.transaction_id),
                "currency": refund.original.currency,
                "net_micros": str(purchaser.net_micros),
                "tax_micros": str(purchaser.tax_micros),
                "reason": asked.reason,
            },
            request_id=asked.request_id,
        ),
    )


def _answer(request_id: str, outcome: Outcome) -> wallets_pb2.PostRefundResponse:
    return wallets_pb2.PostRefundResponse(result=result_to_message(request_id, outcome))

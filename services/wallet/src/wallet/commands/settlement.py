"""What becomes of a top-up, in the caller's transaction: ledger, state and event together, once (mission W4).

Whoever comes here has locked the wallet, then the top-up.
"""

import hashlib

from servicekit import outbox
from servicekit.database import driver
from sqlalchemy.ext.asyncio import AsyncConnection

from wallet.domain import ledger
from wallet.domain import top_ups as rules
from wallet.domain.refusals import Refused
from wallet.domain.top_ups import Method, TopUp
from wallet.events.top_ups import top_up_failed, top_up_settled
from wallet.store import top_ups, wallets
from wallet.store.ledger import post_line


async def settle(connection: AsyncConnection, top_up: TopUp, reference: str) -> TopUp:
    """The money is here: the ledger's line, the hold of an earmarked one, the state and the event.

    Refused where the ledger will not have it.
    """
    recharge = ledger.Recharge(
        request_key=f"top_up:{top_up.id}",
        request_sha256=hashlib.sha256(top_up.id.bytes + top_up.amount.micros.to_bytes(8)).digest(),
        root_id=top_up.root_id,
        wallet_id=top_up.wallet_id,
        organization_id=top_up.organization_id,
        currency=top_up.amount.currency,
        amount_micros=top_up.amount.micros,
        item="Voucher" if top_up.method is Method.VOUCHER else "Top-up",
    )
    posted = await post_line(await driver(connection), recharge)
    if isinstance(posted, ledger.Refusal):
        raise Refused(posted.reason, posted.message.rstrip("."))
    settled = rules.settle(top_up, reference, posted.transaction_id, posted.posted_at)
    await top_ups.save(connection, settled)
    await outbox.add(connection, [top_up_settled(settled, posted)])
    return settled


async def fail(connection: AsyncConnection, top_up: TopUp, reason: str) -> TopUp:
    """The money will not come; `reason` is for people."""
    failed = rules.fail(top_up, reason)
    await top_ups.save(connection, failed)
    await outbox.add(connection, [top_up_failed(failed, await top_ups.now(connection))])
    return failed


async def locked(connection: AsyncConnection, top_up: TopUp) -> TopUp:
    """The top-up as it is now; its wallet is locked before it, as everybody does who needs both."""
    await wallets.lock(connection, top_up.root_id, top_up.wallet_id)
    return await top_ups.lock(connection, top_up)

"""The ledger's messages: charges in, results, balances, entries and transactions out."""

from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from uuid import UUID

# A uuid.UUID that parses and hashes several times as fast.
from asyncpg.pgproto.pgproto import UUID as FastUUID  # noqa: N811
from farthing.wallet.v1 import wallets_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp
from money.messages import money_to_message

from wallet.domain.entries import EntryRow, SellerSums, TransactionRow, WalletState
from wallet.domain.ledger import REQUEST_ID_MAX_CHARACTERS, Charge, Outcome, Refusal, Tier, malformed


def charge_from_message(message: pb.Charge, service: str) -> Charge | Refusal:
    """A charge that `service` asks for, or what is wrong with it whatever the books say."""
    request_id = message.request_id
    if not 1 <= len(request_id) <= REQUEST_ID_MAX_CHARACTERS:
        text = f"request_id must have 1 to {REQUEST_ID_MAX_CHARACTERS} characters; it has {len(request_id)}."
        return Refusal("INVALID_ARGUMENT", text)
    try:
        tiers = tuple(
            [
                Tier._make((_party(tier.buyer_id), _party(tier.seller_id), tier.net_micros, tier.tax_micros))
                for tier in message.tiers
            ]
        )
        order_id = FastUUID(message.order_id) if message.order_id else None
    except ValueError as error:
        return Refusal("INVALID_ARGUMENT", f"buyer_id, seller_id and order_id must be UUIDs: {error}.")
    charge = Charge(
        f"{service}:{request_id}",
        sha256(message.SerializeToString(deterministic=True)).digest(),
        tiers[-1].buyer_id if tiers else FastUUID(bytes(16)),
        message.currency,
        order_id,
        message.order_number,
        message.item,
        tiers,
        message.cloud_phone_id,
    )
    return malformed(charge) or charge


def result_to_message(request_id: str, outcome: Outcome) -> pb.ChargeResult:
    """What became of the charge `request_id`."""
    result = pb.ChargeResult()
    fill_result(result, request_id, outcome)
    return result


def fill_result(result: pb.ChargeResult, request_id: str, outcome: Outcome) -> None:
    """The same, written into an empty message: cheaper than to make one and have it copied into another."""
    result.request_id = request_id
    if isinstance(outcome, Refusal):
        result.refusal.CopyFrom(refusal_to_message(outcome))
        return
    result.transaction_id = str(outcome.transaction_id)
    result.posted_at.CopyFrom(_shared_timestamp(outcome.posted_at))
    result.balance_after_micros = outcome.balance_after_micros


def refusal_to_message(refusal: Refusal) -> pb.ChargeRefusal:
    """Why something was refused, for our own services."""
    return pb.ChargeRefusal(
        reason=refusal.reason,
        message=refusal.message,
        organization_id=_id(refusal.organization_id),
        wallet_id=_id(refusal.wallet_id),
        available_micros=refusal.available_micros,
        needed_micros=refusal.needed_micros,
    )


def balance_to_message(wallet: WalletState, total_micros: int, as_of: datetime, sequence: int) -> pb.Balance:
    """A wallet's balance at an instant; reserved and credit limit are those of now."""
    available = total_micros + wallet.credit_limit_micros - wallet.reserved_micros
    return pb.Balance(
        wallet_id=str(wallet.id),
        total=money_to_message(wallet.currency, total_micros),
        reserved=money_to_message(wallet.currency, wallet.reserved_micros),
        available=money_to_message(wallet.currency, available),
        as_of=timestamp(as_of),
        sequence=sequence,
    )


def entry_to_message(currency: str, entry: EntryRow) -> pb.Entry:
    """One line of a wallet."""
    return pb.Entry(
        transaction_id=str(entry.transaction_id),
        sequence=entry.sequence,
        type=_entry_type(entry.type),
        item=entry.item,
        order_number=entry.order_number,
        order_id=_id(entry.order_id),
        amount=money_to_message(currency, entry.amount_micros),
        balance_after=money_to_message(currency, entry.balance_after_micros),
        posted_at=timestamp(entry.posted_at),
        hash=entry.hash,
        kind=pb.TransactionKind.ValueType(entry.kind),
        cloud_phone_id=entry.cloud_phone_id,
        original_transaction_id=_id(entry.original_id),
    )


def transaction_to_message(transaction: TransactionRow) -> pb.Transaction:
    """A transaction with the postings of the tiers that can be seen; those of each tier sum to zero.

    Clearing is not shown: it is the seller's wallet that gets it.
    """
    message = pb.Transaction(
        id=str(transaction.id),
        type=_entry_type(transaction.type),
        currency=transaction.currency,
        item=transaction.item,
        order_id=_id(transaction.order_id),
        order_number=transaction.order_number,
        posted_at=timestamp(transaction.posted_at),
        kind=pb.TransactionKind.ValueType(transaction.kind),
        cloud_phone_id=transaction.cloud_phone_id,
        original_transaction_id=_id(transaction.original_id),
    )
    earning_wallets = {line.tier: line.wallet_id for line in transaction.lines if line.is_earnings}
    for line in transaction.lines:
        if line.is_earnings:
            continue
        legs = (
            (pb.ACCOUNT_TYPE_WALLET, line.organization_id, line.wallet_id, line.amount_micros),
            (pb.ACCOUNT_TYPE_REVENUE, line.seller_id, None, line.revenue_micros),
            (pb.ACCOUNT_TYPE_WALLET, line.seller_id, earning_wallets.get(line.tier), line.clearing_micros),
            (pb.ACCOUNT_TYPE_TAX_PAYABLE, line.seller_id, None, line.tax_micros),
            (pb.ACCOUNT_TYPE_CASH, line.seller_id, None, line.cash_micros),
            (pb.ACCOUNT_TYPE_CREDITS, line.seller_id, None, line.credits_micros),
        )
        for account_type, organization_id, wallet_id, micros in legs:
            if micros:
                message.postings.add(
                    account_type=account_type,
                    organization_id=str(organization_id),
                    wallet_id=_id(wallet_id),
                    amount=money_to_message(transaction.currency, micros),
                    tier=line.tier,
                )
    return message


def seller_accounts_to_message(
    organization_id: UUID, currency: str, sums: SellerSums, as_of: datetime
) -> pb.SellerAccounts:
    """Sums over a seller's accounts."""
    return pb.SellerAccounts(
        organization_id=str(organization_id),
        cash_received=money_to_message(currency, sums.cash_received_micros),
        revenue=money_to_message(currency, sums.revenue_micros),
        tax_payable=money_to_message(currency, sums.tax_payable_micros),
        cost=money_to_message(currency, sums.cost_micros),
        credits_given=money_to_message(currency, sums.credits_given_micros),
        as_of=timestamp(as_of),
    )


def timestamp(instant: datetime) -> Timestamp:
    """The protobuf form of an instant, to the microsecond."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


@lru_cache(maxsize=16)
def _shared_timestamp(instant: datetime) -> Timestamp:
    # All charges of a batch have the same instant; whoever puts the message into another copies it.
    return timestamp(instant)


@lru_cache(16_384)
def _party(text: str) -> UUID:
    # The same resellers and partners stand in thousands of charges a second.
    return FastUUID(text)


def _entry_type(number: int) -> pb.EntryType.ValueType:
    return pb.EntryType.ValueType(number)


def _id(value: UUID | None) -> str:
    return "" if value is None else str(value)

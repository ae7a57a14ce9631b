"""What a refund may take back of a purchase, and its legs (mission W7). Pure."""

from money import INT64_MAX

from wallet.domain.ledger.types import Refund, Refusal


def unfit(refund: Refund) -> Refusal | None:
    """What is wrong with a refund beside its original and the refunds before it, or None."""
    original = refund.original
    parties = [(tier.buyer_id, tier.seller_id) for tier in refund.tiers]
    if parties != [(tier.buyer_id, tier.seller_id) for tier in original.tiers]:
        return Refusal("CHAIN_MISMATCH", "The tiers of the refund are not those of the purchase.")
    for number, (then, tier) in enumerate(zip(original.tiers, refund.tiers, strict=True), 1):
        _, _, net, tax = tier
        if net < 0 or tax < 0 or net + tax > INT64_MAX:
            message = f"Tier {number}: net and tax must be zero or more."
            return Refusal("AMOUNT_OUT_OF_RANGE", message, tier.buyer_id)
        net_left = then.net_micros - then.refunded_net_micros
        tax_left = then.tax_micros - then.refunded_tax_micros
        if net > net_left or tax > tax_left:
            message = f"With the refunds before it, this is more than was charged at tier {number}."
            left, asked = net_left + tax_left, net + tax
            return Refusal("REFUND_EXCEEDS_CHARGE", message, tier.buyer_id, then.wallet_id, left, asked)
    if not any(tier.net_micros or tier.tax_micros for tier in refund.tiers):
        return Refusal("NOTHING_TO_REFUND", "The refund gives back nothing at any tier.")
    return None


def given_back(refund: Refund, index: int) -> tuple[int, int, int, int, int]:
    """The legs of the buyer's line at `index`: those of its charge turned round."""
    net, tax = refund.tiers[index].net_micros, refund.tiers[index].tax_micros
    cleared = net if refund.original.tiers[index].cleared else 0
    return (net + tax, cleared - net, -tax, 0, -cleared)


def earned_below(refund: Refund, tier: int) -> int:
    """What the buyer of `tier` (1 is the purchaser's) gives back of what it earned in its wallet by the tier below."""
    below = tier - 2
    return refund.tiers[below].net_micros if below >= 0 and refund.original.tiers[below].cleared else 0

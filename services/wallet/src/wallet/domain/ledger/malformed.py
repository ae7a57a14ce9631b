"""What is wrong with a charge whatever the books say. Pure."""

from money import INT64_MAX

from wallet.domain.ledger.types import (
    CLOUD_PHONE_ID_MAX_CHARACTERS,
    ITEM_MAX_CHARACTERS,
    ORDER_NUMBER_MAX_CHARACTERS,
    REQUEST_ID_MAX_CHARACTERS,
    TIERS_MAX,
    Charge,
    Refusal,
)


def malformed(charge: Charge) -> Refusal | None:
    """What is wrong with a charge whatever the books say, or None."""
    texts = (
        ("request_id", charge.request_key, 1, REQUEST_ID_MAX_CHARACTERS + 50),
        ("item", charge.item, 0, ITEM_MAX_CHARACTERS),
        ("order_number", charge.order_number, 0, ORDER_NUMBER_MAX_CHARACTERS),
        ("cloud_phone_id", charge.cloud_phone_id, 0, CLOUD_PHONE_ID_MAX_CHARACTERS),
    )
    for name, text, least, most in texts:
        if not least <= len(text) <= most or "\0" in text:
            message = f"{name} must have {least} to {most} characters, none of them NUL; it has {len(text)}."
            return Refusal("INVALID_ARGUMENT", message)
    currency = charge.currency
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        return Refusal("INVALID_ARGUMENT", f"currency '{currency[:10]}' is not an ISO 4217 code such as EUR.")
    if not 1 <= len(charge.tiers) <= TIERS_MAX:
        return Refusal("INVALID_ARGUMENT", f"A charge has 1 to {TIERS_MAX} tiers; this one has {len(charge.tiers)}.")
    return _malformed_amounts(charge) or _malformed_chain(charge)


def _malformed_amounts(charge: Charge) -> Refusal | None:
    for number, (_, _, net, tax) in enumerate(charge.tiers, 1):
        if net < 0 or tax < 0 or net + tax > INT64_MAX:
            message = f"Tier {number}: net and tax must be zero or more, and their sum at most {INT64_MAX} micros."
            return Refusal("AMOUNT_OUT_OF_RANGE", message)
    if charge.tiers[0].net_micros + charge.tiers[0].tax_micros == 0:
        return Refusal("AMOUNT_OUT_OF_RANGE", "Tier 1: net and tax together must be more than zero.")
    return None


def _malformed_chain(charge: Charge) -> Refusal | None:
    tiers = charge.tiers
    for number in range(1, len(tiers)):
        if tiers[number - 1].seller_id != tiers[number].buyer_id:
            message = f"The seller of tier {number} is not the buyer of tier {number + 1}."
            return Refusal("CHAIN_MISMATCH", message, tiers[number].buyer_id)
    if len({tier.buyer_id for tier in tiers}) != len(tiers):
        return Refusal("CHAIN_MISMATCH", "An organization buys at two tiers of the same charge.")
    return None

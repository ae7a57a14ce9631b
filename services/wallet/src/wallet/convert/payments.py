"""Payment accounts and saved methods <-> farthing.wallet.v1. The names of secrets come in and never go out."""

from dataclasses import replace
from uuid import UUID

import protovalidate
from farthing.wallet.v1 import payments_pb2, wallets_pb2
from servicekit.problems import invalid

from wallet.domain.payments import BankDetails, PaymentAccount, Provider, SavedMethod, StripeSettings

CHANGEABLE = ("display_name", "enabled", "bank", "stripe")
_PROVIDERS = {
    Provider.BANK: payments_pb2.PAYMENT_PROVIDER_BANK,
    Provider.SANDBOX: payments_pb2.PAYMENT_PROVIDER_SANDBOX,
    Provider.STRIPE: payments_pb2.PAYMENT_PROVIDER_STRIPE,
}
_PROVIDER_OF = {number: provider for provider, number in _PROVIDERS.items()}
_METHODS = {
    Provider.BANK: wallets_pb2.TOP_UP_METHOD_MANUAL,
    Provider.SANDBOX: wallets_pb2.TOP_UP_METHOD_SANDBOX,
    Provider.STRIPE: wallets_pb2.TOP_UP_METHOD_PROVIDER,
}
_VALIDATOR = protovalidate.Validator()


def account_from_message(
    message: payments_pb2.PaymentAccount, account_id: UUID, root_id: UUID, seller_id: UUID
) -> PaymentAccount:
    """Reads a new account, checked by the proto's rules."""
    return PaymentAccount(
        id=account_id,
        root_id=root_id,
        seller_id=seller_id,
        provider=_PROVIDER_OF[message.provider],
        display_name=message.display_name,
        enabled=message.enabled,
        bank=_bank(message.bank),
        stripe=_stripe(message.stripe, StripeSettings()),
    )


def changed_account(before: PaymentAccount, request: payments_pb2.UpdatePaymentAccountRequest) -> PaymentAccount:
    """`before` with the fields of the mask as asked; secrets that are not named stay. Problem INVALID_ARGUMENT."""
    paths = frozenset(request.update_mask.paths)
    unknown = sorted(paths - set(CHANGEABLE))
    if unknown or not paths:
        said = f"cannot change {', '.join(unknown)}" if unknown else "names no field"
        text = f"The update mask {said}; it may name {', '.join(CHANGEABLE)}."
        raise invalid(text, {"update_mask": text})
    asked = request.payment_account
    after = before
    if "display_name" in paths:
        after = replace(after, display_name=asked.display_name)
    if "enabled" in paths:
        after = replace(after, enabled=asked.enabled)
    if "bank" in paths:
        after = replace(after, bank=_bank(asked.bank))
    if "stripe" in paths:
        after = replace(after, stripe=_stripe(asked.stripe, before.stripe))
    _check(after)
    return after


def account_to_message(account: PaymentAccount) -> payments_pb2.PaymentAccount:
    """Writes an account, without the names of its secrets."""
    message = payments_pb2.PaymentAccount(
        id=str(account.id),
        seller_id=str(account.seller_id),
        provider=_PROVIDERS[account.provider],
        display_name=account.display_name,
        enabled=account.enabled,
    )
    if account.provider is Provider.BANK:
        message.bank.CopyFrom(bank_to_message(account.bank))
    if account.provider is Provider.STRIPE:
        message.stripe.success_url = account.stripe.success_url
        message.stripe.cancel_url = account.stripe.cancel_url
        message.stripe.has_api_key_secret = bool(account.stripe.api_key_secret)
        message.stripe.has_webhook_secret = bool(account.stripe.webhook_secret)
    if account.created_at is not None:
        message.created_at.FromDatetime(account.created_at)
    return message


def option_of(account: PaymentAccount) -> payments_pb2.PaymentOption:
    """An account as a buyer sees it."""
    option = payments_pb2.PaymentOption(
        method=_METHODS[account.provider],
        payment_account_id=str(account.id),
        display_name=account.display_name,
        can_save_method=account.provider is Provider.STRIPE,
    )
    if account.provider is Provider.BANK:
        option.bank.CopyFrom(bank_to_message(account.bank))
    return option


def bank_to_message(bank: BankDetails) -> payments_pb2.BankDetails:
    """Writes bank details."""
    return payments_pb2.BankDetails(
        account_holder=bank.account_holder,
        iban=bank.iban,
        bic=bank.bic,
        bank_name=bank.bank_name,
        instructions=bank.instructions,
    )


def method_to_message(method: SavedMethod) -> payments_pb2.SavedPaymentMethod:
    """Writes a saved method; what the provider calls it stays here."""
    states = payments_pb2.SavedPaymentMethod
    message = payments_pb2.SavedPaymentMethod(
        id=str(method.id),
        wallet_id=str(method.wallet_id),
        payment_account_id=str(method.payment_account_id),
        provider=_PROVIDERS[method.provider],
        state=states.STATE_ACTIVE if method.is_active else states.STATE_REMOVED,
        display_name=method.display_name,
    )
    if method.created_at is not None:
        message.created_at.FromDatetime(method.created_at)
    return message


def _bank(message: payments_pb2.BankDetails) -> BankDetails:
    return BankDetails(message.account_holder, message.iban, message.bic, message.bank_name, message.instructions)


def _stripe(message: payments_pb2.StripeSettings, before: StripeSettings) -> StripeSettings:
    return StripeSettings(
        success_url=message.success_url,
        cancel_url=message.cancel_url,
        api_key_secret=message.api_key_secret or before.api_key_secret,
        webhook_secret=message.webhook_secret or before.webhook_secret,
    )


def _check(account: PaymentAccount) -> None:
    message = account_to_message(account)
    message.bank.CopyFrom(bank_to_message(account.bank))
    message.stripe.success_url, message.stripe.cancel_url = account.stripe.success_url, account.stripe.cancel_url
    message.stripe.api_key_secret = account.stripe.api_key_secret
    message.stripe.webhook_secret = account.stripe.webhook_secret
    fields = {}
    for violation in _VALIDATOR.collect_violations(message):
        path = violation.proto.field.elements if violation.proto.field else ()
        name = ".".join(["payment_account", *(element.field_name for element in path)])
        fields[name] = violation.proto.message or "is not valid"
    if fields:
        raise invalid("; ".join(f"{field}: {text}" for field, text in fields.items()), fields)

"""Payment accounts, payments through Stripe's SDK and its webhooks: a fake Stripe on loopback, a real PostgreSQL."""

import asyncio
import logging
import random
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from farthing.wallet.v1 import payments_pb2, wallets_pb2
from google.type import money_pb2
from money import Money
from servicekit.paging import Pager
from wallet.clients.registry import payment_providers
from wallet.clients.stripe import from_minor, to_minor
from wallet.commands.top_ups import resolve_top_ups
from wallet.rpc.payments import PaymentsRpc

from .fake_stripe import API_KEY, event, signed
from .shop import PROVIDER, Account, Shop, creation, session_of
from .test_top_ups import FAILED, PENDING, SETTLED, Wallet, asked
from .world import House, Tree, member_of, refused, request_id

BANK, SANDBOX = payments_pb2.PAYMENT_PROVIDER_BANK, payments_pb2.PAYMENT_PROVIDER_SANDBOX
FORGED = ("WEBHOOK_FORGED", grpc.StatusCode.PERMISSION_DENIED)


@pytest.fixture
async def wallet(house: House, tree: Tree) -> Wallet:
    """The customer's wallet, held with the reseller."""
    return await house.wallet_of(tree.customer)


# Accounts


async def test_an_account_is_set_up_and_its_secrets_stay_inside(shop: Shop, tree: Tree) -> None:
    """Given a seller, when it sets up and changes its account, then no answer, list or audit names a secret."""
    request = creation(tree.reseller)
    with member_of(tree.reseller):
        created = await shop.payments.CreatePaymentAccount(request, None)
        assert await shop.payments.CreatePaymentAccount(request, None) == created
        change = payments_pb2.UpdatePaymentAccountRequest(
            request_id=request_id(), payment_account=Account(id=created.id, enabled=False)
        )
        change.payment_account.stripe.webhook_secret = "another-name"
        change.payment_account.stripe.success_url = "https://seller.example/done"
        change.update_mask.paths.extend(["enabled", "stripe"])
        changed = await shop.payments.UpdatePaymentAccount(change, None)
        assert await shop.payments.UpdatePaymentAccount(change, None) == changed
        listed = await shop.payments.ListPaymentAccounts(
            payments_pb2.ListPaymentAccountsRequest(seller_id=tree.reseller.id), None
        )
    assert (changed.enabled, changed.display_name, changed.stripe.success_url) == (
        False,
        "Pay here",
        "https://seller.example/done",
    )
    assert (changed.stripe.has_api_key_secret, changed.stripe.has_webhook_secret) == (True, True)
    assert list(listed.payment_accounts) == [changed]
    stored = (await shop.house.rows("SELECT * FROM payment_accounts WHERE id = :id", id=created.id))[0]
    assert (stored.api_key_secret, stored.webhook_secret) == ("stripe-key", "another-name")
    audited = await shop.house.rows("SELECT * FROM audit_events WHERE target_id = :id ORDER BY id", id=created.id)
    assert [row.action for row in audited] == ["PAYMENT_ACCOUNT_CREATED", "PAYMENT_ACCOUNT_CHANGED"]
    said = f"{created} {changed} {listed} {[(row.before, row.after) for row in audited]}"
    assert not any(secret in said for secret in ("stripe-key", "stripe-webhook", "another-name", API_KEY))


async def test_an_account_by_its_rules(shop: Shop, tree: Tree) -> None:
    """Given what an account cannot be, when it is set up or changed so, then it is refused by its field."""
    with member_of(tree.reseller):
        bank = await shop.payments.CreatePaymentAccount(creation(tree.reseller, BANK), None)
        with refused("INVALID_ARGUMENT") as caught:
            stripe_settings = payments_pb2.StripeSettings(api_key_secret="x")
            await shop.payments.CreatePaymentAccount(creation(tree.reseller, BANK, stripe=stripe_settings), None)
        assert list(caught.value.fields) == ["payment_account.stripe"]
        with refused("INVALID_ARGUMENT", said="DE02120300000000202052") as caught:
            mistyped = payments_pb2.BankDetails(iban="DE02120300000000202052")
            await shop.payments.CreatePaymentAccount(creation(tree.reseller, BANK, bank=mistyped), None)
        assert list(caught.value.fields) == ["payment_account.bank.iban"]
        change = payments_pb2.UpdatePaymentAccountRequest(payment_account=Account(id=bank.id))
        for path, fields in (
            ("bank", {"bank": {"iban": "not one"}}),
            ("stripe", {"stripe": {"api_key_secret": "../other"}}),
            ("display_name", {"display_name": "x" * 101}),
            ("seller_id", {"seller_id": tree.partner.id}),
            ("", {}),
        ):
            request = payments_pb2.UpdatePaymentAccountRequest(
                request_id=request_id(), payment_account=Account(**fields)
            )
            request.payment_account.id = change.payment_account.id
            request.update_mask.paths.extend([path] if path else [])
            with refused("INVALID_ARGUMENT"):
                await shop.payments.UpdatePaymentAccount(request, None)
        production = PaymentsRpc(shop.house.database, Pager("test"), payment_providers(development=False))
        with refused("INVALID_ARGUMENT", said="development"):
            await production.CreatePaymentAccount(creation(tree.reseller, SANDBOX), None)


async def test_accounts_of_others_do_not_exist(shop: Shop, tree: Tree) -> None:
    """Given a reseller's account, when a buyer or a stranger asks for it, then there is none; those above may."""
    account = await shop.account(tree.reseller)
    listing = payments_pb2.ListPaymentAccountsRequest(seller_id=tree.reseller.id)
    for stranger in (tree.customer, tree.sibling):
        with member_of(stranger):
            with refused("NOT_FOUND"):
                await shop.payments.ListPaymentAccounts(listing, None)
            with refused("NOT_FOUND"):
                await shop.payments.CreatePaymentAccount(creation(tree.reseller), None)
            with refused("NOT_FOUND"):
                change = payments_pb2.UpdatePaymentAccountRequest(
                    request_id=request_id(), payment_account=Account(id=account.id)
                )
                change.update_mask.paths.append("enabled")
                await shop.payments.UpdatePaymentAccount(change, None)
    with member_of(tree.partner):
        assert list((await shop.payments.ListPaymentAccounts(listing, None)).payment_accounts) == [account]


async def test_a_buyer_sees_how_to_pay(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a seller without and with accounts, when its buyer asks how to pay, then it sees what can be used."""

    async def options(payments: PaymentsRpc) -> list[Any]:
        with member_of(tree.customer, "member"):
            request = payments_pb2.ListPaymentOptionsRequest(wallet_id=wallet.id)
            return list((await payments.ListPaymentOptions(request, None)).options)

    manual, sandbox = wallets_pb2.TOP_UP_METHOD_MANUAL, wallets_pb2.TOP_UP_METHOD_SANDBOX
    assert [option.method for option in await options(shop.payments)] == [manual, sandbox]
    production = PaymentsRpc(
        shop.house.database, Pager("test"), payment_providers(development=False, secrets_dir=shop.secrets)
    )
    assert [option.method for option in await options(production)] == [manual]
    account = await shop.account(tree.reseller)
    bank = payments_pb2.BankDetails(account_holder="Reseller Ltd", iban="DE02120300000000202051", bic="BYLADEM1001")
    with member_of(tree.reseller):
        await shop.payments.CreatePaymentAccount(creation(tree.reseller, BANK, bank=bank), None)
        await shop.payments.CreatePaymentAccount(creation(tree.reseller, BANK, display_name="Off", enabled=False), None)
    stripe_option, bank_option, *_ = await options(production)
    assert (stripe_option.method, stripe_option.payment_account_id, stripe_option.can_save_method) == (
        PROVIDER,
        account.id,
        True,
    )
    assert (bank_option.method, bank_option.bank) == (manual, bank)
    (shop.secrets / tree.reseller.id / "stripe-key").unlink()
    assert PROVIDER not in [option.method for option in await options(production)]


# Payments


async def test_a_checkout_page_is_paid(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a buyer on a checkout page, when it pays, then the webhook settles the top-up, and its order holds it."""
    account = await shop.account(tree.reseller)
    order_id = str(uuid4())
    created = await shop.checkout(wallet, order_id=order_id, order_number="2026-000042")
    assert (created.state, created.payment_account_id) == (PENDING, account.id)
    assert created.checkout_url.startswith("https://checkout.example/cs_")
    assert created.HasField("checkout_expires_at")
    session = shop.stripe.pay(session_of(shop, created))
    assert session["amount_total"] == 1000
    assert await shop.webhook(account, event("checkout.session.completed", session))
    settled = await shop.get(created)
    assert (settled.state, settled.reference, settled.checkout_url) == (SETTLED, session["payment_intent"], "")
    assert settled.hold_id
    assert await shop.house.balance_micros(wallet) == 10_000_000
    told = (await shop.house.events_of(tree.customer))[-1].top_up_settled
    assert told.top_up == settled


async def test_the_answer_of_a_checkout_is_replayed(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a request for a checkout, when it is repeated at once, later and after payment, then the page is one."""
    account = await shop.account(tree.reseller)
    request = asked(wallet, 10, PROVIDER)
    with member_of(tree.customer):
        answers = await asyncio.gather(*(shop.top_ups.CreateTopUp(request, None) for _ in range(3)))
        session = shop.stripe.pay(session_of(shop, answers[0]))
        await shop.webhook(account, event("checkout.session.completed", session))
        again = await shop.top_ups.CreateTopUp(request, None)
    assert {answer.id for answer in answers} == {again.id}
    assert {answer.checkout_url for answer in answers} == {answers[0].checkout_url}
    assert len([s for s in shop.stripe.sessions.values() if s["metadata"].get("top_up_id") == again.id]) == 1
    off = payments_pb2.UpdatePaymentAccountRequest(request_id=request_id(), payment_account=Account(id=account.id))
    off.update_mask.paths.append("enabled")
    with member_of(tree.reseller):
        await shop.payments.UpdatePaymentAccount(off, None)
    with member_of(tree.customer):
        assert await shop.top_ups.CreateTopUp(request, None) == again
        with refused("PAYMENT_ACCOUNT_UNUSABLE"):
            await shop.top_ups.CreateTopUp(asked(wallet, 10, PROVIDER), None)
    assert await shop.house.balance_micros(wallet) == 10_000_000


async def test_the_job_asks_when_no_webhook_comes(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a payment whose webhook is lost, when the job asks the provider, then the top-up is settled, once."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    await _resolve(shop, created)
    assert (await shop.get(created)).state == PENDING
    session = shop.stripe.pay(session_of(shop, created))
    await _resolve(shop, created)
    assert (await shop.get(created)).state == SETTLED
    assert not await shop.webhook(account, event("checkout.session.completed", session))
    assert await shop.house.balance_micros(wallet) == 10_000_000


async def test_stripe_in_trouble_is_asked_again(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a provider that did the work and answered with an error, when it is asked again, then it is done once."""
    await shop.account(tree.reseller)
    shop.stripe.trouble.append(500)
    created = await shop.checkout(wallet)
    assert (created.state, created.checkout_url) == (PENDING, "")
    await _resolve(shop, created)
    page = (await shop.get(created)).checkout_url
    assert page
    assert len([s for s in shop.stripe.sessions.values() if s["metadata"].get("top_up_id") == created.id]) == 1


async def test_accounts_that_cannot_be_used(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given no account, one of another seller, switched off, or without secrets, when it is used, then refused."""
    request = asked(wallet, 10, PROVIDER)
    with member_of(tree.customer):
        with refused("PAYMENT_ACCOUNT_UNUSABLE", grpc.StatusCode.FAILED_PRECONDITION):
            await shop.top_ups.CreateTopUp(request, None)
        request.payment_account_id = (await shop.account(tree.partner)).id
        with refused("PAYMENT_ACCOUNT_UNUSABLE"):
            await shop.top_ups.CreateTopUp(request, None)
        request.payment_account_id = (await shop.account(tree.reseller, stripe={"success_url": "https://x.example"})).id
        (shop.secrets / tree.reseller.id / "stripe-key").unlink()
        with refused("PAYMENT_ACCOUNT_UNUSABLE") as caught:
            await shop.top_ups.CreateTopUp(request, None)
        assert "stripe-key" not in caught.value.message
        shop.put_secrets(tree.reseller)
        odd = money_pb2.Money(currency_code="EUR", units=1, nanos=1_000_000)
        with refused("AMOUNT_OUT_OF_RANGE", said="finer"):
            await shop.top_ups.CreateTopUp(asked(wallet, odd, PROVIDER), None)


async def test_a_wrong_key_is_told_without_it(
    shop: Shop, tree: Tree, wallet: Wallet, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given a key that Stripe refuses, when somebody pays, then the top-up fails, and nothing tells the key."""
    await shop.account(tree.reseller)
    shop.put_secrets(tree.reseller, key="sk_live_wrong")
    with caplog.at_level(logging.DEBUG):
        failed = await shop.checkout(wallet)
    assert failed.state == FAILED
    told = f"{failed} {await shop.house.events_of(tree.customer)} {caplog.text} {capsys.readouterr()}"
    assert "sk_live_wrong" not in told


def test_amounts_in_stripes_units() -> None:
    """Given amounts, when they are told to Stripe, then in its smallest unit, and back, and never rounded."""
    assert to_minor(Money("EUR", 10_010_000)) == 1001
    assert to_minor(Money("EUR", 10_010_001)) is None
    assert to_minor(Money("JPY", 5_000_000)) == 5
    assert to_minor(Money("JPY", 5_500_000)) is None
    assert to_minor(Money("KWD", 1_001_000)) == 1001
    assert from_minor("eur", 1001) == Money("EUR", 10_010_000)
    assert from_minor("zzz", 1) is None


# Webhooks


async def test_a_webhook_replayed_a_thousand_times_acts_once(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a genuine webhook, when it comes a thousand times, many at once, then the money is here once."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    payload = event("checkout.session.completed", shop.stripe.pay(session_of(shop, created)))
    acted = []
    for _ in range(20):
        acted += await asyncio.gather(*(shop.webhook(account, payload) for _ in range(50)))
    assert sum(acted) == 1
    assert await shop.house.balance_micros(wallet) == 10_000_000
    told = [each for each in await shop.house.events_of(tree.customer) if each.HasField("top_up_settled")]
    assert len(told) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_webhooks_in_any_order(shop: Shop, tree: Tree, wallet: Wallet, seed: int) -> None:
    """Given all events of a payment, a declined try among them, when they come in any order, then it settles once."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    session = shop.stripe.pay(session_of(shop, created))
    intent = shop.stripe.intents[session["payment_intent"]]
    declined = {**intent, "status": "requires_payment_method", "last_payment_error": {"message": "No."}}
    events = [
        event("checkout.session.completed", session),
        event("payment_intent.succeeded", intent),
        event("payment_intent.payment_failed", declined),
        event("payment_intent.created", intent),
        event("charge.succeeded", {"id": "ch_1", "metadata": {}}),
    ]
    order = random.Random(seed).sample(events, len(events))
    acted = [await shop.webhook(account, payload) for payload in order]
    late = event("checkout.session.expired", {**session, "status": "expired"})
    acted.append(await shop.webhook(account, late))
    assert sum(acted) == 1
    settled = await shop.get(created)
    assert (settled.state, settled.reference) == (SETTLED, intent["id"])
    assert await shop.house.balance_micros(wallet) == 10_000_000


async def test_webhooks_and_the_job_at_once(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a payment, when its webhooks, an expiry and the job come at once, then one of them decides, for good."""
    account = await shop.account(tree.reseller)
    for round_ in range(1, 6):
        created = await shop.checkout(wallet, order_id=str(uuid4()))
        session = shop.stripe.pay(session_of(shop, created))
        await shop.house.execute("UPDATE top_ups SET due_at = farthing_now() WHERE id = :id", id=UUID(created.id))
        await asyncio.gather(
            shop.webhook(account, event("checkout.session.completed", session)),
            shop.webhook(account, event("payment_intent.succeeded", shop.stripe.intents[session["payment_intent"]])),
            *(resolve_top_ups(shop.house.database, shop.providers) for _ in range(3)),
        )
        assert not await shop.webhook(account, event("checkout.session.expired", session))
        assert (await shop.get(created)).state == SETTLED
        assert await shop.house.balance_micros(wallet) == round_ * 10_000_000
        held = "SELECT count(*) FROM holds WHERE organization_id = :id AND state = 1"
        assert await shop.house.value(held, id=wallet.organization_id) == round_
    told = [each for each in await shop.house.events_of(tree.customer) if each.HasField("top_up_settled")]
    assert len(told) == 5


async def test_a_checkout_that_is_left_fails(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a checkout page, when its time is over, then the top-up failed, told once."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    session = shop.stripe.sessions[session_of(shop, created)]
    for _ in range(2):
        await shop.webhook(account, event("checkout.session.expired", session))
    left = await shop.get(created)
    assert (left.state, left.failure) == (FAILED, wallets_pb2.TOP_UP_FAILURE_CHECKOUT_ABANDONED)
    assert await shop.house.balance_micros(wallet) == 0
    told = [each for each in await shop.house.events_of(tree.customer) if each.HasField("top_up_failed")]
    assert len(told) == 1


async def test_forged_webhooks_are_refused(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given signatures wrong, old, not yet made, of another body or secret, or no text at all, then each is refused."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    payload = event("checkout.session.completed", shop.stripe.pay(session_of(shop, created)))
    for signature in (
        "x",
        "t=1,v1=00",
        signed(payload, "whsec_another"),
        signed(payload, age_s=400),
        signed(payload, age_s=-400),
        signed(payload + b" "),
        signed(payload).replace("v1=", "v0="),
    ):
        with refused(*FORGED):
            await shop.webhook(account, payload, signature)
    with refused(*FORGED):
        await shop.webhook(account, b"\xff\xfe")
    assert (await shop.get(created)).state == PENDING
    assert await shop.webhook(account, payload)


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"id": 1}',
        b'{"id":1,"type":2,"data":{"object":[]}}',
        b'{"id":"e","type":"checkout.session.completed","data":{"object":"x"}}',
        b'{"id":"e","type":"checkout.session.completed","data":[]}',
    ],
)
async def test_genuine_webhooks_that_say_nothing(shop: Shop, tree: Tree, body: bytes) -> None:
    """Given a body that is no event, when it comes genuinely signed, then it is refused as what it is."""
    account = await shop.account(tree.reseller)
    with refused("INVALID_ARGUMENT") as caught:
        await shop.webhook(account, body)
    assert list(caught.value.fields) == ["payload"]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("checkout.session.completed", {"metadata": [1]}),
        ("checkout.session.completed", {"amount_total": "10"}),
        ("checkout.session.completed", {"amount_total": 1000.5}),
        ("checkout.session.completed", {"amount_total": float("inf")}),
        ("checkout.session.completed", {"currency": ["eur"]}),
        ("checkout.session.completed", {"payment_intent": {}}),
        ("checkout.session.completed", {"payment_intent": "pi_\0"}),
        ("checkout.session.completed", {"payment_intent": "pi_\ud800"}),
        ("checkout.session.completed", {"payment_intent": "p" * 10_000}),
        ("checkout.session.completed", {"payment_intent": 7}),
        ("payment_intent.payment_failed", {"last_payment_error": "x"}),
        ("payment_intent.payment_failed", {"last_payment_error": {"message": "\0"}}),
    ],
)
async def test_genuine_events_of_another_form(
    shop: Shop, tree: Tree, wallet: Wallet, kind: str, wrong: dict[str, Any]
) -> None:
    """Given a payment, when an event tells of it in another form, then it is refused; the right one still acts."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    session = shop.stripe.pay(session_of(shop, created))
    for payload in (event(kind, {**session, **wrong}), event(kind, session, "e\0"), event(kind, session, "e" * 9999)):
        with refused("INVALID_ARGUMENT"):
            await shop.webhook(account, payload)
    assert (await shop.get(created)).state == PENDING
    assert await shop.webhook(account, event("checkout.session.completed", session))


async def test_a_seller_cannot_settle_for_another(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a top-up at one seller, when another's account, genuinely signed, says it is paid, then nothing moves."""
    account = await shop.account(tree.reseller)
    other_account = await shop.account(tree.reseller)
    others = await shop.account(tree.partner)
    created = await shop.checkout(wallet, payment_account_id=account.id)
    session = shop.stripe.pay(session_of(shop, created))
    for foreign in (others, other_account):
        assert not await shop.webhook(foreign, event("checkout.session.completed", session))
        assert not await shop.webhook(foreign, event("checkout.session.expired", session))
    for wrong in ({"amount_total": 999}, {"currency": "usd"}, {"metadata": {}}, {"payment_status": "unpaid"}):
        assert not await shop.webhook(account, event("checkout.session.completed", {**session, **wrong}))
    assert (await shop.get(created)).state == PENDING
    with refused("NOT_FOUND"):
        await shop.webhook(Account(id=str(uuid4())), event("checkout.session.completed", session))
    assert await shop.webhook(account, event("checkout.session.completed", session))


async def test_an_event_that_could_not_be_done_is_done_when_it_comes_again(
    shop: Shop, tree: Tree, wallet: Wallet
) -> None:
    """Given a ledger that refuses the money, when the same event comes after that is mended, then it is settled."""
    account = await shop.account(tree.reseller)
    created = await shop.checkout(wallet)
    payload = event("checkout.session.completed", shop.stripe.pay(session_of(shop, created)))
    balance = "UPDATE wallets SET balance_micros = :micros WHERE id = :id"
    await shop.house.execute(balance, micros=2**63 - 1, id=UUID(wallet.id))
    with refused("AMOUNT_OUT_OF_RANGE"):
        await shop.webhook(account, payload)
    await shop.house.execute(balance, micros=0, id=UUID(wallet.id))
    assert await shop.webhook(account, payload)
    assert await shop.house.balance_micros(wallet) == 10_000_000


# Saved methods


async def test_a_card_is_saved_and_collected_from(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a card that its owner saved, when money is asked for from it, then it is here at once, and once."""
    account = await shop.account(tree.reseller)
    method = await shop.saved(wallet, account)
    assert (method.display_name, method.payment_account_id) == ("Visa ending in 4242, 08/2030", account.id)
    request = asked(wallet, 10, PROVIDER)
    request.payment_method_id = method.id
    with member_of(tree.customer, "member"):
        settled = await shop.top_ups.CreateTopUp(request, None)
        assert await shop.top_ups.CreateTopUp(request, None) == settled
    assert (settled.state, settled.reference[:3]) == (SETTLED, "pi_")
    assert not await shop.webhook(account, event("payment_intent.succeeded", shop.stripe.intents[settled.reference]))
    assert await shop.house.balance_micros(wallet) == 10_000_000


async def test_a_card_is_saved_once(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a setup session, when it is asked for again and its webhook comes many times, then one card is saved."""
    account = await shop.account(tree.reseller)
    request = payments_pb2.CreateSetupSessionRequest(request_id=request_id(), wallet_id=wallet.id)
    with member_of(tree.customer):
        session = await shop.payments.CreateSetupSession(request, None)
        assert await shop.payments.CreateSetupSession(request, None) == session
    done = shop.stripe.save(session.url.rpartition("/")[2])
    event_id = f"evt_{uuid4()}"
    payloads = [event("checkout.session.completed", done, event_id) for _ in range(5)]
    acted = await asyncio.gather(*(shop.webhook(account, payload) for payload in payloads))
    acted.append(await shop.webhook(account, event("checkout.session.completed", done)))
    assert sum(acted) == 1
    strangers = await shop.account(tree.partner)
    assert not await shop.webhook(strangers, event("checkout.session.completed", done))
    with member_of(tree.customer):
        listing = payments_pb2.ListPaymentMethodsRequest(wallet_id=wallet.id)
        assert len((await shop.payments.ListPaymentMethods(listing, None)).payment_methods) == 1


@pytest.mark.parametrize(
    ("provider_method", "failure"),
    [
        ("pm_declined", "DECLINED"),
        ("pm_declined_do_not_honor", "DECLINED"),
        ("pm_declined_insufficient_funds", "INSUFFICIENT_FUNDS"),
        ("pm_declined_expired_card", "CARD_EXPIRED"),
        ("pm_declined_authentication_required", "AUTHENTICATION_REQUIRED"),
    ],
)
async def test_a_declined_card_fails_the_top_up(
    shop: Shop, tree: Tree, wallet: Wallet, provider_method: str, failure: str
) -> None:
    """Given a saved card that is declined, when money is asked for from it, then the top-up failed, and says why."""
    method = await shop.saved(wallet, await shop.account(tree.reseller))
    await shop.house.execute(
        "UPDATE payment_methods SET provider_method = :provider_method WHERE id = :id",
        id=UUID(method.id),
        provider_method=provider_method,
    )
    failed = await shop.checkout(wallet, payment_method_id=method.id)
    assert (failed.state, failed.failure_reason) == (FAILED, "Your card was declined.")
    assert wallets_pb2.TopUpFailure.Name(failed.failure) == f"TOP_UP_FAILURE_{failure}"


async def test_a_removed_card_is_not_used(shop: Shop, tree: Tree, wallet: Wallet) -> None:
    """Given a saved card, when its owner removes it, then nothing can be collected from it; others never could."""
    method = await shop.saved(wallet, await shop.account(tree.reseller))
    theirs = await shop.house.wallet_of(tree.reseller)
    await shop.account(tree.partner)
    with member_of(tree.reseller), refused("NOT_FOUND"):
        request = asked(theirs, 10, PROVIDER)
        request.payment_method_id = method.id
        await shop.top_ups.CreateTopUp(request, None)
    removal = payments_pb2.RemovePaymentMethodRequest(request_id=request_id(), id=method.id)
    with member_of(tree.nephew), refused("NOT_FOUND"):
        await shop.payments.RemovePaymentMethod(removal, None)
    with member_of(tree.customer):
        removed = await shop.payments.RemovePaymentMethod(removal, None)
        assert removed.state == payments_pb2.SavedPaymentMethod.STATE_REMOVED
        request = asked(wallet, 10, PROVIDER)
        request.payment_method_id = method.id
        with refused("NOT_FOUND"):
            await shop.top_ups.CreateTopUp(request, None)
    audited = await shop.house.rows("SELECT action FROM audit_events WHERE target_id = :id", id=method.id)
    assert [row.action for row in audited] == ["PAYMENT_METHOD_REMOVED"]


async def _resolve(shop: Shop, top_up: wallets_pb2.TopUp) -> None:
    await shop.house.execute("UPDATE top_ups SET due_at = farthing_now() WHERE id = :id", id=UUID(top_up.id))
    await resolve_top_ups(shop.house.database, shop.providers)

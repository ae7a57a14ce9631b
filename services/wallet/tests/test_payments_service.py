"""Vouchers, webhooks and automatic top-ups with the service as a process, over mTLS."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import pytest
from farthing.wallet.v1 import payments_pb2, vouchers_pb2, wallets_pb2
from farthing.wallet.v1.payments_pb2_grpc import PaymentServiceStub
from farthing.wallet.v1.vouchers_pb2_grpc import VoucherServiceStub
from farthing.wallet.v1.wallets_pb2_grpc import WalletServiceStub
from local_stack.stack import Stack
from servicekit.testing import eventually

from .ledger_world import World
from .test_service import channel_as, service  # noqa: F401 - fixtures
from .world import eur, request_id


@pytest.mark.system
async def test_vouchers_and_automatic_top_ups_over_the_wire(
    stack: Stack,
    service: dict[str, str],  # noqa: F811
    world: World,
) -> None:
    """Given the running service. When a voucher is used, and rules are set. Then both moneys come, and no more."""
    chain = await world.chain()
    wallet_id = str(chain.wallet_ids[0])
    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        vouchers: Any = VoucherServiceStub(channel)
        payments: Any = PaymentServiceStub(channel)
        wallets: Any = WalletServiceStub(channel)
        lot = await vouchers.CreateVoucherLot(
            vouchers_pb2.CreateVoucherLotRequest(
                request_id=request_id(),
                seller_id=str(chain.organization_ids[1]),
                name="Summer",
                amount=eur(5),
                count=600,
                expires_at=datetime(2999, 1, 1, tzinfo=UTC),
            ),
            timeout=10,
        )
        export = vouchers.ExportVoucherCodes(vouchers_pb2.ExportVoucherCodesRequest(lot_id=lot.id), timeout=10)
        codes = [code.code async for response in export for code in response.codes]
        assert len(set(codes)) == 600
        redeemed = await vouchers.RedeemVoucher(
            vouchers_pb2.RedeemVoucherRequest(request_id=request_id(), wallet_id=wallet_id, code=codes[-1]), timeout=5
        )
        assert redeemed.method == wallets_pb2.TOP_UP_METHOD_VOUCHER
        await payments.SetBalanceRules(
            payments_pb2.SetBalanceRulesRequest(
                request_id=request_id(),
                wallet_id=wallet_id,
                low_balance_threshold=eur(6),
                auto_top_up=payments_pb2.AutoTopUp(threshold=eur(6), amount=eur(20)),
            ),
            timeout=5,
        )

        async def units() -> int:
            balance = await wallets.GetBalance(wallets_pb2.GetBalanceRequest(wallet_id=wallet_id), timeout=5)
            return int(balance.total.units)

        async def is_filled() -> bool:
            return await units() == 25

        await eventually(is_filled)
        options = await payments.ListPaymentOptions(
            payments_pb2.ListPaymentOptionsRequest(wallet_id=wallet_id), timeout=5
        )
        assert [option.method for option in options.options] == [
            wallets_pb2.TOP_UP_METHOD_MANUAL,
            wallets_pb2.TOP_UP_METHOD_SANDBOX,
        ]
        webhook = payments_pb2.ReceiveWebhookRequest(
            payment_account_id=str(uuid4()), payload=b"{}", signature="t=1,v1=00"
        )
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await payments.ReceiveWebhook(webhook, timeout=5)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        assert await units() == 25


@pytest.mark.system
async def test_names_of_secrets_build_no_path(
    stack: Stack,
    service: dict[str, str],  # noqa: F811
    world: World,
) -> None:
    """Given the running service. When a secret is named by a path, or oddly. Then the name is refused."""
    chain = await world.chain()
    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        payments: Any = PaymentServiceStub(channel)
        for name in ("../other", "/etc/passwd", "a/b", ".", "-x", "A", "x" * 64, "a\n", "a\0"):
            account = payments_pb2.PaymentAccount(
                seller_id=str(chain.organization_ids[1]), provider=payments_pb2.PAYMENT_PROVIDER_STRIPE
            )
            account.stripe.api_key_secret = name
            with pytest.raises(grpc.aio.AioRpcError) as odd:
                await payments.CreatePaymentAccount(
                    payments_pb2.CreatePaymentAccountRequest(request_id=request_id(), payment_account=account),
                    timeout=5,
                )
            assert odd.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.system
async def test_a_token_that_nobody_knows_is_refused_at_the_door(
    stack: Stack,
    service: dict[str, str],  # noqa: F811
    world: World,
) -> None:
    """Given the running service. When a top-up is paid by an unknown token. Then the field is named, nothing made."""
    chain = await world.chain()
    wallet_id = str(chain.wallet_ids[0])
    await asyncio.to_thread(stack.start, "wallet", **service)
    async with channel_as(stack, "orders") as channel:
        wallets: Any = WalletServiceStub(channel)
        asked = wallets_pb2.CreateTopUpRequest(
            request_id=request_id(),
            wallet_id=wallet_id,
            amount=eur(5),
            method=wallets_pb2.TOP_UP_METHOD_SANDBOX,
            payment_token="4111",
        )
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await wallets.CreateTopUp(asked, timeout=5)
        assert unknown.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(unknown.value.details()).startswith("payment_token: is none that the sandbox knows")
        made = await wallets.ListTopUps(wallets_pb2.ListTopUpsRequest(wallet_id=wallet_id), timeout=5)
        assert list(made.top_ups) == []

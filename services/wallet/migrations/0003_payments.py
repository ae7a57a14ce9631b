"""Payment accounts, saved methods, provider events, vouchers, balance rules; what a top-up knows of its payment."""

from alembic import op
from servicekit.schema import append_only, grant, row_security, tenant_table

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _top_ups()
    _payment_accounts()
    _payment_methods()
    _payment_events()
    _vouchers()
    _balance_rules()


def _top_ups() -> None:
    op.execute(
        """
        ALTER TABLE top_ups
            DROP CONSTRAINT top_ups_method_check,
            -- farthing.wallet.v1.TopUpMethod
            ADD CONSTRAINT top_ups_method_check CHECK (method BETWEEN 1 AND 4),
            -- The order it is earmarked for, and what holds the money for it since it is here.
            ADD COLUMN order_id uuid,
            ADD COLUMN order_number text NOT NULL DEFAULT '',
            ADD COLUMN hold_id uuid,
            -- The seller's, which may live in another root than the wallet; and the buyer's.
            ADD COLUMN payment_account_id uuid,
            ADD COLUMN payment_method_id uuid,
            ADD COLUMN checkout_url text NOT NULL DEFAULT '',
            ADD COLUMN checkout_expires_at timestamptz,
            -- farthing.wallet.v1.TopUpFailure, where it has failed since there is this column
            ADD COLUMN failure smallint CHECK (failure BETWEEN 1 AND 8),
            -- Why the money is not wanted any more; while it is pending, its payment is being called off.
            ADD COLUMN cancel_reason text NOT NULL DEFAULT '',
            -- What the provider calls it while it is under way.
            ADD COLUMN provider_reference text NOT NULL DEFAULT '',
            -- Asked for by the wallet's balance rules.
            ADD COLUMN automatic boolean NOT NULL DEFAULT false,
            ADD CONSTRAINT top_ups_failure CHECK (failure IS NULL OR state = 3),
            ADD CONSTRAINT top_ups_hold CHECK (hold_id IS NULL OR (state = 2 AND order_id IS NOT NULL)),
            ADD CONSTRAINT top_ups_account CHECK ((method = 3) = (payment_account_id IS NOT NULL))
        """
    )
    op.execute("CREATE UNIQUE INDEX top_ups_automatic ON top_ups (root_id, wallet_id) WHERE automatic AND state = 1")


def _payment_accounts() -> None:
    op.execute(
        """
        CREATE TABLE payment_accounts (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            seller_id uuid NOT NULL,
            -- farthing.wallet.v1.PaymentProvider
            provider smallint NOT NULL CHECK (provider BETWEEN 1 AND 3),
            display_name text NOT NULL,
            enabled boolean NOT NULL,
            account_holder text NOT NULL,
            iban text NOT NULL,
            bic text NOT NULL,
            bank_name text NOT NULL,
            instructions text NOT NULL,
            success_url text NOT NULL,
            cancel_url text NOT NULL,
            -- Names of files in the seller's folder of the service's secrets, never what is in them.
            api_key_secret text NOT NULL CHECK (api_key_secret ~ '^([a-z0-9][a-z0-9-]{0,62})?$'),
            webhook_secret text NOT NULL CHECK (webhook_secret ~ '^([a-z0-9][a-z0-9-]{0,62})?$'),
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, seller_id) REFERENCES organizations (root_id, id)
        )
        """
    )
    op.execute("CREATE INDEX payment_accounts_id ON payment_accounts (id)")
    op.execute("CREATE INDEX payment_accounts_seller ON payment_accounts (seller_id, id)")
    grant("payment_accounts", "SELECT, INSERT, UPDATE")
    tenant_table("payment_accounts", organization_column="seller_id")


def _payment_methods() -> None:
    op.execute(
        """
        CREATE TABLE setup_sessions (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            payment_account_id uuid NOT NULL,
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id)
        )
        """
    )
    op.execute("CREATE INDEX setup_sessions_id ON setup_sessions (id)")
    append_only("setup_sessions")
    tenant_table("setup_sessions")
    op.execute(
        """
        CREATE TABLE payment_methods (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            payment_account_id uuid NOT NULL,
            provider smallint NOT NULL CHECK (provider BETWEEN 1 AND 3),
            -- farthing.wallet.v1.SavedPaymentMethod.State: 1 active, 2 removed
            state smallint NOT NULL DEFAULT 1 CHECK (state IN (1, 2)),
            display_name text NOT NULL,
            -- What the provider calls the buyer and the method.
            provider_customer text NOT NULL,
            provider_method text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id),
            UNIQUE (root_id, payment_account_id, wallet_id, provider_method)
        )
        """
    )
    op.execute("CREATE INDEX payment_methods_id ON payment_methods (id)")
    op.execute("CREATE INDEX payment_methods_wallet ON payment_methods (root_id, wallet_id, id)")
    grant("payment_methods", "SELECT, INSERT, UPDATE")
    tenant_table("payment_methods")


def _payment_events() -> None:
    op.execute(
        """
        CREATE TABLE payment_events (
            root_id uuid NOT NULL,
            payment_account_id uuid NOT NULL,
            -- The provider's id of the event.
            event_id text NOT NULL,
            seller_id uuid NOT NULL,
            received_at timestamptz NOT NULL DEFAULT farthing_now(),
            PRIMARY KEY (root_id, payment_account_id, event_id),
            FOREIGN KEY (root_id, payment_account_id) REFERENCES payment_accounts (root_id, id)
        )
        """
    )
    append_only("payment_events")
    tenant_table("payment_events", organization_column="seller_id")


def _vouchers() -> None:
    op.execute(
        """
        CREATE TABLE voucher_lots (
            root_id uuid NOT NULL,
            id uuid NOT NULL,
            seller_id uuid NOT NULL,
            name text NOT NULL,
            amount_micros bigint NOT NULL CHECK (amount_micros > 0),
            currency text NOT NULL,
            count integer NOT NULL CHECK (count BETWEEN 1 AND 10000),
            created_by_name text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT farthing_now(),
            expires_at timestamptz NOT NULL,
            voided_at timestamptz,
            PRIMARY KEY (root_id, id),
            FOREIGN KEY (root_id, seller_id) REFERENCES organizations (root_id, id)
        )
        """
    )
    op.execute("CREATE INDEX voucher_lots_id ON voucher_lots (id)")
    op.execute("CREATE INDEX voucher_lots_seller ON voucher_lots (seller_id, id)")
    grant("voucher_lots", "SELECT, INSERT, UPDATE (voided_at)")
    tenant_table("voucher_lots", organization_column="seller_id")
    # The platform's vouchers live in its own root and are used in others: no key leads from here to the top-up.
    op.execute(
        """
        CREATE TABLE vouchers (
            root_id uuid NOT NULL,
            lot_id uuid NOT NULL,
            number integer NOT NULL CHECK (number BETWEEN 1 AND 10000),
            seller_id uuid NOT NULL,
            -- SHA-256 of the code; the code itself is nowhere.
            code_sha256 bytea NOT NULL CHECK (octet_length(code_sha256) = 32),
            redeemed_at timestamptz,
            top_up_id uuid,
            PRIMARY KEY (root_id, lot_id, number),
            FOREIGN KEY (root_id, lot_id) REFERENCES voucher_lots (root_id, id),
            UNIQUE (root_id, code_sha256),
            CONSTRAINT vouchers_redeemed CHECK ((redeemed_at IS NULL) = (top_up_id IS NULL))
        )
        """
    )
    op.execute("CREATE INDEX vouchers_code ON vouchers (code_sha256)")
    grant("vouchers", "SELECT, INSERT, UPDATE (redeemed_at, top_up_id)")
    tenant_table("vouchers", organization_column="seller_id")


def _balance_rules() -> None:
    op.execute(
        """
        CREATE TABLE balance_rules (
            root_id uuid NOT NULL,
            wallet_id uuid NOT NULL,
            organization_id uuid NOT NULL,
            low_threshold_micros bigint,
            -- Since the balance is low: the wallet's last line that was looked at, and the most that was reserved.
            low_sequence bigint,
            low_reserved_micros bigint NOT NULL DEFAULT 0,
            auto_threshold_micros bigint,
            auto_amount_micros bigint CHECK (auto_amount_micros > 0),
            auto_payment_method_id uuid,
            auto_sequence bigint,
            auto_reserved_micros bigint NOT NULL DEFAULT 0,
            -- farthing.wallet.v1.AutoTopUp.State: 1 active, 2 retrying, 3 suspended
            auto_state smallint NOT NULL DEFAULT 1 CHECK (auto_state IN (1, 2, 3)),
            auto_failures integer NOT NULL DEFAULT 0 CHECK (auto_failures >= 0),
            auto_last_failure text NOT NULL DEFAULT '',
            auto_next_attempt_at timestamptz,
            auto_last_top_up_id uuid,
            PRIMARY KEY (root_id, wallet_id),
            FOREIGN KEY (root_id, wallet_id) REFERENCES wallets (root_id, id),
            CONSTRAINT balance_rules_auto CHECK ((auto_threshold_micros IS NULL) = (auto_amount_micros IS NULL)),
            CONSTRAINT balance_rules_retrying CHECK ((auto_state = 2) = (auto_next_attempt_at IS NOT NULL))
        )
        """
    )
    grant("balance_rules", "SELECT, INSERT, UPDATE")
    row_security("balance_rules", "sees(organization_id)")

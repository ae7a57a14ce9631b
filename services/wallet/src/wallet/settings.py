"""What wallet reads from its environment, besides what every service does."""

from pathlib import Path

from pydantic import Field
from servicekit.settings import Settings


class WalletSettings(Settings):
    """Each field is the environment variable of the same name, in capitals."""

    # Connections, and so batches in flight, of the posting engine.
    posting_connections: int = Field(default=3, ge=1)
    # The most charges of single calls that are written in one transaction.
    posting_batch_max: int = Field(default=300, ge=1)
    # How long a single call waits for the batch before it, until it goes beside it.
    posting_gather_ms: float = Field(default=20.0, ge=0)
    # Sellers' secrets, `<seller's id>/<name>`; without it no payment provider can be used.
    secrets_dir: Path | None = None
    # Where Stripe answers, if not at Stripe's own address.
    stripe_api_url: str | None = None
    # Above so many whole units of the currency an adjustment needs a second person.
    adjustment_limit_units: int = Field(default=100, ge=0)

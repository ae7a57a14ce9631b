"""What a service reads from its environment. A service adds its own by subclassing."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_PAGE_TOKEN_KEY = "development-only"
PAGE_TOKEN_KEY_MIN = 32

S = TypeVar("S", bound="Settings")


class Settings(BaseSettings):
    """Each field is the environment variable of the same name, in capitals."""

    # An error names the variable at fault, never what the others hold.
    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    farthing_env: Literal["development", "production"] = "production"

    database_url: SecretStr
    owner_database_url: SecretStr | None = None
    database_pool_size: int = 10

    grpc_bind: str
    internal_grpc_bind: str | None = None
    metrics_bind: str | None = None
    public_tls_cert_file: Path | None = None
    public_tls_key_file: Path | None = None

    kafka_bootstrap: str
    kafka_session_timeout_ms: int = 10_000

    jwt_issuer: str
    jwt_audience: str
    jwt_jwks_file: Path
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    page_token_key: SecretStr = SecretStr("")

    max_message_bytes: int = 4 * 1024 * 1024
    max_concurrent_rpcs: int = 1000
    max_deadline_s: float = 30.0
    drain_s: float = 10.0

    log_level: str = "INFO"
    otel_exporter_otlp_endpoint: str | None = None
    trace_sample_ratio: float = 1.0

    @property
    def development(self) -> bool:
        """Reflection, fault points and plaintext listeners are for development alone."""
        return self.farthing_env == "development"

    @model_validator(mode="after")
    def _secrets_outside_development(self) -> "Settings":
        if not self.development and len(self.page_token_key.get_secret_value()) < PAGE_TOKEN_KEY_MIN:
            raise ValueError(
                f"PAGE_TOKEN_KEY is not set or too short: give every replica the same secret of "
                f"{PAGE_TOKEN_KEY_MIN} characters or more"
            )
        if not self.page_token_key.get_secret_value():
            self.page_token_key = SecretStr(DEVELOPMENT_PAGE_TOKEN_KEY)
        if not self.development and not (self.public_tls_cert_file and self.public_tls_key_file):
            raise ValueError(
                "PUBLIC_TLS_CERT_FILE and PUBLIC_TLS_KEY_FILE are not set: "
                "outside development tokens never travel in the clear"
            )
        if self.internal_grpc_bind and not (self.tls_ca_file and self.tls_cert_file and self.tls_key_file):
            raise ValueError(
                "INTERNAL_GRPC_BIND is set, but not TLS_CA_FILE, TLS_CERT_FILE and TLS_KEY_FILE: "
                "the listener for other services asks for their certificates"
            )
        return self


def read_settings(kind: Callable[[], S]) -> S:
    """The settings from the environment. SystemExit that names each variable at fault and says what to do."""
    try:
        return kind()
    except ValidationError as error:
        faults = [
            f"{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" if fault["loc"] else fault["msg"]
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise SystemExit("The environment is not complete.\n" + "\n".join(f"  {fault}" for fault in faults)) from None

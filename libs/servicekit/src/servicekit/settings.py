"""What a service reads from its environment. A service adds its own by subclassing."""

from pathlib import Path
from typing import Literal

from pydantic import SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_PAGE_TOKEN_KEY = "development-only"


class Settings(BaseSettings):
    """Each field is the environment variable of the same name, in capitals."""

    model_config = SettingsConfigDict(extra="ignore")

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
        if not self.page_token_key.get_secret_value():
            if not self.development:
                raise ValueError(
                    "PAGE_TOKEN_KEY is not set: give every replica the same secret of 32 characters or more"
                )
            self.page_token_key = SecretStr(DEVELOPMENT_PAGE_TOKEN_KEY)
        if not self.development and not (self.public_tls_cert_file and self.public_tls_key_file):
            raise ValueError(
                "PUBLIC_TLS_CERT_FILE and PUBLIC_TLS_KEY_FILE are not set: "
                "outside development tokens never travel in the clear"
            )
        return self

"""Given an environment, then a service starts with it, or says what is wrong and what to do."""

from pathlib import Path
from typing import Any

import pytest
from servicekit.settings import Settings, read_settings

COMPLETE = {
    "DATABASE_URL": "postgresql://kit:hunter2@db.test/kit",
    "GRPC_BIND": "127.0.0.1:1",
    "KAFKA_BOOTSTRAP": "kafka.test:9092",
    "JWT_ISSUER": "https://issuer.test",
    "JWT_AUDIENCE": "farthing",
    "JWT_JWKS_FILE": "jwks.json",
    "PAGE_TOKEN_KEY": "k" * 32,
    "PUBLIC_TLS_CERT_FILE": "public.pem",
    "PUBLIC_TLS_KEY_FILE": "public.key",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Sets the complete environment of a production service, changed as asked."""
    monkeypatch.chdir(tmp_path)

    def put(**changes: str | None) -> None:
        for name, value in {**COMPLETE, "FARTHING_ENV": None, "INTERNAL_GRPC_BIND": None, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return put


def test_without_farthing_env_it_is_production(environment: Any) -> None:
    """Given a complete environment that names no FARTHING_ENV, When it is read, Then it is production's."""
    environment()

    assert not read_settings(Settings).development


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PAGE_TOKEN_KEY": None}, ["PAGE_TOKEN_KEY", "every replica", "32"]),
        ({"PAGE_TOKEN_KEY": "short"}, ["PAGE_TOKEN_KEY", "too short"]),
        ({"PUBLIC_TLS_KEY_FILE": None}, ["PUBLIC_TLS_KEY_FILE", "in the clear"]),
        ({"INTERNAL_GRPC_BIND": "127.0.0.1:2"}, ["INTERNAL_GRPC_BIND", "TLS_CA_FILE"]),
        ({"DATABASE_URL": None, "JWT_ISSUER": None}, ["DATABASE_URL", "JWT_ISSUER"]),
        ({"MAX_CONCURRENT_RPCS": "many"}, ["MAX_CONCURRENT_RPCS", "integer"]),
        ({"FARTHING_ENV": "staging"}, ["FARTHING_ENV", "'development' or 'production'"]),
    ],
)
def test_production_refuses_what_is_missing(environment: Any, changes: Any, says: list[str]) -> None:
    """Given production without something it needs, When it starts, Then it says what to do and tells no secret."""
    environment(**changes)

    with pytest.raises(SystemExit) as refused:
        read_settings(Settings)

    assert all(part in str(refused.value) for part in says), refused.value
    assert "hunter2" not in str(refused.value)


def test_secrets_do_not_show(environment: Any) -> None:
    """Given settings with secrets, When they are printed or an error shows them, Then the secrets are not there."""
    environment()
    shown = repr(Settings())  # type: ignore[call-arg]
    environment(PAGE_TOKEN_KEY="hunter3")
    with pytest.raises(ValueError, match="PAGE_TOKEN_KEY") as refused:
        Settings()  # type: ignore[call-arg]

    assert "hunter" not in shown + str(refused.value)


def test_development_needs_no_secret_of_its_own(environment: Any) -> None:
    """Given development without keys, When it is read, Then it stands in a key that production would refuse."""
    environment(FARTHING_ENV="development", PAGE_TOKEN_KEY=None, PUBLIC_TLS_CERT_FILE=None, PUBLIC_TLS_KEY_FILE=None)
    key = read_settings(Settings).page_token_key.get_secret_value()

    environment(PAGE_TOKEN_KEY=key)
    with pytest.raises(SystemExit):
        read_settings(Settings)

"""Every address and development credential of a stack as KEY=value, and the environment of one service."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from local_stack.external import Addresses
from local_stack.layout import SERVICES, State

HOST = "127.0.0.1"
JWT_ISSUER = "https://issuer.farthing.test"
JWT_AUDIENCE = "farthing"
S3_BUCKET = "farthing-archive"
S3_REGION = "us-east-1"

# What a process of ours may take from the shell that started it; everything else is given by name.
_INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)

# What a service reads under the name that the stack's own contract gives it.
_THE_SAME = (
    *("FARTHING_ENV", "KAFKA_BOOTSTRAP", "SMTP_HOST", "SMTP_PORT", "TLS_CA_FILE"),
    *("JWT_ISSUER", "JWT_AUDIENCE", "JWT_JWKS_FILE"),
    *("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_BUCKET"),
)


def of_stack(folder: Path, state: State, external: Addresses, postgres_bin: Path) -> dict[str, str]:
    """The contract that `farthing stack env` prints."""
    values = {"FARTHING_ENV": "development"}
    values |= _postgres(state, external)
    for service in SERVICES:
        name = service.upper()
        values[f"{name}_GRPC"] = f"{HOST}:{state.ports[f'{service}_grpc']}"
        values[f"{name}_INTERNAL_GRPC"] = f"{HOST}:{state.ports[f'{service}_internal_grpc']}"
        values[f"{name}_METRICS"] = f"http://{HOST}:{state.ports[f'{service}_metrics']}/metrics"
    values["KAFKA_BOOTSTRAP"] = external.kafka or f"{HOST}:{state.ports['kafka']}"
    values |= _s3(state, external)
    values |= _smtp(folder, state, external)
    tokens, certificates = folder / "tokens", folder / "tls"
    values |= {
        "JWT_ISSUER": JWT_ISSUER,
        "JWT_AUDIENCE": JWT_AUDIENCE,
        "JWT_JWKS_FILE": str(tokens / "jwks.json"),
        "JWT_SIGNING_KEY_FILE": str(tokens / "signing-key.json"),
        "TLS_CA_FILE": str(certificates / "ca.pem"),
        "TLS_DIR": str(certificates),
        "SECRETS_DIR": str(folder / "secrets"),
        "PSQL": str(postgres_bin / "psql"),
        "PGBENCH": str(postgres_bin / "pgbench"),
    }
    return values


def of_service(stack: Mapping[str, str], service: str) -> dict[str, str]:
    """The whole environment of one service process, made from what `of_stack` returned."""
    name = service.upper()
    # Only wallet may know where sellers' secrets lie.
    its_own = {"SECRETS_DIR": stack["SECRETS_DIR"]} if service == "wallet" else {}
    return {
        **{key: os.environ[key] for key in _INHERITED if key in os.environ},
        **{key: stack[key] for key in _THE_SAME},
        "DATABASE_URL": stack[f"{name}_DATABASE_URL"],
        "OWNER_DATABASE_URL": stack[f"{name}_OWNER_DATABASE_URL"],
        "GRPC_BIND": stack[f"{name}_GRPC"],
        "INTERNAL_GRPC_BIND": stack[f"{name}_INTERNAL_GRPC"],
        "METRICS_BIND": stack[f"{name}_METRICS"].removeprefix("http://").removesuffix("/metrics"),
        "TLS_CERT_FILE": f"{stack['TLS_DIR']}/{service}.pem",
        "TLS_KEY_FILE": f"{stack['TLS_DIR']}/{service}.key",
        "WALLET_TARGET": stack["WALLET_INTERNAL_GRPC"],
        # A killed service's partitions go to its successor after this; production waits longer.
        "KAFKA_SESSION_TIMEOUT_MS": "3000",
        **its_own,
    }


def lines(values: Mapping[str, str]) -> str:
    """`KEY=value` lines, quoted for a POSIX shell.

    The last line is one more assignment to whoever reads lines, and an `export` of all of them to a shell, so that
    one `eval` reaches psql and every other program.
    """
    assignments = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    return "\n".join([*assignments, f"FARTHING_EXPORTED=yes export {' '.join(values)}"])


def _postgres(state: State, external: Addresses) -> dict[str, str]:
    theirs = external.postgres
    host, port = (theirs.host, theirs.port) if theirs else (HOST, state.ports["postgres"])
    values = {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": theirs.user if theirs else "postgres",
        "PGPASSWORD": theirs.password if theirs else state.secrets["postgres"],
    }
    for service in SERVICES:
        for role, variable in (("app", "DATABASE_URL"), ("owner", "OWNER_DATABASE_URL")):
            password = state.secrets[f"{service}_{role}"]
            values[f"{service.upper()}_{variable}"] = (
                f"postgresql://{service}_{role}:{password}@{host}:{port}/{service}"
            )
    return values


def _s3(state: State, external: Addresses) -> dict[str, str]:
    theirs = external.s3
    endpoint = theirs.endpoint if theirs else f"http://{HOST}:{state.ports['s3']}"
    access_key = theirs.access_key if theirs else state.secrets["s3_access_key"]
    secret_key = theirs.secret_key if theirs else state.secrets["s3_secret_key"]
    region = theirs.region if theirs else S3_REGION
    return {
        "S3_ENDPOINT": endpoint,
        "S3_ACCESS_KEY": access_key,
        "S3_SECRET_KEY": secret_key,
        "S3_REGION": region,
        "S3_BUCKET": S3_BUCKET,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": region,
        "AWS_ENDPOINT_URL_S3": endpoint,
    }


def _smtp(folder: Path, state: State, external: Addresses) -> dict[str, str]:
    theirs = external.smtp
    return {
        "SMTP_HOST": theirs.host if theirs else HOST,
        "SMTP_PORT": str(theirs.port if theirs else state.ports["smtp"]),
        "SMTP_MAILDIR": theirs.maildir if theirs else str(folder / "smtp" / "maildir"),
    }

"""Who may call: JWT bearer tokens (RFC 7519, JWKS), client certificates between services, the `access` option."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog
from farthing.options.v1 import access_pb2
from google.protobuf.descriptor import ServiceDescriptor
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from servicekit.call import Principal
from servicekit.problems import denied, unauthenticated

log = structlog.get_logger()

# Signatures with a public key only: a token signed with `none`, or with our public key as an HMAC secret, is refused.
ALGORITHMS = ["ES256", "EdDSA", "RS256", "PS256"]
OPERATOR = "operator"
_CACHE_MAX = 10_000
_LOOK_EVERY_S = 1.0
_LEEWAY_S = 5


class TokenVerifier:
    """Reads bearer tokens. The key file is read again when it changes: new keys count, removed ones stop counting."""

    def __init__(self, jwks_file: Path, issuer: str, audience: str) -> None:
        self._jwks_file = jwks_file
        self._claims = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._keys, self._version = self._read(), self._file_version()
        self._looked_at_s = time.monotonic()
        self._cache: dict[str, tuple[Principal, float]] = {}

    def principal(self, token: str) -> Principal:
        """The caller that `token` names. Raises Problem UNAUTHENTICATED for anything but a good token."""
        if time.monotonic() - self._looked_at_s >= _LOOK_EVERY_S:
            self._follow_the_file()
        cached = self._cache.get(token)
        if cached is not None and cached[1] > time.time():  # the token's own expiry is in wall-clock time
            return cached[0]
        try:
            claims = self._decode(token)
            principal = _principal(claims)
        except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._cache.pop(token, None)
            raise unauthenticated(f"The token is not good here: {_plain(error)}. Get a new one and repeat.") from None
        if len(self._cache) >= _CACHE_MAX:
            self._cache.clear()
        self._cache[token] = (principal, float(str(claims["exp"])) + _LEEWAY_S)
        return principal

    def _decode(self, token: str) -> dict[str, object]:
        decoded = jwt.decode(token, self._keys, algorithms=ALGORITHMS)
        self._claims.validate(decoded.claims)
        return decoded.claims

    def _follow_the_file(self) -> None:
        self._looked_at_s = time.monotonic()
        try:
            version = self._file_version()
            if version == self._version:
                return
            self._keys, self._version = self._read(), version
        except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
            log.error("the keys of tokens cannot be read; the old ones stay", file=self._jwks_file, error=repr(error))
            return
        self._cache.clear()

    def _file_version(self) -> tuple[int, int, int]:
        status = self._jwks_file.stat()
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> KeySet:
        return KeySet.import_key_set(json.loads(self._jwks_file.read_text()))


def _principal(claims: Mapping[str, object]) -> Principal:
    roles = claims.get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise ValueError("it has no list of roles")
    if "service" in roles:
        return Principal(
            kind="service",
            subject=str(claims["sub"]),
            roles=frozenset({"service"}),
            service=str(claims.get("service") or OPERATOR),
        )
    return Principal(
        kind="member",
        subject=str(claims["sub"]),
        name=str(claims.get("name") or ""),
        email=str(claims.get("email") or ""),
        organization_id=UUID(str(claims["org"])),
        roles=frozenset(roles),
    )


def _plain(error: Exception) -> str:
    name = type(error).__name__.removesuffix("Error")
    return {
        "ExpiredToken": "it has expired",
        "BadSignature": "its signature is not from our issuer",
        "InvalidClaim": "it was made for somebody else or for later (iss, aud, nbf)",
        "MissingClaim": "it lacks a claim (iss, aud, exp, sub, org, roles)",
        "Key": "it lacks a claim (iss, aud, exp, sub, org, roles)",
    }.get(name, "it cannot be read")


def service_of(auth_context: Mapping[str, Iterable[bytes]]) -> Principal | None:
    """The service that a verified client certificate names (`<name>.farthing.internal`), or None without one."""
    for name in auth_context.get("x509_subject_alternative_name", ()):
        host = name.decode()
        if host.endswith(".farthing.internal"):
            service = host.removesuffix(".farthing.internal")
            return Principal(kind="service", subject=service, roles=frozenset({"service"}), service=service)
    return None


@dataclass(frozen=True, slots=True)
class AccessRule:
    """A method's `access` option."""

    roles: frozenset[str]
    scope: int
    services: frozenset[str]

    def check(self, principal: Principal) -> None:
        """Raises Problem PERMISSION_DENIED where `principal` may not call the method."""
        if not (self.roles & principal.roles):
            raise denied(f"This call is for {_spoken(self.roles)}; you are {_spoken(principal.roles)}.")
        if principal.kind == "service" and self.services and principal.service not in self.services | {OPERATOR}:
            raise denied(f"This call is for the services {_spoken(self.services)}, not for '{principal.service}'.")
        if principal.kind == "member" and self.scope == access_pb2.SCOPE_ALL:
            raise denied("This call is for Farthing's own services.")


def access_rules(services: Iterable[ServiceDescriptor]) -> dict[str, AccessRule]:
    """The rule of each method, by full name. ValueError for a method without one: nothing is open by omission."""
    rules = {}
    for service in services:
        for method in service.methods:
            name = f"/{service.full_name}/{method.name}"
            option = method.GetOptions().Extensions[access_pb2.access]
            if not option.roles or option.scope == access_pb2.SCOPE_UNSPECIFIED:
                raise ValueError(f"{name} has no option (farthing.options.v1.access) with roles and scope")
            roles = frozenset(access_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in option.roles)
            rules[name] = AccessRule(roles, option.scope, frozenset(option.services))
    return rules


def bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The token of `authorization: Bearer ...` (RFC 6750), or None."""
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str) and value[:7].lower() == "bearer ":
            return value[7:].strip()
    return None


def _spoken(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody we know"

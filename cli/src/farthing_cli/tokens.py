"""Development tokens: JWTs (RFC 7519) signed with the local stack's key, as a member or as a service."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from farthing.wallet.v1.organizations_pb2 import Member, MemberRole, Organization
from joserfc import jwt
from joserfc.jwk import ECKey
from servicekit.ids import new_id

from farthing_cli.environment import need
from farthing_cli.problems import Problem

MEMBER_ROLES = ("boss", "admin", "finance", "member")
SERVICE = "service"
DEFAULT_TTL = timedelta(hours=1)


class TokenMaker:
    """Signs tokens that the services of `environment` take. Problem where there is no signing key."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        file = environment.get("JWT_SIGNING_KEY_FILE")
        if not file:
            raise Problem(
                "JWT_SIGNING_KEY_FILE is not set: only a development stack signs tokens by itself. "
                "In production, get the token from your identity provider."
            )
        try:
            self._key = ECKey.import_key(json.loads(Path(file).read_text()))
        except (OSError, ValueError) as error:
            raise Problem(f"the signing key {file} cannot be read: {error}") from error
        self._issuer = need(environment, "JWT_ISSUER", "who issues tokens")
        self._audience = need(environment, "JWT_AUDIENCE", "for whom tokens are")

    def of_member(self, organization: Organization, member: Member, now: datetime, ttl: timedelta = DEFAULT_TTL) -> str:
        """A token of `member`, valid from `now` for `ttl`."""
        return self._sign(
            now,
            ttl,
            sub=member.id,
            org=organization.id,
            roles=[role_name(member.role)],
            name=member.name,
            email=member.email,
        )

    def of_operator(self, now: datetime, ttl: timedelta = DEFAULT_TTL) -> str:
        """A token of the operator, who sees all tenants."""
        return self._sign(now, ttl, sub="operator", service="operator", roles=[SERVICE], name="Operator")

    def _sign(self, now: datetime, ttl: timedelta, **claims: object) -> str:
        issued_s = int(now.timestamp())
        standard = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": issued_s,
            "exp": issued_s + int(ttl.total_seconds()),
            "jti": str(new_id()),
        }
        header = {"alg": "ES256", "kid": self._key.kid}
        return jwt.encode(header, {**standard, **claims}, self._key)


def role_name(role: "MemberRole.ValueType") -> str:
    """As claims spell it: `boss`, `admin`, `finance`, `member`."""
    return MemberRole.Name(role).removeprefix("MEMBER_ROLE_").lower()


def member_with_role(organization: Organization, role: str) -> Member:
    """The first member with that role; Problem that says which roles there are."""
    for member in organization.members:
        if role_name(member.role) == role:
            return member
    there = ", ".join(f"{role_name(member.role)} ({member.name})" for member in organization.members)
    raise Problem(f"{organization.domain} has no member with the role '{role}'; it has: {there or 'nobody yet'}")

"""`farthing token`: what the services' own verifier reads in it, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servicekit.auth import TokenVerifier

Run = Callable[..., Any]


@pytest.fixture
def verifier(environment: dict[str, str]) -> TokenVerifier:
    return TokenVerifier(Path(environment["JWT_JWKS_FILE"]), environment["JWT_ISSUER"], environment["JWT_AUDIENCE"])


def test_a_member(farthing: Run, verifier: TokenVerifier, people: dict[str, str]) -> None:
    """Given a customer with a boss. When a token for its boss is asked for. Then it names that person, nothing else."""
    done = farthing("token", "--org", "thistle.example", "--role", "boss")
    assert done.returncode == 0, done.stderr
    caller = verifier.principal(done.stdout.strip())
    assert (caller.kind, caller.roles) == ("member", frozenset({"boss"}))
    assert (caller.name, caller.email) == ("Fiona Reid", "fiona@thistle.example")
    assert str(caller.organization_id) == people["thistle.example"]


def test_an_operator(farthing: Run, verifier: TokenVerifier) -> None:
    """Given a development stack. When a service token is asked for as JSON. Then it is one of the operator."""
    done = farthing("token", "--role", "service", "--ttl", "5m", "--json")
    caller = verifier.principal(json.loads(done.stdout)["token"])
    assert (caller.kind, caller.service) == ("service", "operator")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--org", "thistle.example", "--role", "finance"), 1, "it has: boss (Fiona Reid), member (Callum Boyd)"),
        (("--org", "nobody.example", "--role", "boss"), 1, "no organization 'nobody.example'"),
        (("--org", "thistle.example", "--role", "king"), 2, "there is no role 'king'"),
        (("--role", "boss"), 2, "--org DOMAIN"),
        (("--role", "service", "--ttl", "soon"), 2, "'soon' is no time"),
    ],
)
def test_what_cannot_be(
    arguments: tuple[str, ...], exit_code: int, said: str, farthing: Run, people: dict[str, str]
) -> None:
    """Given a world. When a token is asked for that cannot be. Then it says why, and prints no token."""
    done = farthing("token", *arguments)
    assert (done.returncode, done.stdout) == (exit_code, "")
    assert said in done.stderr.replace("\n", " ")


def test_production(farthing: Run) -> None:
    """Given no signing key. When a token is asked for. Then it points at the identity provider."""
    done = farthing("token", "--role", "service", JWT_SIGNING_KEY_FILE="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "identity provider" in done.stderr

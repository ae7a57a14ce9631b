"""What 5 and 18 ask of a mail: it is for whom it must be for, and lies once with everybody who took it."""

from collections.abc import Iterable
from typing import Any

from farthing.wallet.v1.organizations_pb2 import MEMBER_ROLE_BOSS, Organization

from farthing_cli.verify.evidence import Evidence
from farthing_cli.verify.findings import Findings


def check_sent(
    evidence: Evidence, findings: Findings, name: str, mail: Any, wanted: Iterable[str], *, sha256: bytes | None
) -> None:
    """Of a mail that is SENT: `mail` has message_id, recipients, accepted, refused; `sha256` is of the PDF it carries.

    `wanted` are the addresses it must be for; what is none (without an @) does not count.
    """
    findings.count("mails sent")
    meant = folded(email.strip() for email in wanted if "@" in email)
    listed, accepted, refused = folded(mail["recipients"]), folded(mail["accepted"]), folded(mail["refused"])
    findings.count("mailboxes that refused", len(refused))
    findings.expect(
        listed == meant and len(mail["recipients"]) == len(meant),
        f"{name} is for {sorted(listed)}, not for {sorted(meant)}",
    )
    findings.expect(accepted | refused == listed, f"{name} is sent, but {sorted(listed - accepted - refused)} wait")
    if not evidence.environment.get("SMTP_MAILDIR"):
        return
    kept = evidence.shelf.mails(mail["message_id"])
    findings.expect(set(kept) == accepted, f"{name} lies with {sorted(kept)}, not with {sorted(accepted)}")
    for recipient, (copies, found) in kept.items():
        findings.expect(copies == 1, f"{name} lies with {recipient} {copies} times")
        findings.expect(found == sha256, f"{name} to {recipient} carries another PDF than it must")


def addresses(organization: bytes | None, roles: Iterable[int] = (MEMBER_ROLE_BOSS,)) -> list[str]:
    """Of the members with one of these roles, by default the boss; `organization` is a serialized one."""
    wanted = set(roles)
    return [member.email for member in Organization.FromString(organization or b"").members if member.role in wanted]


def folded(texts: Iterable[str]) -> set[str]:
    """Upper and lower case are the same mailbox."""
    return {text.casefold() for text in texts}

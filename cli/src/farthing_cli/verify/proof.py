"""Runs every invariant over one set of evidence."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_stack.furnish import TOPICS_FILE

from farthing_cli.verify import archive, events, ledger, notices, purchases, requests, rest, tenants
from farthing_cli.verify.collect import TopicReader, read_maildir, read_topics
from farthing_cli.verify.evidence import Evidence, Shelf, now, snapshots
from farthing_cli.verify.findings import Findings

Progress = Callable[[str], None]


async def _chains(evidence: Evidence, findings: Findings) -> None:
    await ledger.ledger_chains(evidence, findings)
    await archive.manifest_chains(evidence, findings)


Check = Callable[[Evidence, Findings], Awaitable[None]]
# The numbers are those of the design; what is missing here belongs to what does not exist yet.
INVARIANTS: tuple[tuple[int, str, Check], ...] = (
    (1, "Every transaction sums to zero", ledger.sums_to_zero),
    (2, "A balance is the sum of its lines, within its limit", ledger.balances),
    (3, "The hash chains of ledger and archive are intact", _chains),
    (4, "The same request got one answer", requests.same_answer),
    (5, "A payment is one charge, one receipt, one mail", purchases.one_of_each),
    (7, "The outbox is the topic", events.outbox_is_topic),
    (8, "Every event acted once at every consumer", events.one_effect),
    (15, "Every archived document is locked, with its hash", archive.locked_with_their_hash),
    (16, "No row refers across tenants", tenants.tenants_apart),
    (18, "What people must hear of is told them once", notices.told_once),
)


@dataclass
class Report:
    """What `farthing verify` says."""

    findings: list[Findings]
    waited_s: float
    settled: bool

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return all(found.ok for found in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "ok": self.ok,
            "settled": self.settled,
            "waited_s": round(self.waited_s, 3),
            "invariants": [found.as_dict() for found in self.findings],
        }


async def prove(
    environment: Mapping[str, str], wait_s: float, progress: Progress, found: Callable[[Findings], None]
) -> Report:
    """Checks everything; `found` gets each invariant's findings as they come. Problem where a part does not answer."""
    topics = read_topics(TOPICS_FILE)
    shelf = Shelf()
    results: list[Findings] = []

    def done(findings: Findings) -> None:
        results.append(findings)
        found(findings)

    try:
        async with TopicReader(environment, topics) as kafka:
            async with rest.watch(environment, kafka, topics) as watch:
                waited_s = await rest.settle(watch, wait_s, progress)
            at_rest = Findings(17, "Nothing is left to do")
            rest.nothing_left(watch, at_rest)
            before = await kafka.ends([*topics.owners, *topics.dead_letters()])
            async with snapshots(environment) as databases:
                progress("reading the topics and the mail")
                await kafka.read(shelf, before)
                if maildir := environment.get("SMTP_MAILDIR"):
                    read_maildir(shelf, Path(maildir))
                evidence = Evidence(environment, databases, shelf, topics.consumers, topics.owners, now())
                for number, name, check in INVARIANTS:
                    progress(f"{number} {name}")
                    findings = Findings(number, name)
                    await check(evidence, findings)
                    done(findings)
        done(at_rest)
    finally:
        shelf.close()
    return Report(results, waited_s, settled=not any(watch.left.values()))

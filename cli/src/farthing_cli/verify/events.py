"""Invariants 7 and 8: the outbox is the topic, and every event acted once at each of its consumers."""

from farthing_cli.verify.evidence import SERVICES, Evidence, digest
from farthing_cli.verify.findings import Findings
from farthing_cli.verify.merge import side_by_side

_OUTBOX = "SELECT event_id AS key, topic, key AS partition_key, payload, published_at FROM outbox ORDER BY event_id"
_INBOX = "SELECT event_id AS key, consumer FROM inbox ORDER BY event_id"


async def outbox_is_topic(evidence: Evidence, findings: Findings) -> None:
    """7: what is published is in the topic, byte for byte; the topic holds nothing else; nothing waits."""
    for text in evidence.shelf.malformed:
        findings.fault(f"the message {text}")
    for service in SERVICES:
        topics = [topic for topic, owner in evidence.owners.items() if owner == service]
        outbox, messages = evidence.rows(service, _OUTBOX), evidence.shelf.messages(topics)
        async for event_id, (rows, found) in side_by_side(outbox, messages):
            if len(rows) > 1:
                findings.fault(f"event {event_id} is in the outbox of {service} {len(rows)} times")
            for message in found:
                findings.count("messages")
                findings.count("repeated", message["copies"] - 1)
                if message["differing"]:
                    findings.fault(f"event {event_id} is in {message['topic']} twice with different content")
                if not rows and not message["late"]:
                    findings.fault(f"event {event_id} of {message['topic']} is not in the outbox of {service}")
            for row in rows:
                findings.count("outbox rows")
                same = [message for message in found if message["topic"] == row["topic"]]
                if row["published_at"] is None:
                    findings.fault(f"event {event_id} of {service} waits to be published")
                elif not same:
                    findings.fault(f"event {event_id} of {service} is marked published, but not in {row['topic']}")
                elif same[0]["digest"] != digest(row["partition_key"], row["payload"]):
                    findings.fault(f"event {event_id} says another thing in {row['topic']} than in the outbox")


async def one_effect(evidence: Evidence, findings: Findings) -> None:
    """8: each event of a topic is in the inbox of each of the topic's consumers, once; none is a dead letter."""
    for service in SERVICES:
        topics = [topic for topic, services in evidence.consumers.items() if service in services]
        if not topics:
            continue
        messages, inbox = evidence.shelf.messages(topics), evidence.rows(service, _INBOX)
        async for event_id, (found, processed) in side_by_side(messages, inbox):
            findings.count("effects", len(processed))
            if found and not processed and not found[0]["late"]:
                error = evidence.shelf.dead_letter(service, event_id)
                buried = f" is a dead letter of {service}: {error}" if error is not None else ""
                missing = f" of {found[0]['topic']} was not processed by {service}"
                findings.fault(f"event {event_id}{buried or missing}")
            elif processed and not found:
                findings.fault(f"{processed[0]['consumer']} processed event {event_id}, which is in none of its topics")
            elif len(processed) > 1:
                names = ", ".join(row["consumer"] for row in processed)
                findings.fault(f"event {event_id} was processed {len(processed)} times: {names}")
        findings.count("consumers")

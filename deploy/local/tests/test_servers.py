"""The four servers, real: they come up, keep what they took through kill -9, and stop."""

import asyncio
import json
import mailbox
import shutil
import signal
import smtplib
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from local_stack import Stack, StackError, layout, s3
from local_stack.postgres import enterable, unprivileged_user
from minio.commonconfig import COMPLIANCE
from minio.error import S3Error
from minio.retention import Retention

TOPIC = "farthing.wallet.v1"
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of this module's own, in place of the run's: it is killed and stopped, others hold connections."""
    folder = Path(tempfile.mkdtemp(prefix="farthing-test-"))
    folder.chmod(0o711)
    mine = Stack(folder)
    try:
        mine.up(services=False)
        yield mine
    finally:
        mine.destroy()


def sql(stack: Stack, statement: str, database: str = "postgres", **env: str) -> str:
    values = stack.env()
    command = [values["PSQL"], "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement]
    done = subprocess.run(command, env={**values, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


def as_app(stack: Stack, service: str, statement: str, database: str | None = None) -> str:
    url = stack.env()[f"{service.upper()}_DATABASE_URL"]
    if database:
        url = url.rpartition("/")[0] + "/" + database
    return sql(stack, statement, url)


def send(stack: Stack, recipients: list[str], message_id: str) -> None:
    values = stack.env()
    with smtplib.SMTP(values["SMTP_HOST"], int(values["SMTP_PORT"]), timeout=10) as server:
        body = f"Message-ID: <{message_id}>\r\nSubject: receipt\r\nFrom: a@farthing.test\r\n\r\nGrüße\r\n"
        server.sendmail("a@farthing.test", recipients, body.encode())


def kept(stack: Stack, message_id: str) -> list[mailbox.MaildirMessage]:
    mails = mailbox.Maildir(stack.env()["SMTP_MAILDIR"])
    return [mail for mail in mails if mail["Message-ID"] == f"<{message_id}>"]


async def publish(stack: Stack, value: bytes) -> tuple[int, int]:
    producer = AIOKafkaProducer(bootstrap_servers=stack.env()["KAFKA_BOOTSTRAP"], acks="all", enable_idempotence=True)
    await producer.start()
    try:
        sent = await asyncio.wait_for(producer.send_and_wait(TOPIC, value), 20)
    finally:
        await producer.stop()
    return sent.partition, sent.offset


async def fetch(stack: Stack, partition: int, offset: int) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.env()["KAFKA_BOOTSTRAP"], enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(TOPIC, partition)])
        consumer.seek(TopicPartition(TOPIC, partition), offset)
        record = await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()
    return record.value or b""


def test_everything_answers(stack: Stack) -> None:
    """Given a stack without services. When its status is asked. Then the four servers are well, with pids."""
    parts = stack.status(services=False)
    assert [(part.name, part.health) for part in parts] == [(name, "ok") for name in layout.SERVERS]
    assert all(part.pid for part in parts)


def test_roles_may_do_no_more_than_they_should(stack: Stack) -> None:
    """Given the databases. When a runtime role oversteps. Then it is refused; the owner may migrate."""
    owner = stack.env()["WALLET_OWNER_DATABASE_URL"]
    sql(stack, "CREATE TABLE IF NOT EXISTS probe(n int); DROP TABLE probe", owner)
    assert as_app(stack, "wallet", "SELECT current_user") == "wallet_app"
    for overstep, said in (
        ("CREATE TABLE mine(n int)", "permission denied for schema public"),
        ("CREATE TEMP TABLE mine(n int)", "permission denied to create temporary tables"),
        ("CREATE SCHEMA mine", "permission denied for database wallet"),
    ):
        with pytest.raises(AssertionError, match=said):
            as_app(stack, "wallet", overstep)
    for elsewhere in ("orders", "postgres", "template1"):
        with pytest.raises(AssertionError, match="permission denied for database"):
            as_app(stack, "wallet", "SELECT 1", elsewhere)
    assert sql(stack, "SHOW fsync") == sql(stack, "SHOW synchronous_commit") == "on"


async def test_kill_9_loses_nothing(stack: Stack) -> None:
    """Given a row, a record, a locked object and a mail. When all are killed and `up` again. Then all are there."""
    sql(stack, "CREATE TABLE survivors(n int); INSERT INTO survivors VALUES (42)")
    partition, offset = await publish(stack, b"survivor")
    client, bucket = s3.client(stack.env()), stack.env()["S3_BUCKET"]
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    lock = Retention(COMPLIANCE, until)
    put = client.put_object(
        bucket_name=bucket, object_name="survivor.pdf", data=BytesIO(b"%PDF"), length=4, retention=lock
    )
    message_id = f"{uuid.uuid4()}@farthing.test"
    send(stack, ["a@x.test"], message_id)
    before = {name: stack.pid(name) for name in layout.SERVERS}

    for name in layout.SERVERS:
        stack.kill(name)
    assert {part.health for part in stack.status(services=False)} == {"down"}
    stack.up(services=False)

    assert all(stack.pid(name) not in (None, before[name]) for name in layout.SERVERS)
    assert sql(stack, "SELECT n FROM survivors") == "42"
    assert await fetch(stack, partition, offset) == b"survivor"
    version = {"bucket_name": bucket, "object_name": "survivor.pdf", "version_id": put.version_id}
    answer = client.get_object(**version)
    assert answer.read() == b"%PDF"
    answer.close()
    held = client.get_object_retention(**version)
    assert held is not None
    assert (held.mode, held.retain_until_date) == (COMPLIANCE, until)
    with pytest.raises(S3Error):
        client.remove_object(**version)
    assert len(kept(stack, message_id)) == 1
    sql(stack, "DROP TABLE survivors")


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    """Given a running stack. When `up` is called again. Then the same processes run."""
    before = {name: stack.pid(name) for name in layout.SERVERS}
    stack.up(services=False)
    assert {name: stack.pid(name) for name in layout.SERVERS} == before


def test_a_message_is_kept_once_per_recipient(stack: Stack) -> None:
    """Given an accepted mail. When it is sent again. Then it is kept once, the repeat is written down."""
    message_id = f"{uuid.uuid4()}@farthing.test"
    send(stack, ["payer@x.test", "boss@x.test"], message_id)
    send(stack, ["boss@x.test", "payer@x.test"], message_id)
    stack.kill("smtp")
    stack.start("smtp")
    send(stack, ["payer@x.test", "other@x.test"], message_id)
    assert sorted(mail["X-RcptTo"] for mail in kept(stack, message_id)) == ["other@x.test", "payer@x.test, boss@x.test"]
    duplicates = Path(stack.env()["SMTP_MAILDIR"]).parent / "duplicates.jsonl"
    mine = [json.loads(line) for line in duplicates.read_text().splitlines() if message_id in line]
    assert [sorted(duplicate["recipients"]) for duplicate in mine] == [
        ["boss@x.test", "payer@x.test"],
        ["payer@x.test"],
    ]


@pytest.mark.parametrize(("mailbox_name", "code"), [("refused.one@x.test", 550), ("Deferring@x.test", 451)])
def test_mailboxes_for_tests_refuse_and_defer(stack: Stack, mailbox_name: str, code: int) -> None:
    """Given a mailbox named so. When mail comes for it. Then the server says 550 or 451 and keeps nothing."""
    message_id = f"{uuid.uuid4()}@farthing.test"
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refusal:
        send(stack, [mailbox_name], message_id)
    assert refusal.value.recipients[mailbox_name][0] == code
    assert kept(stack, message_id) == []


def test_a_stopped_process_can_be_stopped(stack: Stack) -> None:
    """Given a server frozen by SIGSTOP. When it is stopped and started. Then it answers again."""
    stack.kill("s3", signal.SIGSTOP)
    stack.restart("s3")
    assert s3.answers(stack.env())


def test_replaced_servers_are_not_started(stack: Stack) -> None:
    """Given the addresses of running servers. When another stack uses them. Then it starts nothing of its own."""
    values = stack.env()
    addresses = {
        "FARTHING_EXTERNAL_POSTGRES": f"postgresql://postgres:{values['PGPASSWORD']}@127.0.0.1:{values['PGPORT']}",
        "FARTHING_EXTERNAL_KAFKA": values["KAFKA_BOOTSTRAP"],
        "FARTHING_EXTERNAL_S3": f"http://{values['S3_ACCESS_KEY']}:{values['S3_SECRET_KEY']}"
        + values["S3_ENDPOINT"].replace("http://", "@"),
        "FARTHING_EXTERNAL_SMTP": f"smtp://127.0.0.1:{values['SMTP_PORT']}?maildir={values['SMTP_MAILDIR']}",
    }
    folder = Path(tempfile.mkdtemp(prefix="farthing-guest-"))
    guest = Stack(folder, external_servers=addresses)
    try:
        guest.up(services=False)
        parts = guest.status(services=False)
        assert [(part.pid, part.kind, part.health) for part in parts] == [(None, "yours", "ok")] * 4
        assert guest.env()["WALLET_DATABASE_URL"] != values["WALLET_DATABASE_URL"]
    finally:
        guest.destroy()
        stack.up(services=False)
    assert as_app(stack, "wallet", "SELECT 1") == "1"


def test_a_taken_port_is_named(stack: Stack) -> None:
    """Given a stack whose kept port somebody took. When it starts. Then the error names port and part."""
    folder = Path(tempfile.mkdtemp(prefix="farthing-taken-"))
    shutil.copy(stack.folder / "state.json", folder)
    late = Stack(folder)
    try:
        with pytest.raises(StackError, match=r"smtp cannot start: port \d+, .* taken by"):
            late.start("smtp")
    finally:
        late.destroy()


def test_down_leaves_no_process(stack: Stack) -> None:
    """Given a running stack. When it goes down and up. Then no process was left, and ports are the same."""
    before = {part.name: (part.pid, part.address) for part in stack.status(services=False)}
    stack.down()
    assert not any(Path(f"/proc/{pid}").exists() for pid, _ in before.values())
    stack.up(services=False)
    assert {part.name: part.address for part in stack.status(services=False)} == {
        name: address for name, (_, address) in before.items()
    }


def test_a_killed_service_comes_back(stack: Stack) -> None:
    """Given a serving service. When it is killed and started with a variable. Then it serves and has it."""
    stack.migrate("usage")
    stack.start("usage")
    first = stack.pid("usage")
    stack.kill("usage")
    assert stack.pid("usage") is None
    stack.start("usage", FARTHING_FAULT="none-of-them")
    second = stack.pid("usage")
    assert second not in (None, first)
    assert b"FARTHING_FAULT=none-of-them" in Path(f"/proc/{second}/environ").read_bytes()
    assert {part.name: part.health for part in stack.status()}["usage"] == "ok"
    stack.restart("usage")
    assert b"FARTHING_FAULT" not in Path(f"/proc/{stack.pid('usage')}/environ").read_bytes()
    stack.stop("usage")


def test_a_service_that_cannot_start_is_named_with_its_last_lines(stack: Stack) -> None:
    """Given a service with a broken setting. When it is started. Then the error holds its name, log and reason."""
    with pytest.raises(StackError, match=r"usage ended while it started; the last lines of .*usage\.log:\n.*\S"):
        stack.start("usage", DATABASE_URL="nonsense")
    assert stack.pid("usage") is None


def test_a_closed_folder_is_not_enterable(tmp_path: Path) -> None:
    """Given a folder only its owner may enter. When PostgreSQL would run as another user. Then it is seen."""
    tmp_path.chmod(0o700)
    assert enterable(tmp_path, None)
    assert enterable(tmp_path, unprivileged_user()) == (unprivileged_user() is None)

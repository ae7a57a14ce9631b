"""The parts of the local stack that need no server."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_stack import artifacts, credentials, environment, external, layout, ports, topics
from local_stack.errors import StackError
from local_stack.processes import Processes, identity


def test_env_lines_survive_the_shell(tmp_path: Path) -> None:
    """Given values with blanks, quotes, dollars. When a shell evaluates them. Then programs get the same values."""
    values = {"PLAIN": "127.0.0.1:5", "ODD": 'it\'s a $HOME `x` "y" \\ z', "EMPTY": ""}
    script = tmp_path / "env"
    script.write_text(environment.lines(values))
    for shell in ("sh", "bash"):
        said = subprocess.run([shell, "-c", f'eval "$(cat {script})"; env'], capture_output=True, text=True, check=True)
        assert {f"{key}={value}" for key, value in values.items()} <= set(said.stdout.splitlines())


def test_env_lines_are_all_assignments() -> None:
    """Given values. When their lines are read by a program. Then each is KEY=value, the values' own first."""
    lines = environment.lines({"A": "1", "B": "2"}).splitlines()
    assert lines[:2] == ["A=1", "B=2"]
    assert all("=" in line for line in lines)


def test_env_lines_may_be_evaluated_unquoted(tmp_path: Path) -> None:
    """Given ordinary values. When `eval $(..)` is typed without quotes. Then every program gets them."""
    script = tmp_path / "env"
    script.write_text(environment.lines({"A": "postgresql://u:p@127.0.0.1:1/x", "B": "2"}))
    said = subprocess.run(["sh", "-c", f"eval $(cat {script}); env"], capture_output=True, text=True, check=True)
    assert "A=postgresql://u:p@127.0.0.1:1/x" in said.stdout.splitlines()
    assert "B=2" in said.stdout.splitlines()


def test_contract_names_every_service(tmp_path: Path) -> None:
    """Given a new stack. When its environment is derived. Then each service finds what it reads there."""
    state = layout.load_or_make(tmp_path)
    stack = environment.of_stack(tmp_path, state, external.read({}), Path("/pg/bin"))
    for service in layout.SERVICES:
        mine = environment.of_service(stack, service)
        assert mine["DATABASE_URL"].startswith(f"postgresql://{service}_app:")
        assert mine["OWNER_DATABASE_URL"].endswith(f"/{service}")
        assert mine["GRPC_BIND"] == stack[f"{service.upper()}_GRPC"]
        assert mine["METRICS_BIND"] == f"127.0.0.1:{state.ports[f'{service}_metrics']}"
        assert mine["WALLET_TARGET"] == stack["WALLET_INTERNAL_GRPC"]
    assert stack["PSQL"] == "/pg/bin/psql"


def test_sellers_secrets_are_wallets_alone(tmp_path: Path) -> None:
    """Given a stack. When its services' environments are derived. Then only wallet's leads to the secrets, kept 700."""
    stack = environment.of_stack(tmp_path, layout.load_or_make(tmp_path), external.read({}), Path("/pg/bin"))
    knowing = [name for name in layout.SERVICES if "SECRETS_DIR" in environment.of_service(stack, name)]
    assert knowing == ["wallet"]
    folder = Path(stack["SECRETS_DIR"])
    for _ in range(2):
        credentials.make_secrets_folder(folder)
        assert folder.stat().st_mode & 0o777 == 0o700


def test_state_is_kept_and_private(tmp_path: Path) -> None:
    """Given a folder with a stack. When its state is read again. Then it is the same, and only ours to read."""
    first = layout.load_or_make(tmp_path)
    assert layout.load_or_make(tmp_path) == first
    assert len(set(first.ports.values())) == len(first.ports)
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0


def test_ports_that_are_taken_are_not_chosen() -> None:
    """Given a listening socket. When ports are chosen. Then its port is not, and they differ."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not ports.is_free(server.getsockname()[1])
        chosen = ports.choose(50)
    assert len(set(chosen)) == 50
    assert all(ports.is_free(port) for port in chosen)


def test_shell_variables_do_not_replace_servers() -> None:
    """Given a shell that evaluated `stack env`. When a stack reads it. Then no server counts as replaced."""
    found = external.read({"PGHOST": "127.0.0.1", "KAFKA_BOOTSTRAP": "127.0.0.1:1", "S3_ENDPOINT": "http://x:1"})
    assert not any(found.replaces(server) for server in layout.SERVERS)


def test_external_addresses_are_read(tmp_path: Path) -> None:
    """Given the four replacing variables. When the environment is derived. Then it holds their addresses."""
    found = external.read(
        {
            "FARTHING_EXTERNAL_POSTGRES": "postgresql://boss:p%40ss@db:6543",
            "FARTHING_EXTERNAL_KAFKA": "k1:9092,k2:9092",
            "FARTHING_EXTERNAL_S3": "http://key:secret@store:9000?region=eu-1",
            "FARTHING_EXTERNAL_SMTP": "smtp://mail:2525",
        }
    )
    stack = environment.of_stack(tmp_path, layout.load_or_make(tmp_path), found, Path("/pg/bin"))
    assert (stack["PGHOST"], stack["PGPORT"], stack["PGPASSWORD"]) == ("db", "6543", "p@ss")
    assert stack["WALLET_DATABASE_URL"].endswith("@db:6543/wallet")
    assert stack["KAFKA_BOOTSTRAP"] == "k1:9092,k2:9092"
    assert (stack["S3_ENDPOINT"], stack["AWS_REGION"]) == ("http://store:9000", "eu-1")
    assert (stack["SMTP_HOST"], stack["SMTP_PORT"]) == ("mail", "2525")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("POSTGRES", "db:5432"), ("S3", "http://store:9000"), ("SMTP", "mail:25")],
)
def test_an_address_without_its_credentials_is_refused(variable: str, value: str) -> None:
    """Given an address that lacks a part. When it is read. Then the error names the variable and its form."""
    with pytest.raises(StackError, match=f"FARTHING_EXTERNAL_{variable} should read"):
        external.read({f"FARTHING_EXTERNAL_{variable}": value})


def test_topics_bring_their_dead_letters(tmp_path: Path) -> None:
    """Given a topic with two consumers. When the file is read. Then each consumer has a dead letter topic."""
    file = tmp_path / "topics.yaml"
    file.write_text("topics:\n- {name: a.v1, owner: a, consumers: [b, c], partitions: 4, retention_ms: 5}\n")
    assert topics.read(file) == [
        topics.Topic("a.v1", 4, 5),
        topics.Topic("a.v1.dlq.b", 1, -1),
        topics.Topic("a.v1.dlq.c", 1, -1),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "a list under `topics:`"),
        ("topics: [{name: a}]", "partitions"),
        ("topics: [{name: a, partitions: 0}]", "at least 1"),
        ("topics: [{name: a, partitions: 1}, {name: a, partitions: 1}]", "twice"),
    ],
)
def test_topics_that_cannot_be_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Given a file with a mistake. When it is read. Then the error says which."""
    file = tmp_path / "topics.yaml"
    file.write_text(text)
    with pytest.raises(StackError, match=said):
        topics.read(file)


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_recycled_pid_is_not_ours(tmp_path: Path) -> None:
    """Given a kept pid that now belongs to another process. When ours is stopped. Then that one lives on."""
    processes = Processes(tmp_path)
    stranger = subprocess.Popen(SLEEP)
    try:
        (tmp_path / "run").mkdir()
        kept = f'{{"pid": {stranger.pid}, "identity": "another boot:1"}}'
        (tmp_path / "run" / "kafka.json").write_text(kept)
        assert processes.pid("kafka") is None
        processes.stop("kafka")
        assert identity(stranger.pid) is not None
    finally:
        stranger.kill()
        stranger.wait()


def test_stop_ends_workers_left_behind(tmp_path: Path) -> None:
    """Given a killed process whose child lives on. When it is stopped. Then the child ends, too."""
    processes = Processes(tmp_path)
    code = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
    leader = processes.start("orders", [sys.executable, "-c", code, *SLEEP], dict(os.environ), cwd=tmp_path)
    while not (said := processes.log_file("orders").read_text()).endswith("\n"):
        assert processes.pid("orders") == leader
    child = int(said)
    processes.send("orders", signal.SIGKILL)
    assert processes.wait_gone("orders", 5)
    assert identity(child) is not None
    processes.stop("orders")
    for _ in range(100):
        if identity(child) is None:
            break
        signal.sigtimedwait([], 0.05)
    assert identity(child) is None
    assert not processes.was_started("orders")


def test_stop_ends_what_ignores_it(tmp_path: Path) -> None:
    """Given a process that ignores SIGTERM. When it is stopped with a bound. Then it is gone soon after."""
    processes = Processes(tmp_path)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    processes.start("usage", [sys.executable, "-c", code], dict(os.environ), cwd=tmp_path)
    while "on" not in processes.log_file("usage").read_text():
        assert processes.pid("usage")
    processes.stop("usage", bound_s=0.3)
    assert processes.pid("usage") is None


def test_what_cannot_be_had_is_said_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given no way to Maven Central and the Go proxy. When the parts are made. Then both are named, none made."""
    monkeypatch.setattr(artifacts, "CACHE", tmp_path)
    for variable, value in (("GOPROXY", "off"), ("https_proxy", "http://127.0.0.1:9")):
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("no_proxy", raising=False)
    said: list[str] = []
    with pytest.raises(StackError) as refusal:
        artifacts.prepare(said.append)
    for hint in ("FARTHING_EXTERNAL_S3=", "FARTHING_EXTERNAL_KAFKA=", "GOPROXY", "Maven Central"):
        assert hint in str(refusal.value)
    assert any("FAILED" in line for line in said)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_second_maker_waits_and_finds_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given two that make the same thing at once. When both are done. Then it was made once."""
    monkeypatch.setattr(artifacts, "CACHE", tmp_path)
    made: list[Path] = []

    def make(result: Path, scratch: Path) -> None:
        made.append(scratch)
        time.sleep(0.1)
        result.write_text("whole")

    def fail(result: Path, scratch: Path) -> None:
        result.write_text("half")
        raise StackError("no luck")

    target = tmp_path / "thing"
    with pytest.raises(StackError):
        artifacts._once(target, fail)
    assert not target.exists()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: artifacts._once(target, make), range(2)))
    assert target.read_text() == "whole"
    assert len(made) == 1
    assert not made[0].exists()

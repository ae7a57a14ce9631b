"""One local stack in one folder: brings its parts up and down, and says how they are."""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from local_stack import (
    artifacts,
    credentials,
    environment,
    external,
    furnish,
    kafka_process,
    layout,
    ports,
    postgres,
    s3,
    services,
    smtp,
)
from local_stack.errors import StackError
from local_stack.processes import Processes

DEFAULT_FOLDER = artifacts.REPOSITORY / ".stack"
READY_BOUND_S = 60.0
POLL_S = 0.1
# Last started, first stopped; services before what they need.
STOP_ORDER = (
    *(name for name in layout.SERVICES if name != "wallet"),
    "wallet",
    "smtp",
    "s3",
    "kafka",
    "postgres",
)
# PostgreSQL's "fast" shutdown: SIGTERM would wait for every client to leave by itself.
STOP_SIGNAL = {"postgres": signal.SIGINT}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class PartStatus:
    """One line of `status`. `health` is `ok`, `down`, or `not answering` if it runs but is silent."""

    name: str
    kind: str
    pid: int | None
    address: str
    health: str
    log: str

    def as_dict(self) -> dict[str, str | int | None]:
        """The same as plain values, for JSON."""
        return asdict(self)


def _silent(_: str) -> None:
    """Progress for those who do not want any."""


class Stack:
    """A stack whose state, data, logs and credentials live in `folder`.

    Args:
        folder: made by `up`; the repository's `.stack` if not given.
        shared_buffers: PostgreSQL's cache; benchmarks use `512MB`.
        topics_file: which topics to create; the repository's `protos/topics.yaml` if not given.
        advertised_kafka: host:port that Kafka tells its clients, for a proxy in front of it.
        external_servers: where FARTHING_EXTERNAL_* are read from; this process's environment if not given.
    """

    def __init__(
        self,
        folder: Path = DEFAULT_FOLDER,
        *,
        shared_buffers: str = "128MB",
        topics_file: Path = furnish.TOPICS_FILE,
        advertised_kafka: str | None = None,
        external_servers: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._shared_buffers = shared_buffers
        self._topics_file = topics_file
        self._advertised_kafka = advertised_kafka
        self._external = external.read(os.environ if external_servers is None else external_servers)
        self._processes = Processes(self.folder)
        self._user = postgres.unprivileged_user()

    # What it is made of

    def env(self) -> dict[str, str]:
        """Every address and development credential. Raises StackError if this folder holds no stack yet."""
        state = layout.load(self.folder)
        if state is None:
            raise StackError(f"there is no stack in {self.folder} yet; start one with: farthing stack up")
        return environment.of_stack(self.folder, state, self._external, postgres.CLIENT_BIN)

    def service_env(self, name: str, **extra: str) -> dict[str, str]:
        """The whole environment of one service process, `extra` variables added or put in place of others."""
        _must_be_a_service(name)
        return {**environment.of_service(self.env(), name), **extra}

    def log_file(self, name: str) -> Path:
        """Where the output of a part goes."""
        return self._processes.log_file(name)

    def pid(self, name: str) -> int | None:
        """The pid of a part, None if it does not run."""
        return self._processes.pid(name)

    # All of it

    def up(self, *, services: bool = True, progress: Progress = _silent) -> None:
        """Starts what does not run and waits until it answers; a second call takes a moment.

        Raises StackError naming every part that did not start, with its last lines; what did start stays up.
        """
        with self._locked():
            ours = [name for name in layout.SERVERS if not self._external.replaces(name)]
            artifacts.prepare(progress, kafka="kafka" in ours, s3="s3" in ours)
            self._make_folder()
            self._together(layout.SERVERS, self._start_server, progress)
            if services:
                self._up_services(progress)

    def _up_services(self, progress: Progress) -> None:
        down = tuple(name for name in layout.SERVICES if not self._is_healthy(name))
        if down:
            progress(f"migrating and starting {', '.join(down)} ...")
            self._together(down, self._up_service, progress)

    def _up_service(self, name: str, progress: Progress) -> None:
        if self._processes.pid(name) is None:
            self.migrate(name)
        self._start_service(name, progress)

    def down(self, *, progress: Progress = _silent) -> None:
        """Stops everything this folder's stack started, cleanly, in order. Safe to repeat."""
        if not self.folder.exists():
            return
        with self._locked():
            running = [name for name in STOP_ORDER if self._processes.was_started(name)]
            leaves = [name for name in running if name in layout.SERVICES and name != "wallet"]
            self._together(tuple(leaves), lambda name, _: self._stop(name), _silent)
            for name in running:
                self._stop(name)
                progress(f"{name} stopped")

    def destroy(self) -> None:
        """Stops everything and removes the folder with all data, also what had to live outside it."""
        self.down()
        shutil.rmtree(postgres.data_folder(self.folder, self._user), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self, *, services: bool = True) -> list[PartStatus]:
        """How each part is, asked now. Raises StackError if this folder holds no stack yet."""
        self.env()
        names = layout.PARTS if services else layout.SERVERS
        with ThreadPoolExecutor(len(names)) as pool:
            return list(pool.map(self._status_of, names))

    # One part

    def start(self, name: str, **extra: str) -> None:
        """Starts one part if it does not run, waits until it answers; `extra` goes to a service."""
        _must_be_a_part(name)
        if name in layout.SERVICES:
            self._start_service(name, _silent, **extra)
        else:
            self._make_folder()
            self._start_server(name, _silent)

    def stop(self, name: str) -> None:
        """Stops one part cleanly; SIGKILL if it does not end in time."""
        _must_be_a_part(name)
        self._stop(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends one part a signal; after SIGKILL, the default, waits until it is gone."""
        _must_be_a_part(name)
        self._processes.send(name, number)
        if number == signal.SIGKILL:
            self._processes.wait_gone(name, 10.0)

    def restart(self, name: str, **extra: str) -> None:
        """Stops and starts one part."""
        self.stop(name)
        self.start(name, **extra)

    def migrate(self, name: str) -> None:
        """Runs a service's migrations as the owner of its database."""
        services.migrate(name, self.service_env(name), self.folder)

    # How

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_folder(self) -> None:
        layout.load_or_make(self.folder)
        furnish.make_credentials(self.folder)
        credentials.make_secrets_folder(self.folder / "secrets")

    def _together(self, names: tuple[str, ...], work: Callable[[str, Progress], None], progress: Progress) -> None:
        if not names:
            return
        failures: list[str] = []
        with ThreadPoolExecutor(len(names)) as pool:
            for name, job in [(name, pool.submit(work, name, progress)) for name in names]:
                error = job.exception()
                if isinstance(error, StackError):
                    failures.append(str(error))
                elif error is not None:
                    raise StackError(f"{name}: {error!r}") from error
        if failures:
            raise StackError("\n".join(failures))

    def _start_server(self, name: str, progress: Progress) -> None:
        started = time.monotonic()
        if self._external.replaces(name):
            self._wait_until_healthy(name)
            verb = "is yours, and answers"
        elif self._processes.pid(name) is None or not self._is_healthy(name):
            self._spawn_server(name)
            verb = f"started in {time.monotonic() - started:.1f} s"
        else:
            verb = "runs already"
        # Every time, because a part may have been killed between its start and this.
        furnish.server(name, self.env(), self._topics_file)
        progress(f"{name} {verb}, {self._address(name)}")

    def _spawn_server(self, name: str) -> None:
        deadline = time.monotonic() + READY_BOUND_S
        while True:
            if self._processes.pid(name) is None:
                self._processes.end_orphans(name)
                self._check_port(name)
                self._run_server(name)
            try:
                self._wait_until_healthy(name)
            except StackError:
                # After kill -9 its children are still there for a moment, and a start then fails.
                if name == "postgres" and self._processes.pid(name) is None and time.monotonic() < deadline:
                    time.sleep(0.5)
                    continue
                raise
            return

    def _run_server(self, name: str) -> None:
        state = layout.load_or_make(self.folder)
        match name:
            case "postgres":
                data = postgres.data_folder(self.folder, self._user)
                password = state.secrets["postgres"]
                program = postgres.install(self._user)
                server = postgres.Postgres(program, data, self._user, state.ports[name], password)
                server.make(self._shared_buffers)
                self._processes.start(name, server.argv(), server.environment, cwd=server.cwd, run_as=self._user)
            case "kafka":
                broker = kafka_process.Broker(
                    artifacts.JAVA_HOME,
                    artifacts.kafka_jars(),
                    artifacts.kafka_archive(),
                    self.folder / "kafka",
                    state.ports["kafka"],
                    state.ports["kafka_controller"],
                    self._advertised_kafka,
                )
                broker.format()
                self._processes.start(name, broker.argv(), broker.environment, cwd=broker.folder)
            case "s3":
                keys = state.secrets["s3_access_key"], state.secrets["s3_secret_key"]
                gateway = s3.S3Server(artifacts.versitygw(), self.folder / "s3", state.ports[name], *keys)
                gateway.make()
                self._processes.start(name, gateway.argv(), gateway.environment, cwd=self.folder)
            case _:
                argv = smtp.argv(state.ports[name], self.folder / "smtp" / "maildir")
                self._processes.start(name, argv, {"PATH": os.defpath, "LANG": "C.UTF-8"}, cwd=self.folder)

    def _start_service(self, name: str, progress: Progress, **extra: str) -> None:
        started = time.monotonic()
        if self._processes.pid(name) is None:
            self._processes.end_orphans(name)
            self._check_port(name)
            argv = [str(services.command(name)), "serve"]
            self._processes.start(name, argv, self.service_env(name, **extra), cwd=self.folder)
        self._wait_until_healthy(name)
        progress(f"{name} started in {time.monotonic() - started:.1f} s, {self._address(name)}")

    def _stop(self, name: str) -> None:
        self._processes.stop(name, first=STOP_SIGNAL.get(name, signal.SIGTERM))

    def _check_port(self, name: str) -> None:
        state = layout.load_or_make(self.folder)
        for key, port in state.ports.items():
            if (key == name or key.startswith(f"{name}_")) and not ports.is_free(port):
                raise StackError(
                    f"{name} cannot start: port {port}, which this stack keeps for it, is taken by "
                    f"{_listener(port)}. Stop that, or remove {self.folder} to begin anew with other ports."
                )

    def _wait_until_healthy(self, name: str) -> None:
        deadline = time.monotonic() + READY_BOUND_S
        theirs = self._external.replaces(name) if name in layout.SERVERS else False
        while not self._is_healthy(name):
            if not theirs and self._processes.pid(name) is None:
                raise StackError(
                    f"{name} ended while it started; the last lines of {self._processes.log_file(name)}:\n"
                    f"{self._processes.log_tail(name)}"
                )
            if time.monotonic() > deadline:
                said = f"\n{self._processes.log_tail(name)}" if not theirs else ""
                raise StackError(f"{name} at {self._address(name)} does not answer after {READY_BOUND_S:.0f} s{said}")
            time.sleep(POLL_S)

    def _is_healthy(self, name: str) -> bool:
        values = self.env()
        match name:
            case "postgres":
                return postgres.answers(values)
            case "kafka":
                return kafka_process.answers(values["KAFKA_BOOTSTRAP"])
            case "s3":
                return s3.answers(values)
            case "smtp":
                return smtp.answers(values["SMTP_HOST"], int(values["SMTP_PORT"]))
        return self._processes.pid(name) is not None and services.answers(values[f"{name.upper()}_GRPC"])

    def _address(self, name: str) -> str:
        values = self.env()
        match name:
            case "postgres":
                return f"{values['PGHOST']}:{values['PGPORT']}"
            case "kafka":
                return values["KAFKA_BOOTSTRAP"]
            case "s3":
                return values["S3_ENDPOINT"]
            case "smtp":
                return f"{values['SMTP_HOST']}:{values['SMTP_PORT']}"
        return values[f"{name.upper()}_GRPC"]

    def _status_of(self, name: str) -> PartStatus:
        theirs = name in layout.SERVERS and self._external.replaces(name)
        pid = None if theirs else self._processes.pid(name)
        silent = "down" if pid is None and not theirs else "not answering"
        health = "ok" if silent != "down" and self._is_healthy(name) else silent
        kind = "yours" if theirs else "service" if name in layout.SERVICES else "server"
        log = "" if theirs else str(self._processes.log_file(name))
        return PartStatus(name, kind, pid, self._address(name), health, log)


def _must_be_a_part(name: str) -> None:
    if name not in layout.PARTS:
        raise StackError(f"there is no part {name!r}; the parts are {', '.join(layout.PARTS)}")


def _must_be_a_service(name: str) -> None:
    if name not in layout.SERVICES:
        raise StackError(f"there is no service {name!r}; the services are {', '.join(layout.SERVICES)}")


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return "another process"
    return "another process"

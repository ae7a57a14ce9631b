"""Background processes with a kept identity: a recycled pid is never taken for, or killed as, one of ours."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local_stack.errors import StackError

STACK_MARK = "FARTHING_STACK"
POLL_S = 0.05


def identity(pid: int) -> str | None:
    """When and in which boot process `pid` started; None if there is none or only its zombie is left.

    On Linux this is the kernel's start time in ticks since boot: unlike a wall clock time it does not
    move when somebody sets the clock.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self").exists() else _identity_without_proc(pid)
    state, threads, start = fields[0], int(fields[17]), fields[19]
    # A leader that has exited looks like a zombie while its other threads are still at work.
    is_dead = state == "X" or (state == "Z" and threads <= 1)
    return None if is_dead else f"{boot}:{start}"


def _identity_without_proc(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True)
class RunAs:
    """The user a server runs as when the stack itself runs as root."""

    name: str
    uid: int
    gid: int


def as_user(run_as: RunAs | None) -> dict[str, Any]:
    """What `subprocess` wants, to run a command as somebody else, without our groups."""
    return {"user": run_as.uid, "group": run_as.gid, "extra_groups": []} if run_as else {}


class Processes:
    """The processes of one stack. Their pids live in `folder/run`, their output in `folder/log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = folder / "run"
        self._log = folder / "log"
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        cwd: Path,
        run_as: RunAs | None = None,
    ) -> int:
        """Starts `argv` in its own session, output appended to its log, and returns its pid."""
        self._run.mkdir(parents=True, exist_ok=True)
        self._log.mkdir(parents=True, exist_ok=True)
        with self.log_file(name).open("ab") as log:
            child: subprocess.Popen[bytes] = subprocess.Popen(
                list(argv),
                env={**environment, STACK_MARK: str(self._folder)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **as_user(run_as),
            )
        self._children[child.pid] = child
        kept = {"pid": child.pid, "identity": identity(child.pid)}
        scratch = self._run / f".{name}.json"
        scratch.write_text(json.dumps(kept))
        scratch.replace(self._run / f"{name}.json")
        return child.pid

    def pid(self, name: str) -> int | None:
        """The pid of the running process `name`, or None if it does not run."""
        kept = self._kept(name)
        if kept is None:
            return None
        pid, mark = kept
        if (child := self._children.get(pid)) is not None:
            # A dead child stays a zombie until somebody asks for its exit code.
            return pid if child.poll() is None else None
        return pid if mark is not None and identity(pid) == mark else None

    def was_started(self, name: str) -> bool:
        """True if `name` was started and not stopped since, whether or not it still runs."""
        return self._kept(name) is not None

    def send(self, name: str, number: int) -> None:
        """Sends a signal to `name`; StackError if it does not run."""
        pid = self.pid(name)
        if pid is None:
            raise StackError(f"{name} does not run, so it cannot be sent {signal.Signals(number).name}")
        os.kill(pid, number)

    def stop(self, name: str, *, first: int = signal.SIGTERM, bound_s: float = 20.0) -> None:
        """Asks `name` to end with `first`, kills it after `bound_s`, then ends what it left behind."""
        pid = self.pid(name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, first)
                # A stopped process (SIGSTOP) would never see the first signal.
                os.kill(pid, signal.SIGCONT)
            if not self.wait_gone(name, bound_s):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.wait_gone(name, 10.0)
        self.end_orphans(name)
        (self._run / f"{name}.json").unlink(missing_ok=True)

    def end_orphans(self, name: str) -> None:
        """Ends what a dead `name` left running in its session, such as the workers of a process pool."""
        kept = self._kept(name)
        if kept is None or self.pid(name) is not None:
            return
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                in_session = os.getsid(process.pid) == kept[0]
                if in_session and process.environ().get(STACK_MARK) == str(self._folder):
                    process.kill()

    def wait_gone(self, name: str, bound_s: float) -> bool:
        """Waits until `name` has ended; False if it still runs after `bound_s`."""
        deadline = time.monotonic() + bound_s
        while self.pid(name) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def log_file(self, name: str) -> Path:
        """Where the output of `name` goes."""
        return self._log / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines `name` wrote, indented, for an error message."""
        try:
            written = self.log_file(name).read_text(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            written = []
        return "\n".join(f"    {line}" for line in written) or "    (it wrote nothing)"

    def _kept(self, name: str) -> tuple[int, str | None] | None:
        try:
            kept = json.loads((self._run / f"{name}.json").read_text())
        except FileNotFoundError:
            return None
        return int(kept["pid"]), kept["identity"]

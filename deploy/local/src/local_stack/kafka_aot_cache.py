"""Makes Kafka's AOT cache (JEP 514): runs a throw-away broker once; later brokers start in half the time."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from local_stack import kafka_process, ports
from local_stack.errors import StackError

START_BOUND_S = 90.0


def make(java_home: Path, jars: Path, result: Path) -> None:
    """Writes the archive to `result`. Raises StackError with the broker's last lines if it does not start."""
    with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
        folder = Path(scratch)
        broker_port, controller_port = ports.choose(2)
        broker = kafka_process.Broker(java_home, jars, None, folder, broker_port, controller_port)
        broker.format()
        log = folder / "broker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                broker.argv(f"-XX:AOTCacheOutput={result}"),
                env=broker.environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_started(process, broker_port, log)
            os.kill(process.pid, signal.SIGTERM)
            process.wait(START_BOUND_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if not result.exists():
        raise StackError("Kafka's AOT cache was not written; run the same command again")


def _wait_until_started(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_BOUND_S
    while not kafka_process.answers(f"127.0.0.1:{port}"):
        if process.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-12:])
            raise StackError(f"Kafka did not start while its AOT cache was made; it said:\n{said}")
        time.sleep(0.2)

"""How one Kafka broker (KRaft, its own controller) is configured, formatted and asked if it is up."""

import asyncio
import base64
import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from local_stack.errors import StackError

T = TypeVar("T")

JAVA_OPTIONS = (
    *("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
    # Of the AOT cache (JEP 514) only the classes are wanted; the cached call adapters do not fit and warn.
    *("-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching"),
)

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# After kill -9 the broker may only return when its old session has ended: 3 s, not the 9 s of the default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG4J = """\
status = WARN
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


@dataclass(frozen=True)
class Broker:
    """One broker whose configuration and data live in `folder`.

    `archive` is the AOT cache to start with, if there is one. `advertised` (host:port) differs from
    the listener when clients must come through a proxy.
    """

    java_home: Path
    jars: Path
    archive: Path | None
    folder: Path
    port: int
    controller_port: int
    advertised: str | None = None

    @property
    def data(self) -> Path:
        """The folder of the broker's logs."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """The broker's whole environment."""
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", "JAVA_HOME": str(self.java_home)}

    def argv(self, *java_options: str) -> list[str]:
        """The command that runs the broker in the foreground."""
        return [*self._java(*java_options), "kafka.Kafka", str(self.folder / "server.properties")]

    def format(self) -> None:
        """Writes the configuration and, the first time, formats the data folder. Safe to repeat."""
        self.folder.mkdir(parents=True, exist_ok=True)
        advertised = self.advertised or f"127.0.0.1:{self.port}"
        (self.folder / "log4j2.properties").write_text(_LOG4J)
        properties = _SERVER_PROPERTIES.format(
            port=self.port, controller_port=self.controller_port, data=self.data, advertised=advertised
        )
        (self.folder / "server.properties").write_text(properties)
        if (self.data / "meta.properties").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        tool = [*self._java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        done = subprocess.run(
            [*tool, "-c", str(self.folder / "server.properties")],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-12:])
            raise StackError(f"Kafka could not format its data folder {self.data}:\n{said}")

    def _java(self, *options: str) -> list[str]:
        archived = [f"-XX:AOTCache={self.archive}"] if self.archive and self.archive.exists() else []
        # Sorted and spelled out: the archive is only good for the very same class path.
        class_path = os.pathsep.join(str(jar) for jar in sorted(self.jars.glob("*.jar")))
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        java = str(self.java_home / "bin" / "java")
        return [java, *JAVA_OPTIONS, *archived, *options, log4j, "-cp", class_path]


def answers(bootstrap: str, timeout_s: float = 3.0) -> bool:
    """True if a broker at `bootstrap` (host:port[,host:port]) serves metadata."""

    async def ask() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=int(timeout_s * 1000))
        try:
            await asyncio.wait_for(admin.start(), timeout_s)
            cluster = await asyncio.wait_for(admin.describe_cluster(), timeout_s)
        except (KafkaError, TimeoutError, OSError):
            return False
        finally:
            await admin.close()
        return bool(cluster["brokers"])

    return run(ask())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end from synchronous code, also from inside a thread that has an event loop."""
    # A broker that is not up yet is expected here; aiokafka logs each attempt as an error.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

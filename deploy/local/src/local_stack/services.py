"""The five services as processes: their command, their migration, and whether they are healthy."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local_stack.errors import StackError

MIGRATION_BOUND_S = 120.0


def command(service: str) -> Path:
    """The console script of a service, beside the Python that runs us."""
    script = Path(sys.executable).with_name(service)
    if not script.exists():
        raise StackError(f"there is no command {script}; run `make install`")
    return script


def migrate(service: str, environment: Mapping[str, str], cwd: Path) -> None:
    """Runs `<service> migrate`. Raises StackError with its last lines if it fails."""
    done = subprocess.run(
        [str(command(service)), "migrate"],
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=MIGRATION_BOUND_S,
    )
    if done.returncode != 0:
        said = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).splitlines()[-15:])
        raise StackError(f"`{service} migrate` ended with {done.returncode}; its last lines:\n{said}")


def answers(address: str, timeout_s: float = 2.0) -> bool:
    """True if the gRPC health service at `address` (host:port) says SERVING."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

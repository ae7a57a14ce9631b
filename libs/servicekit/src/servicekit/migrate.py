"""Brings a service's database to the newest revision, as its owner."""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

_LOCK = 0x4641525448494E47


async def migrate(owner_url: str, migrations: Path) -> list[str]:
    """Runs the revisions in `migrations` that are missing; returns their names. Two at once wait for each other."""
    engine = create_async_engine(make_url(owner_url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_upgrade, migrations)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, migrations: Path) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    done: list[str] = []

    def missing(revision: Any, _context: Any) -> Any:
        steps = scripts._upgrade_revs("head", revision)
        done.extend(Path(step.revision.path).stem for step in steps)
        return steps

    with EnvironmentContext(config, scripts, fn=missing) as environment:
        environment.configure(connection=connection, version_table="migrations", transactional_ddl=True)
        environment.run_migrations()
    return done

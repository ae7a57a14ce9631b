"""What every query here takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Row = Mapping[str, Any]
# A plain connection: the driver under a scoped transaction, or one of the workers' own, which see everything.
Db: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

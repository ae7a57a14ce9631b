"""Named places where a test kills the process, to see that nothing is lost and nothing happens twice.

Armed only in development, by `FARTHING_FAULT=<name>`; a process dies at the first pass.
"""

import os
import signal

_armed = os.environ.get("FARTHING_FAULT", "") if os.environ.get("FARTHING_ENV") == "development" else ""


def fault_point_sync(name: str) -> None:
    """Dies here by SIGKILL where `FARTHING_FAULT` says so: no cleanup, no flush, as a machine that loses power."""
    if _armed and _armed == name:
        os.kill(os.getpid(), signal.SIGKILL)


async def fault_point(name: str) -> None:
    """As `fault_point_sync`, for code on the event loop."""
    fault_point_sync(name)

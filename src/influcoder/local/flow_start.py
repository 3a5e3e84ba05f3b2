"""What the local stack's workers start for each flow run: a child of the process that has imported everything already.

Where that process died, or what it has imported is out of date, the run starts in an interpreter of its own, and says
so in its log.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from influcoder.core.errors import ServiceError
from influcoder.local.fork_client import run, say
from influcoder.local.prefect_api import ask

ENGINE = ("-m", "prefect.engine")
_WARNING = 30


def warm_socket(folder: str | Path) -> Path:
    """Where the process that has imported everything listens.

    Args:
        folder: of the stack.
    """
    return Path(folder).resolve() / "warm.sock"


def _tell(line: str) -> None:
    """Into the worker's output, and into the log of the flow run, which starts whether Prefect hears of it or not."""
    say(line)
    entry = {
        "name": "influcoder.start",
        "level": _WARNING,
        "message": line,
        "timestamp": datetime.now(UTC).isoformat(),
        "flow_run_id": os.environ.get("PREFECT__FLOW_RUN_ID"),
    }
    with suppress(ServiceError, KeyError):
        ask("POST", f"{os.environ['PREFECT_API_URL']}/logs/", [entry])


if __name__ == "__main__":
    run(warm_socket(os.environ["STACK"]), ENGINE, _tell)

"""Which local stack a command talks to, where nobody says which."""

import os
import sys
from pathlib import Path

from influcoder.core.errors import SettingsError
from influcoder.local.stack import Stack

STACKS, LOCAL = Path(".influcoder"), "local"
# Commands that bring up a stack of their own.
MAKERS = ("up", "demo")
_SERVERS = ("INFLUCODER_STORE__ENDPOINT", "INFLUCODER_MLFLOW__TRACKING_URI")


def choose_stack(named: str | None, command: str | None) -> str:
    """The name of the stack: what was named, `local`, or the only other one that runs, which is then said.

    Args:
        named: what the user said.
        command: that will talk to it.
    Raises:
        SettingsError: several others run.
    """
    if named or command in MAKERS or any(os.environ.get(name) for name in _SERVERS):
        return named or LOCAL
    running = sorted(path.name for path in STACKS.iterdir() if Stack(path).pid) if STACKS.is_dir() else []
    if not running or LOCAL in running:
        return LOCAL
    if len(running) > 1:
        raise SettingsError(
            f"the stacks {', '.join(running)} run, and none of them is called {LOCAL}.",
            f"Say which one is meant: influcoder --stack {running[0]} {command or ''}".rstrip(),
        )
    print(f"using the stack {running[0]}, the only one that runs (--stack {running[0]})", file=sys.stderr)
    return running[0]


def current_stack() -> Stack:
    """The stack that `--stack` or `$INFLUCODER_STACK` names."""
    return Stack(STACKS / (os.environ.get("INFLUCODER_STACK") or LOCAL))

"""Whether a process that left its mark somewhere still runs, so that what it left half done can be closed."""

import os
import socket
from pathlib import Path


def mark() -> str:
    """What tells this process from every other one: host, process id, and when it was started."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def is_gone(marked: str) -> bool:
    """Whether a process of this host has ended; False where nobody here can know.

    Args:
        marked: what `mark` gave in that process.
    """
    parts = marked.split(" ")
    if len(parts) != 3 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return False
    return _started(int(parts[1])) != parts[2]


def _started(pid: int) -> str:
    """Clock ticks since boot at the start of a process; empty where it does not run.

    No library tells them: psutil says when by the clock of the machine, which may be set while the process runs.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        # The command's name stands in brackets and may hold spaces.
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "" if Path("/proc/self").exists() else "?"
    return "" if fields[0] == "Z" else fields[19]

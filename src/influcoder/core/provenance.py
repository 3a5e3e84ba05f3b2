"""Which code did the work, when, and for whom."""

import getpass
import os
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path


@cache
def code_commit() -> str:
    """The commit of this project, `-dirty` where files differ from it; `unknown` outside a checkout.

    `INFLUCODER_COMMIT` wins, for images that carry no repository.
    """
    if given := os.environ.get("INFLUCODER_COMMIT"):
        return given
    folder = Path(__file__).resolve().parents[3]
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit or not (folder / "prefect.yaml").is_file():
        return "unknown"
    return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def person() -> str:
    """Who is at the keyboard: `$INFLUCODER_ACTOR`, else the user of this machine."""
    if given := os.environ.get("INFLUCODER_ACTOR"):
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

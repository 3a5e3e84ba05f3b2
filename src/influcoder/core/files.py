"""Files on this machine: temporary folders, results that are whole or not there, the cache, and digests."""

import glob
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influcoder.core.errors import SettingsError
from influcoder.core.processes import is_gone, mark

logger = logging.getLogger(__name__)
_PREFIX, _PROCESS = "influcoder-work-", "process"
# What a copy is called until it is whole, and when a killed process is sure to have left it.
PART = ".part-"
_STALE_SECONDS = 24 * 3600


@contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder below `$TMPDIR`, gone at the end; those that killed processes left there go now."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_PROCESS}"):
        try:
            if is_gone(left.read_text()):
                shutil.rmtree(left.parent, ignore_errors=True)
        except OSError:
            # Another process is quicker, or it is somebody else's.
            continue
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        Path(name, _PROCESS).write_text(mark())
        folder = Path(name, "work")
        folder.mkdir()
        yield folder


def refuse_taken(path: Path) -> None:
    """Say that a result's folder is taken, before the work.

    Raises:
        SettingsError: it is there already.
    """
    if path.exists():
        raise SettingsError(f"{path} is there already.", "Name a folder that is not there yet.")


@contextmanager
def whole(path: Path, shared: bool = False) -> Iterator[Path]:
    """Where to write a file or a folder that takes its name when the body ends, and is gone where the body fails.

    Args:
        path: the name; a file that has it is replaced at once.
        shared: whether other processes write the same folder, and the one that is ready first stands.
    Raises:
        OSError: a folder has the name, and the two are not shared.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}{PART}{os.getpid()}-{threading.get_ident()}")
    _remove(part)
    try:
        yield part
        try:
            part.replace(path)
        except OSError:
            if not (shared and path.is_dir()):
                raise
    finally:
        _remove(part)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is on the disk, as it was or as it is now, whenever the process or the machine dies."""
    with whole(path) as part, part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside a result's, which takes its name when all is written; what a killed run left goes first.

    Raises:
        SettingsError: the result's folder is there already.
    """
    refuse_taken(path)
    for left in path.parent.glob(f"{glob.escape(path.name)}{PART}*"):
        _remove(left)
    with whole(path) as part:
        part.mkdir()
        yield part


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def files_in(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of the files of a folder."""
    return tuple(seen(path) for path in sorted(folder.glob("*")) if path.is_file()) if folder.is_dir() else ()


def seen(path: Path) -> tuple[str, int, int]:
    """Name, size and time of change of a file; both are -1 where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return str(path), -1, -1
    return str(path), found.st_size, found.st_mtime_ns


def cache_folder() -> Path:
    """Where things are kept that can be made again: `$INFLUCODER_CACHE`, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("INFLUCODER_CACHE") or Path(home, "influcoder"))


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and the content of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return whole.hexdigest()


def prune(folder: Path, copies: int) -> None:
    """Keep the copies that were used last, and none that a killed process began a day ago.

    Args:
        folder: holds the copies.
        copies: how many stay.
    """
    found = {path: path.stat().st_mtime for path in folder.iterdir() if path.is_dir()}
    whole = sorted((path for path in found if PART not in path.name), key=lambda path: found[path], reverse=True)
    stale = [path for path, used in found.items() if PART in path.name and time.time() - used > _STALE_SECONDS]
    for path in (*whole[copies:], *stale):
        logger.info("deleting %s, a copy that was not used lately", path)
        shutil.rmtree(path, ignore_errors=True)

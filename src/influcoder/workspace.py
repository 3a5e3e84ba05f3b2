"""Folders: temporary ones for work on the way, and those of results, which are whole or not there."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influcoder.alive import is_gone, mark
from influcoder.errors import SettingsError

_PREFIX, _PROCESS = "influcoder-work-", "process"


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
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside a result's, which takes its name when all is written; what a killed run left goes first.

    Raises:
        SettingsError: the result's folder is there already.
    """
    refuse_taken(path)
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    part.rename(path)

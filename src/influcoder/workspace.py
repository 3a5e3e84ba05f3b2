"""Temporary folders for work on the way, which outlive no process by long."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influcoder.alive import is_gone, mark

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

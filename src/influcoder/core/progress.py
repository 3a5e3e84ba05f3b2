"""Progress of long work: a bar in a terminal, a log line every few seconds elsewhere (a worker, a file)."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 5.0
_shown: ContextVar[bool] = ContextVar("shown", default=False)


class Ticker:
    """Counts finished units of work."""

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self._what = what
        self._total = total
        self._done = self._before = done
        self._start = self._said = time.monotonic()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Say that so many units more are finished."""
        self._done += units
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN_LINES and self._done != self._total:
            return
        self._said = now
        # What was done before does not say how fast this is.
        rate = (self._done - self._before) / max(now - self._start, 1e-9)
        if self._total is None:
            logger.info("%s: %d, %.2f a second%s", self._what, self._done, rate, f", {note}" if note else "")
            return
        left = (self._total - self._done) / max(rate, 1e-9)
        logger.info(
            "%s: %d of %d, %.2f a second, %.0f s left%s",
            *(self._what, self._done, self._total, rate, left, f", {note}" if note else ""),
        )


class _Silent(Ticker):
    def advance(self, units: int = 1, note: str = "") -> None:
        pass


class _Bar(Ticker):
    def __init__(self, what: str, total: int | None, done: int, progress: Progress) -> None:
        super().__init__(what, total, done)
        self._progress = progress
        self._task = progress.add_task(what, total=total, completed=done)

    def advance(self, units: int = 1, note: str = "") -> None:
        text = f"{self._what} ({note})" if note else self._what
        self._progress.update(self._task, advance=units, description=text)


@contextmanager
def progress(what: str, total: int | None, done: int = 0) -> Iterator[Ticker]:
    """A ticker for `total` units of work (None where nobody knows), of which some were done before.

    Work within other work that is counted already is not shown: a terminal has one bar at a time.
    """
    if _shown.get():
        yield _Silent(what, total, done)
        return
    mark = _shown.set(True)
    try:
        if not sys.stderr.isatty():
            yield Ticker(what, total, done)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
            yield _Bar(what, total, done, bar)
    finally:
        _shown.reset(mark)

"""Where flows are killed: at one point in `make test`, at every one in `make test-all`."""

import os
from collections.abc import Iterable, Sequence
from itertools import count

EVERY = os.environ.get("TEST_ALL") == "1"
# More writes than any flow does: a run that is to be killed after so many ends by itself.
NEVER = 1_000_000


def one_later_each_time() -> Iterable[int]:
    """After how many writes the runs of a chain are killed, until one ends before it could be."""
    return count() if EVERY else (2, NEVER)


def some_of(points: Sequence) -> Sequence:
    """All of them, or one in the middle."""
    return points if EVERY else points[len(points) // 2 :][:1]

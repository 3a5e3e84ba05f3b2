"""One run at a time, across machines: a lease in the store, kept alive by its holder.

Whether a lease has run out is told by the age of its object, which the store's own clock measures (Gray and Cheriton
1989 show why leases must not rest on clocks that differ). A holder that was asleep for longer finds that its lease is
lost before it writes anything.
"""

import json
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from influcoder.core.errors import BusyError, ChangedMeanwhileError, StoreError
from influcoder.storage.object_store import ObjectStore

logger = logging.getLogger(__name__)


class Lease:
    """A lease that this process holds.

    Args:
        store: where its object is.
        key: name of the object.
        owner: who holds it, for people.
        seconds: how long it lasts without a sign of life.
    """

    def __init__(self, store: ObjectStore, key: str, owner: str, seconds: float) -> None:
        self._store, self._key, self._seconds = store, key, seconds
        self._record = {"owner": owner, "token": secrets.token_hex(8)}
        self._beats, self._version = 0, ""
        self._lost, self._done, self._turn = threading.Event(), threading.Event(), threading.Lock()

    def take(self) -> None:
        """Take the lease, from a dead holder too.

        Raises:
            BusyError: somebody else holds it.
        """
        data, version = self._store.read_if_there(self._key)
        holder = _holder(data)
        if holder and self._store.age(self._key) < self._seconds:
            raise BusyError(f"{holder} is at it.")
        if holder:
            logger.warning("%s gave no sign of life for %.0f s: its work is taken over", holder, self._seconds)
        try:
            self._version = self._store.swap(self._key, self._bytes(), version)
        except ChangedMeanwhileError as error:
            raise BusyError("another run is at it, and was quicker.") from error

    def check(self) -> None:
        """Give a sign of life, and stop a holder that must not go on: one that was asleep does not know it yet.

        Raises:
            BusyError: another run took the work over.
        """
        self.beat()
        if self._lost.is_set():
            raise BusyError("another run took this work over meanwhile.", "Leave it to that run.")

    def beat(self) -> None:
        """Show a sign of life; a lease that somebody else took is lost."""
        with self._turn:
            self._beats += 1
            try:
                self._version = self._store.swap(self._key, self._bytes(), self._version)
            except ChangedMeanwhileError:
                self._lost.set()
            except StoreError as error:
                logger.warning("no sign of life could be given: %s", error)

    def release(self) -> None:
        """Give the lease back, unless it is lost."""
        try:
            self._store.swap(self._key, json.dumps({"last": self._record}).encode(), self._version)
        except ChangedMeanwhileError:
            self._lost.set()
        except StoreError as error:
            logger.warning("the lease runs out by itself: %s", error)

    def keep_alive(self) -> None:
        """Give signs of life until the end; runs beside the work."""
        while not self._done.wait(self._seconds / 3) and not self._lost.is_set():
            self.beat()

    def end(self) -> None:
        """Let `keep_alive` return."""
        self._done.set()

    def _bytes(self) -> bytes:
        return json.dumps({**self._record, "beats": self._beats}).encode()


def _holder(data: bytes | None) -> str | None:
    """Who holds a lease; None where nobody does. One that can't be read runs out as that of a dead holder does."""
    try:
        return None if data is None else json.loads(data).get("owner")
    except (ValueError, AttributeError):
        return "somebody whose lease can't be read"


@contextmanager
def held(store: ObjectStore, key: str, owner: str, seconds: float) -> Iterator[Lease]:
    """Hold a lease while the body runs.

    Raises:
        BusyError: somebody else holds it.
    """
    lease = Lease(store, key, owner, seconds)
    lease.take()
    beside = threading.Thread(target=lease.keep_alive, name="lease", daemon=True)
    beside.start()
    try:
        yield lease
    finally:
        lease.end()
        beside.join()
        lease.release()

"""One run at a time: leases among many runs at once, and through every order of what may happen to a few."""

import sys
import threading
import time

import pytest
from holding import most_at_a_time
from hypothesis import given
from hypothesis import strategies as st

from influcoder.core.errors import BusyError, ChangedMeanwhileError, StoreError
from influcoder.storage.lease import Lease

SECONDS = 30.0


class Bucket:
    """One object with conditional puts, and a clock that the test turns."""

    def __init__(self):
        self.now, self.away = 0.0, False
        self._data, self._version, self._written, self._lock = None, 0, 0.0, threading.Lock()

    def read_if_there(self, _key):
        found = self._data, str(self._version) if self._version else None
        # Whoever read is overtaken here, where anybody can be.
        time.sleep(0.001)
        return found

    def age(self, _key):
        return self.now - self._written

    def swap(self, _key, data, expected):
        if self.away:
            raise StoreError("the store is away.")
        with self._lock:
            if expected != (str(self._version) if self._version else None):
                raise ChangedMeanwhileError("somebody else was quicker.")
            self._data, self._version, self._written = data, self._version + 1, self.now
            return str(self._version)


@pytest.fixture
def restless():
    """Threads that overtake each other whenever they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def takes(lease):
    try:
        lease.take()
    except BusyError:
        return False
    return True


def goes_on(lease):
    try:
        lease.check()
    except BusyError:
        return False
    return True


def test_of_many_runs_one_holds_it_at_a_time_and_each_has_its_turn(restless):
    most, turns = most_at_a_time(Bucket(), "lease", runs=6, times=5, seconds=SECONDS)
    assert most == 1
    assert sorted(turns) == [run for run in range(6) for _ in range(5)]


def test_one_of_many_takes_a_dead_run_over(restless):
    bucket = Bucket()
    dead, others = Lease(bucket, "lease", "a dead run", SECONDS), [Lease(bucket, "lease", "o", SECONDS) for _ in "1234"]
    dead.take()
    bucket.now = SECONDS - 1
    with pytest.raises(BusyError, match="a dead run is at it"):
        others[0].take()
    bucket.now = SECONDS
    found, start = [], threading.Barrier(len(others))
    threads = [threading.Thread(target=lambda lease=o: (start.wait(), found.append(takes(lease)))) for o in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False, False, False, True]
    with pytest.raises(BusyError, match="took this work over"):
        dead.check()
    dead.release()
    assert sum(goes_on(lease) for lease in others) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "check", "release", "wait", "away"]), st.integers(0, 2), st.integers(0, 45)),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_at_most_one_run_goes_on(steps):
    bucket, holders = Bucket(), {}
    for what, run, seconds in steps:
        if what == "wait":
            bucket.now += seconds
        elif what == "away":
            bucket.away = not bucket.away
        elif what == "take" and run not in holders and not bucket.away:
            lease = Lease(bucket, "lease", f"run {run}", SECONDS)
            if takes(lease):
                holders[run] = lease
        elif what == "check" and run in holders and not goes_on(holders[run]):
            del holders[run]
        elif what == "release" and run in holders:
            holders.pop(run).release()
    bucket.away = False
    assert sum(goes_on(lease) for lease in holders.values()) <= 1
    # A run that takes it now is the only one, and whoever held it must stop.
    bucket.now += SECONDS
    last = Lease(bucket, "lease", "the last", SECONDS)
    assert takes(last)
    assert goes_on(last)
    assert not any(goes_on(lease) for lease in holders.values())


def test_a_sign_of_life_keeps_it_and_a_store_that_is_away_does_not_lose_it():
    bucket = Bucket()
    lease, other = Lease(bucket, "lease", "one", SECONDS), Lease(bucket, "lease", "other", SECONDS)
    lease.take()
    for _ in range(5):
        bucket.now += SECONDS - 1
        lease.beat()
        assert not takes(other)
    bucket.away = True
    assert goes_on(lease)
    bucket.away = False
    assert goes_on(lease)
    lease.release()
    assert takes(other)

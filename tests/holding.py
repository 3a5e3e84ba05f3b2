"""How many hold a lease at a time, seen by those who hold it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from influcoder.core.errors import BusyError
from influcoder.storage.lease import held


def most_at_a_time(store, key, runs, times, seconds) -> tuple[int, list[int]]:
    """Let runs compete for a lease until each has held it so often; the most that held it at once, and whose turns.

    Args:
        store: where the lease lies.
        key: its name there.
        runs: how many compete, each in a thread of its own.
        times: how often each holds it.
        seconds: how long it lasts without a sign of life.
    """
    start, lock = threading.Barrier(runs), threading.Lock()
    inside: set[int] = set()
    turns: list[int] = []
    most = 0

    def work(run):
        nonlocal most
        start.wait()
        while turns.count(run) < times:
            try:
                with held(store, key, f"run {run}", seconds) as lease:
                    with lock:
                        inside.add(run)
                        most = max(most, len(inside))
                        turns.append(run)
                    # Long enough for whoever read before this run wrote.
                    time.sleep(0.005)
                    lease.check()
                    with lock:
                        inside.remove(run)
            except BusyError:
                continue

    with ThreadPoolExecutor(runs) as pool:
        list(pool.map(work, range(runs)))
    return most, turns

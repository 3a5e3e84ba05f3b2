"""A process that was killed is told from one that runs, and from one that got its number later."""

import os
import subprocess
import sys

from influcoder.core.processes import is_gone, mark

SAY = "import sys; from influcoder.core.processes import mark; print(mark(), flush=True); sys.stdin.read()"


def test_a_killed_process_is_gone_and_a_running_one_is_not():
    child = subprocess.Popen([sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    marked = child.stdout.readline().strip()
    assert not is_gone(marked)
    child.kill()
    child.wait()
    assert is_gone(marked)


def test_a_process_that_got_the_number_later_is_another_one():
    host, pid, started = mark().split(" ")
    assert int(pid) == os.getpid()
    assert not is_gone(mark())
    assert is_gone(f"{host} {pid} {int(started) - 1}")


def test_of_other_hosts_nothing_is_known():
    _, pid, started = mark().split(" ")
    assert not is_gone(f"elsewhere {pid} {int(started) - 1}")
    assert not is_gone("")
    assert not is_gone("a note by hand")

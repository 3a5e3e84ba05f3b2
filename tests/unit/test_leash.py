"""A session of tests that is killed leaves no server behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from leash import marked

TESTS = str(Path(__file__).parents[1])
SESSION = """
import os, signal, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from leash import VARIABLE, leash
# What runs in the background of a shell ignores an interrupt, and hands that down.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
with leash():
    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600"], start_new_session=True)
    print(os.environ[VARIABLE], flush=True)
    sys.stdin.read(1)
"""


def wait_until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, None])
def test_nothing_is_left_however_a_session_ends(end):
    command = [sys.executable, "-c", SESSION, TESTS]
    session = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    mark = session.stdout.readline().strip()
    # A shell and what it started.
    wait_until(lambda: len(marked(mark)) == 3)
    session.stdin.close() if end is None else session.send_signal(end)
    session.wait(30)
    wait_until(lambda: not marked(mark))

"""Processes that die: forked, so that nothing is imported again, and killed before a write of your choice."""

import multiprocessing
import os
import signal

from influcoder.storage.folder import Folder


def exit_code_of(work, *given) -> int:
    """Run a function in a forked process; the process's exit code, below 0 where a signal ended it."""
    process = multiprocessing.get_context("fork").Process(target=work, args=given)
    process.start()
    process.join()
    return process.exitcode


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFolder(Folder):
    """A folder whose process dies before one of the operations that change it."""

    def __init__(self, path, deadly: int, die=kill_this_process) -> None:
        super().__init__(path)
        self._left, self._die = deadly, die

    def put(self, key, data):
        self._count()
        super().put(key, data)

    def delete(self, key):
        self._count()
        super().delete(key)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._die()

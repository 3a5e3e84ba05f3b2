"""The connection to a Ray cluster: Ray is imported late, and given up where it does not answer."""

import importlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from influcoder.core.errors import ServiceError, SettingsError

CONNECT_SECONDS = 45.0


def import_ray() -> Any:
    """Ray.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "labels.engine is ray, but Ray is not installed.", "Install influcoder[ray], here and on every node."
        ) from error


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster that is running; a connection that this process has already is used and left open.

    Args:
        address: `HOST:PORT`, or `auto`.
    Raises:
        SettingsError: Ray is not installed.
        ServiceError: no cluster answers within `CONNECT_SECONDS`, or it runs another version of Ray or Python.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _probe(address)
    try:
        # What workers print stays in Ray's own logs.
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _unreachable(address, first_line(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def first_line(error: BaseException) -> str:
    """What an error says first; Ray's own go on for a page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _probe(address: str) -> None:
    """Connect once in a process that can be given up: Ray itself goes on trying for minutes."""
    code = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    command = [sys.executable, "-c", code, address]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_SECONDS, check=True)
    except subprocess.TimeoutExpired as error:
        raise _unreachable(address, f"no answer in {CONNECT_SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise _unreachable(address, (error.stderr.strip().splitlines() or ["it ended"])[-1]) from error


def _unreachable(address: str, reason: str) -> ServiceError:
    return ServiceError(
        f"there is no Ray cluster at {address!r}: {reason.rstrip('.')}.",
        "Set labels.ray_address, or start one: ray start --head",
    )

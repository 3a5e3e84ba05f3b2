"""Ports of the local stack: those of the last start where they are free, else free ones."""

import random
import socket
from collections.abc import Mapping, Sequence

from influcoder.core.errors import ServiceError


def choose(names: Sequence[str], wanted: Mapping[str, int], old: Mapping[str, str]) -> dict[str, int]:
    """A port for each server, by the name of its variable.

    Args:
        names: of the servers.
        wanted: ports that must be these.
        old: variables of the last start, whose ports are kept where they are free.
    Raises:
        ServiceError: a port that must be one is taken, or none is free.
    """
    ports: dict[str, int] = {}
    for name in names:
        variable = f"{name.upper()}_PORT"
        if name in wanted:
            if not _free(wanted[name]):
                raise ServiceError(
                    f"port {wanted[name]} for {name} is taken.", "Name another one, or none for a free one."
                )
            ports[variable] = wanted[name]
        elif variable in old and _usable(int(old[variable])):
            ports[variable] = int(old[variable])
        else:
            ports[variable] = _free_port(set(ports.values()))
    return ports


def _free_port(taken: set[int]) -> int:
    # Below the range that the kernel hands out by itself, so a port stays free until its server starts.
    choices = [port for port in random.sample(range(20000, 30000), 500) if port not in taken and _usable(port)]
    if not choices:
        raise ServiceError("no free port was found between 20000 and 30000.")
    return choices[0]


def _usable(port: int) -> bool:
    # SeaweedFS listens for gRPC 10,000 above each of its ports.
    return _free(port) and _free(port + 10000)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

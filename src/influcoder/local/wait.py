"""Wait until a server of the stack listens: python -m influcoder.local.wait PORT [SECONDS]."""

import socket
import sys
import time


def wait_for_port(port: int, seconds: float = 120.0) -> bool:
    """Whether something accepts connections on a loopback port before the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    sys.exit(0 if wait_for_port(int(sys.argv[1])) else f"nothing listens on port {sys.argv[1]}")

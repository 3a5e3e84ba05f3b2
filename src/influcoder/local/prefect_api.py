"""Requests to Prefect's API that need no import of Prefect, which takes seconds."""

import json
import time
import urllib.request
from typing import Any

from influcoder.core.errors import ServiceError

# What Prefect answers while its database is locked, and how long to wait then, in seconds.
_BUSY = 503
_WAITS = (0.5, 1.0, 2.0, 4.0)


def ask(method: str, url: str, content: object) -> Any:
    """The answer to a request, None where it is empty.

    Args:
        method: of HTTP.
        url: the whole address.
        content: goes as JSON; None for a request without any.
    Raises:
        ServiceError: Prefect does not answer, or refuses.
    """
    body, headers = None if content is None else json.dumps(content).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    for wait in (*_WAITS, None):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except OSError as error:
            if wait is None or getattr(error, "code", None) != _BUSY:
                raise ServiceError(f"Prefect refused {method} {url}: {error}.", "Run: influcoder up") from error
            time.sleep(wait)

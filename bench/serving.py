"""Milliseconds of an answer over HTTP: one client, and many at a time.

Example: influcoder serve --port 8080 & python bench/serving.py --url http://127.0.0.1:8080
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
from common import table

from influcoder.samples import read_corpus


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--corpus", default="docs:scipy.stats", help="whose targets are asked about")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=20, help="of each client")
    options = parser.parse_args()
    state = httpx.get(f"{options.url}/api/state", timeout=60).raise_for_status().json()
    texts = [sample.target for sample in read_corpus(options.corpus).samples]
    rows = []
    for clients in (1, options.clients):
        parts = [texts[number :: options.clients][: options.requests] for number in range(clients)]
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            found = np.concatenate(list(pool.map(lambda own: asked(options.url, own), parts)))
        rate = len(found) / (time.perf_counter() - start)
        p50, p99 = np.percentile(1000 * found, [50, 99])
        rows.append(
            [str(clients), str(len(found)), f"{p50:.0f}", f"{p99:.0f}", f"{1000 * found.max():.0f}", f"{rate:.1f}"]
        )
    about = (
        f"`POST /api/attribute` for one output of `{options.corpus}`, ten samples each, out of {state['samples']} of "
        f"`{state['corpus']}`; server and clients share two cores. Milliseconds until the answer is read."
    )
    table(["clients at a time", "requests", "p50", "p99", "most", "answers a second"], rows, "serving", about)


def asked(url: str, texts: list[str]) -> list[float]:
    """Seconds of each request of one client, which keeps its connection."""
    found = []
    with httpx.Client(timeout=120) as client:
        for text in texts:
            body = {"outputs": [{"answer": text}], "k": 10, "private": True}
            start = time.perf_counter()
            client.post(f"{url}/api/attribute", json=body).raise_for_status().json()
            found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()

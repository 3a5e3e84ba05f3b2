"""Milliseconds of an answer over HTTP: one client, and many at a time.

Example: influcoder serve --port 8080 & influcoder index --package &&
mlflow models serve -m models:/influcoder-encoder-answers@champion -p 8081 --env-manager local &
python -m bench.scale.serving --url http://127.0.0.1:8080 --mlflow http://127.0.0.1:8081
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np

from bench.common import table
from influcoder.samples import read_corpus

# Address, and the body of a request about a text.
Question = tuple[str, Callable[[str], dict[str, Any]]]


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of influcoder serve")
    parser.add_argument("--mlflow", help="of mlflow models serve, of the model that carries an index")
    parser.add_argument("--corpus", default="docs:scipy.stats", help="whose targets are asked about")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=20, help="of each client")
    options = parser.parse_args()
    state = httpx.get(f"{options.url}/api/state", timeout=60).raise_for_status().json()
    texts = [sample.target for sample in read_corpus(options.corpus).samples]
    rows = [
        [name, *measured(question, texts, clients, options.requests)]
        for name, question in questions(options.url, options.mlflow).items()
        for clients in (1, options.clients)
    ]
    about = (
        f"One output of `{options.corpus}` a request, ten samples each for `attribute`, out of {state['samples']} of "
        f"`{state['corpus']}`; server and clients share two cores. Milliseconds until the answer is read."
    )
    table(["", "clients at a time", "requests", "p50", "p99", "most", "answers a second"], rows, "serving", about)


def questions(url: str, served: str | None) -> dict[str, Question]:
    """What is measured, by name."""
    found: dict[str, Question] = {
        "influcoder serve, attribute": (
            f"{url}/api/attribute",
            lambda text: {"outputs": [{"answer": text}], "k": 10, "private": True},
        )
    }
    for method in ("attribute", "embed") if served else ():
        found[f"mlflow models serve, {method}"] = (
            f"{served}/invocations",
            lambda text, method=method: {"dataframe_records": [{"target": text}], "params": {"method": method}},
        )
    return found


def measured(question: Question, texts: list[str], clients: int, requests: int) -> list[str]:
    """Figures of some clients who ask at the same time."""
    asked(question, texts[:3])
    parts = [texts[number::clients][:requests] for number in range(clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = np.concatenate(list(pool.map(lambda own: asked(question, own), parts)))
    rate = len(found) / (time.perf_counter() - start)
    p50, p99 = np.percentile(1000 * found, [50, 99])
    return [str(clients), str(len(found)), f"{p50:.0f}", f"{p99:.0f}", f"{1000 * found.max():.0f}", f"{rate:.1f}"]


def asked(question: Question, texts: list[str]) -> list[float]:
    """Seconds of each request of one client, which keeps its connection."""
    (address, body), found = question, []
    with httpx.Client(timeout=120) as client:
        for text in texts:
            start = time.perf_counter()
            client.post(address, json=body(text)).raise_for_status().json()
            found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main()

"""Peak memory of building an index, as its pool grows.

Example: python -m bench.index.growth --sizes 10000 100000
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.common import table
from influcoder.index import Embedder
from influcoder.index.build import build
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.samples import Sample
from influcoder.storage.folder import Folder

VERSION = EncoderVersion("1", "", (), {"labelset.id": "bench", "decoder.fingerprint": "bench"}, "")
Array = np.ndarray


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=(10_000, 100_000, 1_000_000))
    rows = []
    for size in parser.parse_args().sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            before, peak, seconds = pool.apply(_grow, (size,))
        rows.append([str(size), f"{before:.0f}", f"{peak:.0f}", f"{seconds:.0f}"])
    about = (
        "A whole build (corpus of short made-up texts, JSONL → vectors → segments → index in a folder), each size in a "
        "process of its own. Vectors of 48 dimensions are made up, so what an encoder takes is not in it."
    )
    table(("samples", "MB before", "MB at the peak", "seconds"), rows, "index_growth", about)


def _grow(rows: int) -> tuple[float, float, float]:
    before = _peak()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "pool.jsonl").open("w") as file:
            for number in range(rows):
                text = f"sample {number} says something about {number % 977} and {number % 31} things, at some length"
                file.write(json.dumps({"id": str(number), "context": "What?", "target": text}) + "\n")
        start = time.perf_counter()
        build(Folder(folder / "store"), VERSION, _MadeUp(), Embedder(files="0" * 64), str(folder / "pool.jsonl"))
        return before, _peak(), time.perf_counter() - start


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _MadeUp:
    """Vectors in clusters, by a seed and the length of a text: what an encoder takes is not measured here."""

    in_closed_form, uri, dimensions = True, "made up", 48

    def view(self, sample: Sample) -> tuple[str, str]:
        return sample.context, sample.target

    def embed(self, views: list) -> Array:
        draw = np.random.default_rng(len(views) + len(views[0][1]))
        centres = np.random.default_rng(0).standard_normal((200, 48)) / np.sqrt(1 + np.arange(48))
        return (centres[draw.integers(0, 200, len(views))] + 0.2 * draw.standard_normal((len(views), 48))).astype(
            "f4"
        ) / 9


if __name__ == "__main__":
    main()

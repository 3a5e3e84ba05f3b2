"""Peak memory of building an index, as its pool grows."""

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from influcoder.attribution.index import Embedder
from influcoder.folder import Folder
from influcoder.indexed import build
from influcoder.registry import EncoderVersion
from influcoder.samples import Sample

VERSION = EncoderVersion("1", "", (), {"labelset.id": "bench", "decoder.fingerprint": "bench"}, "")
Array = np.ndarray


def growth(sizes: Sequence[int]) -> str:
    """Peak memory of whole builds, each in a process of its own; texts are short and vectors made up."""
    found = []
    for rows in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(_grow, (rows,)))
    parts = [
        f"{rows} samples {peak:.0f} MB in {seconds:.0f} s" for rows, (peak, seconds) in zip(sizes, found, strict=True)
    ]
    return f"Peak memory of a build with made-up vectors of 48 dimensions (no encoder): {', '.join(parts)}."


def _grow(rows: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "pool.jsonl").open("w") as file:
            for number in range(rows):
                text = f"sample {number} says something about {number % 977} and {number % 31} things, at some length"
                file.write(json.dumps({"id": str(number), "context": "What?", "target": text}) + "\n")
        start = time.perf_counter()
        build(Folder(folder / "store"), VERSION, _MadeUp(), Embedder(files="0" * 64), str(folder / "pool.jsonl"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - start


class _MadeUp:
    """Vectors in clusters, by a seed and the length of a text: what an encoder takes is not measured here."""

    in_closed_form, uri, dimensions, depths = True, "made up", 48, ()

    def view(self, sample: Sample) -> tuple[str, str]:
        return sample.context, sample.target

    def embed(self, views: list) -> Array:
        draw = np.random.default_rng(len(views) + len(views[0][1]))
        centres = np.random.default_rng(0).standard_normal((200, 48)) / np.sqrt(1 + np.arange(48))
        return (centres[draw.integers(0, 200, len(views))] + 0.2 * draw.standard_normal((len(views), 48))).astype(
            "f4"
        ) / 9

"""Scores that were computed once, with the seconds they took."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import influcoder
from bench.lds.setting import Setting, bench_folder, key, write

logger = logging.getLogger(__name__)
CODE = ("influence", "encoder", "labelsets")
AGAIN_BELOW = 20.0

Scores = Callable[[Setting], np.ndarray]


@dataclass(frozen=True)
class Kept:
    """What a way to score gave.

    Args:
        scores: shape (queries, candidates).
        before: seconds of what is done once, before anything can be scored: labels and training.
        seconds: of scoring, all samples together; the quicker of two runs unless one is long.
    """

    scores: np.ndarray
    before: float
    seconds: float


def kept_scores(setting: Setting, name: str, ready: Callable[[Setting], Scores], facts: dict[str, Any]) -> Kept:
    """Scores, computed unless they are kept from before.

    They are computed again when the decoder, the samples or any code that they may come from has changed.

    Args:
        setting: what is scored.
        name: of the way to score.
        ready: does what is done once, and gives the way to score.
        facts: whatever else decides about the scores.
    """
    entries = [(entry.sample.hash, entry.role, entry.split) for entry in setting.plan.entries]
    own = key(name, setting.decoder.fingerprint, setting.max_tokens, entries, facts, _code())
    path = bench_folder() / "scores" / f"{own}.npz"
    if not path.is_file():
        way, before = _timed(lambda: ready(setting))
        scores, seconds = _timed(lambda: way(setting))
        if seconds < AGAIN_BELOW:
            # The first run draws adapters and sketches, and warms the machine up.
            seconds = min(seconds, _timed(lambda: way(setting))[1])
        logger.info("%s: %.1f s before, %.1f s scoring", name, before, seconds)
        write(path, lambda file: np.savez(file, scores=scores, before=before, seconds=seconds))
    found = np.load(path)
    return Kept(found["scores"], float(found["before"]), float(found["seconds"]))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _code() -> str:
    package = Path(influcoder.__file__).parent
    files = sorted(Path(__file__).parent.glob("*.py"))
    files += [path for folder in CODE for path in sorted((package / folder).rglob("*.py"))]
    return key([(path.name, path.read_text()) for path in files if path.name != "plot.py"])

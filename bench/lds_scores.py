"""Scores that were computed once, with the seconds they took."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lds_setting import Setting, bench_folder, key, write

import influcoder

logger = logging.getLogger(__name__)
CODE = ("influence", "encoder", "labelsets")


def kept_scores(
    setting: Setting, name: str, way: Callable[[Setting], np.ndarray], facts: dict[str, Any]
) -> tuple[np.ndarray, float]:
    """Scores of shape (queries, candidates), and how long they took when they were computed.

    They are computed again when the decoder, the samples or any code that they may come from has changed.

    Args:
        setting: what is scored.
        name: of the way to score.
        way: gives the scores.
        facts: whatever else decides about the scores.
    """
    entries = [(entry.sample.hash, entry.role, entry.split) for entry in setting.plan.entries]
    own = key(name, setting.decoder.fingerprint, setting.max_tokens, entries, facts, _code())
    path = bench_folder() / "scores" / f"{own}.npz"
    if not path.is_file():
        start = time.perf_counter()
        scores = way(setting)
        seconds = time.perf_counter() - start
        logger.info("%s: %.1f s", name, seconds)
        write(path, lambda file: np.savez(file, scores=scores, seconds=seconds))
    kept = np.load(path)
    return kept["scores"], float(kept["seconds"])


def _code() -> str:
    package = Path(influcoder.__file__).parent
    files = [*sorted(Path(__file__).parent.glob("lds_*.py")), package / "decoder.py"]
    files += [path for folder in CODE for path in sorted((package / folder).glob("*.py"))]
    return key([(path.name, path.read_text()) for path in files if path.name != "lds_plot.py"])

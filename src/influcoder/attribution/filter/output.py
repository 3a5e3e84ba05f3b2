"""The folder that a filter leaves: what to keep, what to drop, a summary and a plot; all of it or nothing."""

import fcntl
import hashlib
import json
import os
import shutil
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from pydantic_core import to_json

from influcoder.attribution.filter.scoring import Scored
from influcoder.attribution.filter.threshold import Cut
from influcoder.core.errors import BusyError, SettingsError
from influcoder.samples import Sample

KEEP, DROP, SUMMARY, PLOT = "keep.jsonl", "drop.jsonl", "summary.json", "scores.png"
_POOL = "pool.jsonl"


@dataclass(frozen=True)
class Decision:
    """What is dropped, and why.

    Args:
        found: scores of the pool, in its order.
        cut: the line between what is kept and what is dropped.
        names: ids of the harmful examples, in their order.
        exact: exact influence of samples that it was computed for, by their row in the pool.
    """

    found: Scored
    cut: Cut
    names: Sequence[str]
    exact: Mapping[int, float]

    def reason(self, row: int, rank: int, dropped: bool) -> str:
        """Why a sample is kept or dropped, in words."""
        near = f"influence {self.found.influence[row]:.3f} with harmful example {self.names[self.found.nearest[row]]!r}"
        if self.found.copies[row]:
            return "it is a harmful example itself, word for word"
        if self.cut.count is not None:
            side = "within" if dropped else "beyond"
            return f"rank {rank} is {side} the budget of {self.cut.count}; {near}, the nearest"
        side = "reaches" if dropped else "is below"
        return f"score {self.found.scores[row]:.3f} {side} the threshold {self.cut.threshold:.3f}; {near}, the nearest"

    def fields(self, row: int, rank: int, dropped: bool) -> dict[str, Any]:
        """What is said of a sample beside what it is."""
        exact = {"exact": round(self.exact[row], 6)} if row in self.exact else {}
        return {
            "score": round(float(self.found.scores[row]), 6),
            "rank": rank,
            "percentile": round(100 * (len(self.found) - rank + 1) / len(self.found), 3),
            "nearest": self.names[self.found.nearest[row]],
            "influence": round(float(self.found.influence[row]), 6),
            **exact,
            "reason": self.reason(row, rank, dropped),
        }


class FilterFolder:
    """A folder that has its name when it is complete; until then it is called `NAME.part`, and the next run clears it.

    The pool is written as it comes and read again for the lists, so that none of it stays in memory but where each
    sample begins: 8 bytes.

    Args:
        path: the folder.
    Raises, on entering:
        SettingsError: it is there already.
        BusyError: another run writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(f"{path.name}.part")
        self._starts = array("Q")
        self._scored: list[Scored] = []

    def __enter__(self) -> "FilterFolder":
        if self.path.exists():
            raise SettingsError(f"{self.path} is there already.", "Name another folder, or delete it.")
        self._part.mkdir(parents=True, exist_ok=True)
        self._pool: IO[bytes] = (self._part / _POOL).open("a+b")
        try:
            fcntl.flock(self._pool, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._pool.close()
            raise BusyError(f"another run is writing {self.path}.", "Wait for it, or name another folder.") from error
        self._pool.seek(0)
        self._pool.truncate()
        for left in self._part.iterdir():
            if left.name != _POOL:
                left.unlink()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._pool.close()
        if kind is not None:
            shutil.rmtree(self._part, ignore_errors=True)

    def add(self, samples: Iterable[Sample], scored: Scored) -> None:
        """Keep a batch of the pool."""
        for sample in samples:
            self._starts.append(self._pool.tell())
            self._pool.write(_line({**_record(sample), "metadata": dict(sample.metadata)}))
        self._scored.append(scored)

    @property
    def found(self) -> Scored:
        """Scores of all that was added."""
        return Scored.joined(self._scored)

    def samples(self, rows: Iterable[int]) -> list[Sample]:
        """Samples of the pool by their rows."""
        return [Sample(**record) for record in self._records(rows)]

    def write(self, decision: Decision, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write the lists, the plot and the summary, and give the folder its name.

        Args:
            decision: what is dropped.
            facts: what the summary says beside counts, threshold and checksums.
        Returns:
            the summary.
        """
        found, cut = decision.found, decision.cut
        order, dropped = found.order(), cut.dropped(found)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        digests = {
            # What is kept stays in its order; what is dropped is read by its rank.
            KEEP: self._list(KEEP, np.flatnonzero(~dropped), ranks, decision, dropped),
            DROP: self._list(DROP, order[dropped[order]], ranks, decision, dropped),
        }
        figure = scores_figure(found.scores, dropped, cut.line(found))
        figure.savefig(self._part / PLOT)
        summary = {
            "counts": {"pool": len(found), "drop": int(dropped.sum()), "keep": int((~dropped).sum())},
            "threshold": {"value": cut.line(found), "why": cut.why},
            **facts,
            "sha256": digests,
        }
        with (self._part / SUMMARY).open("wb") as file:
            file.write(to_json(summary, indent=1, inf_nan_mode="null"))
            _sync(file)
        (self._part / _POOL).unlink()
        try:
            self._part.rename(self.path)
        except OSError as error:
            raise SettingsError(
                f"{self.path} came to be meanwhile: {error.strerror}.", "Name another folder."
            ) from error
        return summary

    def _list(self, name: str, rows: np.ndarray, ranks: np.ndarray, decision: Decision, dropped: np.ndarray) -> str:
        digest = hashlib.sha256()
        with (self._part / name).open("wb") as file:
            for row, record in zip(rows.tolist(), self._records(rows.tolist()), strict=True):
                line = _line({**record, **decision.fields(row, int(ranks[row]), bool(dropped[row]))})
                digest.update(line)
                file.write(line)
            _sync(file)
        return digest.hexdigest()

    def _records(self, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
        self._pool.flush()
        for row in rows:
            self._pool.seek(self._starts[row])
            yield json.loads(self._pool.readline())
        self._pool.seek(0, os.SEEK_END)


def _record(sample: Sample) -> dict[str, str]:
    return {name: getattr(sample, name) for name in ("id", "context", "target", "text", "source")}


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE = "#2f6db5", "#d9822b"
_BINS = 60


def scores_figure(scores: np.ndarray, dropped: np.ndarray, line: float) -> "Figure":
    """A histogram of scores on a logarithmic scale, with the line.

    Args:
        scores: shape (samples,).
        dropped: whether each sample is dropped, same shape.
        line: the score from which on samples are dropped; not finite where none is.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    # One value has no range to be cut into bins.
    edges = np.linspace(scores.min(), scores.max() + 1e-6, _BINS + 1)
    both = [scores[~dropped], scores[dropped]]
    labels = [f"kept: {len(both[0])}", f"dropped: {len(both[1])}"]
    axes.hist(both, edges.tolist(), stacked=True, color=[_BLUE, _ORANGE], label=labels)
    if np.isfinite(line):
        axes.axvline(line, color="black", linestyle=":", label=f"line: {line:.3f}")
    axes.set(xlabel="score: influence with the harmful examples, in deviations", ylabel="samples", yscale="symlog")
    axes.set_title("Scores of the pool", loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure

"""Influence known pair by pair, for teachers that have no feature of a single sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from influcoder.core.errors import ScoreTableError


@dataclass(frozen=True)
class PairScores:
    """Scores of queries and candidates.

    Args:
        queries: hashes of the samples that were queries.
        candidates: hashes of the samples that were candidates; a sample may be both.
        matrix: shape (queries, candidates), float32; NaN where a pair has no score.
    """

    queries: tuple[str, ...]
    candidates: tuple[str, ...]
    matrix: np.ndarray

    @staticmethod
    def of(queries: Sequence[str], candidates: Sequence[str], scores: Sequence[float]) -> "PairScores":
        """From a table's columns: hash of the query, hash of the candidate, score.

        Raises:
            ScoreTableError: a pair stands there twice.
        """
        rows, columns = ({value: i for i, value in enumerate(dict.fromkeys(role))} for role in (queries, candidates))
        matrix = np.full((len(rows), len(columns)), np.nan, np.float32)
        places = [rows[value] for value in queries], [columns[value] for value in candidates]
        flat = np.ravel_multi_index(places, matrix.shape) if len(queries) else np.zeros(0, int)
        values, counts = np.unique(flat, return_counts=True)
        if (counts > 1).any():
            row, column = np.unravel_index(int(values[np.argmax(counts)]), matrix.shape)
            pair = f"query {list(rows)[row][:12]}, candidate {list(columns)[column][:12]}"
            raise ScoreTableError(f"{pair}: the pair has more than one score.", "Keep one score a pair.")
        matrix[places] = np.asarray(scores, np.float32)
        return PairScores(tuple(rows), tuple(columns), matrix)

    def block(self, queries: Sequence[str], candidates: Sequence[str]) -> np.ndarray:
        """Scores of some samples against others, shape (queries, candidates); NaN where there is none."""
        found = np.full((len(queries), len(candidates)), np.nan, np.float32)
        rows, columns = _there(queries, self._rows), _there(candidates, self._columns)
        if rows and columns:
            own = [self._rows[queries[i]] for i in rows], [self._columns[candidates[j]] for j in columns]
            found[np.ix_(rows, columns)] = self.matrix[np.ix_(*own)]
        return found

    @property
    def both_ways(self) -> bool:
        """Whether some sample was a query and a candidate."""
        return not set(self.queries).isdisjoint(self.candidates)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {value: row for row, value in enumerate(self.queries)}

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {value: column for column, value in enumerate(self.candidates)}


def _there(hashes: Iterable[str], known: dict[str, int]) -> list[int]:
    return [place for place, value in enumerate(hashes) if value in known]

"""Pairs of a query and a candidate as a table, which is what Evidently takes."""

import numpy as np
import pandas as pd


def pairs_frame(
    queries: list[str],
    candidates: list[str],
    scores: np.ndarray,
    labels: np.ndarray,
    floor: np.ndarray | None = None,
) -> pd.DataFrame:
    """A row for each labelled pair, from matrices of shape (queries, candidates); `floor` is what the floor scores."""
    frame = pd.DataFrame(
        {
            "query": np.repeat(queries, len(candidates)),
            "candidate": np.tile(candidates, len(queries)),
            "score": scores.ravel().astype(float),
            "label": labels.ravel().astype(float),
        }
    )
    if floor is not None:
        frame["floor"] = floor.ravel().astype(float)
    return frame[frame["label"].notna()].reset_index(drop=True)


def matrices(frame: pd.DataFrame, score: str = "score") -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of a table of pairs, each of shape (queries, candidates), NaN where a pair is not labelled.

    Args:
        frame: the table.
        score: the column of the scores, `score` or `floor`.
    """
    wide = frame.pivot(index="query", columns="candidate", values=[score, "label"])
    return wide[score].to_numpy(float), wide["label"].to_numpy(float)

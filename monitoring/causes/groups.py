"""Where agreement fell most: by the sources of queries and candidates, or by clusters where sources say nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.encoder import Encoder
from influcoder.labelsets import Block
from influcoder.samples import Sample
from influcoder.statistics.agreement import Agreement, agreement, unpaired_difference
from monitoring.causes.record import GroupChange
from monitoring.checks.baselines import figure_of

# Fewer queries, or fewer candidates to rank, are no group to speak of.
LEAST = {"query": 4, "candidate": 6}
MOST_CLUSTERS, CLUSTER_SIZE = 6, 15
RESAMPLES = 1000


@dataclass(frozen=True)
class Scored:
    """A block and what the encoder scores it."""

    block: Block
    scores: np.ndarray


def changes(now: Scored, then: Scored, groups: dict[str, str], by: str) -> list[GroupChange]:
    """How agreement changed in each group, the largest fall first.

    Args:
        now: spot labels.
        then: the report split at promotion.
        groups: name of the group of each sample, by its hash.
        by: what the groups are.
    """
    found = [
        change
        for role in LEAST
        for name in sorted(set(groups.values()))
        if (change := _change(now, then, groups, role, name, by)) is not None
    ]
    return sorted(found, key=lambda item: item.change["value"])


def grouped(encoder: Encoder, samples: Sequence[Sample], present: Sequence[Sample]) -> tuple[dict[str, str], str]:
    """The group of each sample by its hash, and what groups are.

    Args:
        encoder: its vectors are clustered where sources say nothing.
        samples: of then and now.
        present: of now; two sources or more must hold enough of them.
    """
    held = Counter(sample.source for sample in present if sample.source)
    if sum(count >= LEAST["candidate"] for count in held.values()) >= 2:
        return {sample.hash: sample.source or "without a source" for sample in samples}, "source"
    return clustered(encoder, samples), "cluster"


def clustered(encoder: Encoder, samples: Sequence[Sample]) -> dict[str, str]:
    """Clusters of samples by the encoder's vectors (k-means), each named by its most telling words."""
    from sklearn.cluster import KMeans

    unique = list({sample.hash: sample for sample in samples}.values())
    vectors = encoder.embed([encoder.view(sample) for sample in unique])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    count = max(1, min(MOST_CLUSTERS, len(unique) // CLUSTER_SIZE, len(np.unique(unit, axis=0))))
    places = KMeans(count, n_init=10, random_state=0).fit_predict(unit)
    names = _words(unique, places)
    return {sample.hash: names[place] for sample, place in zip(unique, places, strict=True)}


def _words(samples: Sequence[Sample], places: np.ndarray) -> list[str]:
    """The words whose TF-IDF weight in a cluster is most above that elsewhere."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    names = [f"cluster {number}" for number in range(1, int(places.max()) + 2)]
    vectorizer = TfidfVectorizer(stop_words="english", token_pattern=r"(?u)\b[^\W\d]{3,}\b")
    try:
        weights = vectorizer.fit_transform([sample.text for sample in samples])
    except ValueError:
        # No text has a word.
        return names
    words, mean = vectorizer.get_feature_names_out(), np.asarray(weights.mean(0)).ravel()
    for place, name in enumerate(names):
        own = np.asarray(weights[np.flatnonzero(places == place)].mean(0)).ravel()
        names[place] = f"{name}: {', '.join(words[np.argsort(mean - own, kind='stable')[:3]])}"
    return names


def _change(now: Scored, then: Scored, groups: dict[str, str], role: str, name: str, by: str) -> GroupChange | None:
    rows_now, rows_then = (_rows(item.block, groups, role, name) for item in (now, then))
    if len(rows_now) < LEAST[role]:
        return None
    new = len(rows_then) < LEAST[role]
    found = _agreement(now, role, rows_now)
    before = _agreement(then, role, None if new else rows_then)
    change = unpaired_difference(found, before)
    if not np.isfinite(change.value):
        return None
    figures = {"now": figure_of(found.rho), "then": figure_of(before.rho), "change": figure_of(change)}
    return GroupChange(role=role, by=by, name=name, samples=(len(rows_now), len(rows_then)), new=new, **figures)


def _rows(block: Block, groups: dict[str, str], role: str, name: str) -> list[int]:
    samples = block.queries if role == "query" else block.candidates
    return [row for row, sample in enumerate(samples) if groups.get(sample.hash) == name]


def _agreement(item: Scored, role: str, rows: list[int] | None) -> Agreement:
    scores, labels = item.scores, item.block.labels
    if rows is not None:
        part = np.s_[rows, :] if role == "query" else np.s_[:, rows]
        scores, labels = scores[part], labels[part]
    return agreement(scores, labels, resamples=RESAMPLES)

"""Regions of a pool: the sources that it names, or clusters of its vectors, called after their words."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import SampleError
from influcoder.samples import Sample

Array = np.ndarray
OTHERS = "(others)"
UNNAMED = "(no source)"
_WORDS = 3
_BATCH = 4096
# Samples whose words a cluster is named by.
_NAMED_BY = 60


@dataclass(frozen=True)
class Regions:
    """A division of a pool.

    Args:
        names: of the regions.
        of_row: number of each row's region, shape (pool,).
        by: `source` or `cluster`.
    """

    names: tuple[str, ...]
    of_row: Array
    by: str


def by_source(sources: Sequence[str], most: int) -> Regions:
    """The sources that a pool names; the smallest ones together, where there are more than wanted.

    Args:
        sources: of each row.
        most: how many regions at most.
    Raises:
        SampleError: all samples are of one source.
    """
    counts = Counter(source or UNNAMED for source in sources)
    if len(counts) < 2:
        raise SampleError("all samples of the pool are of one source.", "Divide it by clusters instead: --by cluster")
    named = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if len(named) > most:
        named = [*named[: most - 1], OTHERS]
    number = {name: place for place, name in enumerate(named)}
    last = len(named) - 1
    return Regions(tuple(named), np.array([number.get(source or UNNAMED, last) for source in sources]), "source")


def by_cluster(
    batches: Callable[[], Iterable[tuple[Array, Array]]],
    size: int,
    count: int,
    samples: Callable[[Iterable[int]], dict[int, Sample]],
    seed: int = 0,
) -> Regions:
    """Clusters of vectors by k-means, called after the words that tell them apart.

    Args:
        batches: begins a pass over rows and vectors of the pool.
        size: of the pool.
        count: how many clusters.
        samples: fetches samples of rows, for the names.
        seed: of the first centres.
    Raises:
        SampleError: there are fewer samples than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if size < count:
        raise SampleError(f"{size} samples can't be divided into {count} clusters.", "Ask for fewer: --regions")
    chosen = set(np.random.default_rng(seed).permutation(size)[: max(50 * count, _BATCH)].tolist())
    some = [vectors[[row in chosen for row in rows.tolist()]] for rows, vectors in batches()]
    model = MiniBatchKMeans(count, batch_size=_BATCH, random_state=seed, n_init=3)
    model.fit(np.concatenate(some).astype(np.float32))
    of_row = np.zeros(size, int)
    for rows, vectors in batches():
        of_row[rows] = model.predict(vectors.astype(np.float32))
    found, of_row = np.unique(of_row, return_inverse=True)
    return Regions(_names(of_row, len(found), samples), of_row, "cluster")


def _names(of_row: Array, count: int, samples: Callable[[Iterable[int]], dict[int, Sample]]) -> tuple[str, ...]:
    """The words that a cluster has more than others do (TF-IDF), after its number, so that no two names agree."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = [np.flatnonzero(of_row == number)[:_NAMED_BY].tolist() for number in range(count)]
    texts = samples(row for some in rows for row in some)
    documents = [" ".join(texts[row].target for row in some) for some in rows]
    # Words of letters alone, so that numbers of a text are no name.
    vectorizer = TfidfVectorizer(stop_words="english", token_pattern=r"[^\W\d_]{3,}", sublinear_tf=True)
    try:
        weights = vectorizer.fit_transform(documents).toarray()
    except ValueError:
        # No text holds a word of three letters.
        return tuple(f"cluster {number + 1}" for number in range(count))
    words = vectorizer.get_feature_names_out()
    best = np.argsort(-weights, axis=1, kind="stable")[:, :_WORDS]
    return tuple(f"{number + 1}: {', '.join(words[places])}" for number, places in enumerate(best))

"""Where an agreement stands: between what needs no training and what the labels themselves hold.

The floor is the best of three rankings that learn nothing from labels: the untrained encoder, BM25 and surface
features. The ceiling is the teacher's agreement with itself under other seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from influcoder.encoder import Encoder
from influcoder.influence.reliability_record import Reliability
from influcoder.labelsets import Block
from influcoder.samples import Sample
from influcoder.statistics.agreement import Agreement, agreement, paired_difference
from influcoder.statistics.bootstrap import Interval
from monitoring.checks.findings import Bounds, Figure

UNTRAINED, BM25, SURFACE = "untrained encoder", "BM25", "length and format"
# A ranking that has nothing to say of most queries is no floor for them, however well it ranks the rest.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Floor:
    """What an encoder has to beat, on one block.

    Args:
        found: agreement of each ranking, by its name.
    """

    found: Mapping[str, Agreement]

    @property
    def name(self) -> str:
        """The ranking that agrees best, of those that rank half of the queries or more.

        Where none does, the untrained encoder, whose agreement is then NaN or rests on few queries: nothing is
        above such a floor.
        """
        asked = max(found.rho.queries for found in self.found.values())
        usable = {
            name: found.rho.value
            for name, found in self.found.items()
            if np.isfinite(found.rho.value) and found.rho.queries >= LEAST_SHARE * asked
        }
        return max(usable, key=lambda name: usable[name]) if usable else UNTRAINED

    @property
    def highest(self) -> Agreement:
        """The floor."""
        return self.found[self.name]


def measure_floor(base: Encoder, block: Block) -> Floor:
    """Rank a block by what needs no training.

    Args:
        base: the untrained encoder.
        block: queries, candidates and labels.
    """
    scores = {
        UNTRAINED: base.scores(block.queries, block.candidates),
        BM25: bm25_scores(block.queries, block.candidates),
        SURFACE: surface_scores(block.queries, block.candidates),
    }
    return Floor({name: agreement(values, block.labels) for name, values in scores.items()})


def bounds_of(found: Agreement, floor: Floor, reliability: Reliability | None) -> Bounds:
    """The place of an agreement.

    Args:
        found: the encoder's, on the floor's block.
        floor: what it has to beat.
        reliability: of the labels; None where it is unknown.
    """
    ceiling = None
    if reliability is not None:
        ceiling = {"value": reliability.ceiling, "lo": reliability.ceiling_lo, "hi": reliability.ceiling_hi}
    return Bounds(
        floors={name: figure_of(item.rho) for name, item in floor.found.items()},
        floor=floor.name,
        lift=figure_of(paired_difference(found, floor.highest)),
        ceiling=ceiling,
    )


def bm25_scores(queries: Sequence[Sample], candidates: Sequence[Sample]) -> np.ndarray:
    """Okapi BM25 of the queries' texts against the candidates', shape (queries, candidates).

    English stop words are left out; a query of them alone gives every candidate 0, and so ranks none
    (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section 3.4).
    """
    import bm25s

    index = bm25s.BM25()
    corpus = bm25s.tokenize([item.text for item in candidates], stopwords="en", show_progress=False)
    if not corpus.vocab:
        return np.zeros((len(queries), len(candidates)))
    index.index(corpus, show_progress=False)
    asked = bm25s.tokenize([item.text for item in queries], stopwords="en", return_ids=False, show_progress=False)
    return np.stack([index.get_scores(words) if words else np.zeros(len(candidates)) for words in asked])


def surface_scores(queries: Sequence[Sample], candidates: Sequence[Sample]) -> np.ndarray:
    """Cosines of length and format of context and target, standardised over all samples of the block.

    Returns:
        shape (queries, candidates).
    """
    from influcoder.encoder.lexical import surface

    samples = {sample.hash: sample for sample in (*queries, *candidates)}
    values = np.array([surface(sample.context) + surface(sample.target) for sample in samples.values()])
    standard = (values - values.mean(0)) / values.std(0).clip(1e-6)
    unit = standard / np.linalg.norm(standard, axis=1, keepdims=True).clip(1e-12)
    place = {value: row for row, value in enumerate(samples)}
    left, right = (unit[[place[sample.hash] for sample in role]] for role in (queries, candidates))
    return left @ right.T


def figure_of(interval: Interval) -> Figure:
    """An interval as plain numbers."""
    return asdict(interval)

"""Where an agreement stands: between what needs no training and what the labels themselves hold.

The floor is the best of three rankings that learn nothing from labels: the untrained encoder, BM25 and surface
features. The ceiling is the teacher's agreement with itself under other seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from influcoder.agreement import Agreement, agreement, paired_difference
from influcoder.bootstrap import Interval
from influcoder.encoder import Encoder
from influcoder.influence.reliability import Reliability
from influcoder.labelsets import Block
from influcoder.samples import Sample

UNTRAINED, BM25, SURFACE = "untrained encoder", "BM25", "length and format"
# A ranking that has nothing to say of most queries is no floor for them, however well it ranks the rest.
LEAST_SHARE = 0.5
Figure = dict[str, float]


@dataclass(frozen=True)
class Floor:
    """What an encoder has to beat, on one block.

    Args:
        found: agreement of each ranking, by its name.
        scores: their scores, by name, each of shape (queries, candidates).
    """

    found: Mapping[str, Agreement]
    scores: Mapping[str, np.ndarray]

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


class Bounds(BaseModel):
    """An agreement's place between its floor and its ceiling, as it is kept and shown.

    Args:
        floors: mean per-query ρ of each untrained ranking: value, lo, hi and queries; NaN where it ranks none.
        floor: the name of the highest.
        lift: mean per-query ρ minus the floor's, paired on queries and candidates: value, lo, hi and queries.
        ceiling: ρ of the teacher with itself: value, lo and hi; None where it is unknown.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    floors: dict[str, Figure]
    floor: str
    lift: Figure
    ceiling: Figure | None

    @property
    def height(self) -> float:
        """ρ of the floor."""
        return self.floors[self.floor]["value"]

    def __str__(self) -> str:
        lift = self.lift
        top = "ceiling unknown" if self.ceiling is None else f"ceiling {self.ceiling['value']:.3f}"
        return (
            f"floor {self.height:.3f} ({self.floor}), {top}, lift over the floor {lift['value']:+.3f} "
            f"[{lift['lo']:+.3f}, {lift['hi']:+.3f}]"
        )

    @property
    def paragraph(self) -> str:
        """The same for a card, in markdown."""
        floors = ", ".join(f"{name} {value['value']:.3f}" for name, value in self.floors.items())
        return f"Mean per-query ρ between {self}. Rankings that learn nothing: {floors}."

    def rows(self, name: str, rho: Figure) -> list[dict[str, str | float]]:
        """A row for the encoder, the lift, each floor and the ceiling, for a table."""
        floors = {f"{key}{' (the floor)' if key == self.floor else ''}": value for key, value in self.floors.items()}
        unknown = {"value": float("nan"), "lo": float("nan"), "hi": float("nan")}
        shown = {
            name: rho,
            "lift over the floor": self.lift,
            **floors,
            "ceiling of the labels": self.ceiling or unknown,
        }
        return [row_of(key, value) for key, value in shown.items()]

    def tags(self) -> dict[str, str]:
        """The same as tags of an encoder version."""
        lift = {f"agreement.lift{end}": f"{self.lift[part]:.4f}" for part, end in _ENDS.items()}
        return {"agreement.floor": f"{self.height:.4f}", "agreement.floor.of": self.floor, **lift}


_ENDS = {"value": "", "lo": ".lo", "hi": ".hi"}


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
    return Floor({name: agreement(values, block.labels) for name, values in scores.items()}, scores)


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


def row_of(name: str, figure: Figure) -> dict[str, str | float]:
    """A line of a table of figures."""
    return {"ρ of": name, **{part: _shown(figure[part]) for part in ("value", "lo", "hi")}}


def _shown(value: float) -> str | float:
    return round(value, 4) if np.isfinite(value) else "unknown"

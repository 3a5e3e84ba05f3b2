"""What each way to score costs: a sample of the pool, and a query of ten examples against an embedded pool."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from bench.common import interleaved, ratios
from bench.encoder import baselines as baselines
from bench.encoder.setting import forward_statistics
from bench.filter.methods import MAX_TOKENS, Bench
from influcoder.attribution.filter.scoring import Rule
from influcoder.encoder import Encoder
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teachers.scores import influence
from influcoder.settings.labels import EncoderSettings

SLOW, QUICK = 16, 256
Rows = np.ndarray


@dataclass(frozen=True)
class Seconds:
    """Milliseconds of one way to score, round by round.

    Args:
        sample: for each sample of the pool.
        query: for ten examples, and for ranking the pool by them.
    """

    sample: list[float]
    query: list[float]

    @property
    def words(self) -> tuple[str, str]:
        """Both, for the table."""
        return _words(self.sample), _words(self.query)

    def share(self, other: "Seconds", what: str) -> str:
        """What another one takes of this one's time, as a percentage."""
        found = ratios([getattr(other, what), getattr(self, what)], 1)[0]
        return "{:.2g} % ({:.2g} to {:.2g} %)".format(*(100 * value for value in found))


@dataclass(frozen=True)
class Way:
    """A way to score as it is timed.

    Args:
        embed: vectors of samples by their rows.
        score: influence of a pool's vectors with the examples' ones.
        count: how many samples of the pool are embedded in a round.
    """

    embed: Callable[[Rows], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], np.ndarray]
    count: int


def measured(bench: Bench, rounds: int, wanted: Collection[str]) -> dict[str, Seconds]:
    """Time of the ways to score that are wanted and have one, all in turns."""
    draw = bench.mixture.draw(0)
    pool, examples = draw["pool"], draw["examples"]
    ways = {name: make() for name, make in _ways(bench).items() if name in wanted}
    works, counts = [], []
    for way in ways.values():
        some = way.embed(pool[: way.count])
        vectors = np.resize(some, (len(pool), some.shape[1]))
        works.append(lambda way=way: way.embed(pool[: way.count]))
        works.append(lambda way=way, vectors=vectors: Rule("mean")(way.score(vectors, way.embed(examples))).argsort())
        counts += [way.count, 1]
    works.append(lambda: bench.by_words(baselines.bm25)(examples, pool))
    seconds = interleaved(works, rounds)
    each = [[1000 * value / count for value in row] for row, count in zip(seconds, [*counts, 1], strict=True)]
    found = {name: Seconds(each[2 * place], each[2 * place + 1]) for place, name in enumerate(ways)}
    # Its word frequencies are those of the pool, so that a query costs the index too.
    return found | {"BM25": Seconds([value / len(pool) for value in each[-1]], each[-1])}


def _ways(bench: Bench) -> Mapping[str, Callable[[], Way]]:
    samples = bench.setting.samples

    def closed() -> Way:
        draw = bench.mixture.draw(0)
        labels = bench.labels(draw["train"], draw["selection"])
        encoder = bench.encoder(labels, EncoderSettings(recipe="kernel", max_tokens=MAX_TOKENS))
        return Way(lambda rows: encoder.embed([encoder.view(samples[row]) for row in rows]), _products, QUICK)

    def text() -> Way:
        encoder = Encoder(EncoderSettings().base, MAX_TOKENS)
        return Way(lambda rows: encoder.embed([samples[row].text for row in rows]), _products, QUICK)

    def states(rows: Rows) -> np.ndarray:
        tokens = [tokenize(bench.decoder.tokenizer, samples[row], MAX_TOKENS) for row in rows]
        return forward_statistics(bench.decoder, tokens)[1][:, -1, 1].astype(np.float32)

    return {
        "gradient cosine (exact)": lambda: Way(lambda rows: bench.gradients(rows, bench.spec), influence, SLOW),
        "LESS (exact)": lambda: Way(lambda rows: bench.gradients(rows, bench.less_spec), _less, SLOW),
        "RepSim, last block": lambda: Way(states, _products, SLOW),
        "untrained encoder": text,
        "ours: closed form": closed,
    }


def _products(pool: np.ndarray, examples: np.ndarray) -> np.ndarray:
    return pool @ examples.T


def _less(pool: np.ndarray, examples: np.ndarray) -> np.ndarray:
    half = pool.shape[1] // 2
    return influence(pool, examples, slice(half, None), slice(0, half))


def _words(values: list[float]) -> str:
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"

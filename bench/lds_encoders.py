"""Encoders distilled from the teachers: labels on samples that are neither in the pool nor among the queries.

Any teacher with a label set can be distilled: one line in `LABELS` adds it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from lds_setting import Setting
from lds_teachers import SPECS, features

from influcoder.encoder import Encoder, distil
from influcoder.influence.labeller import Labelled
from influcoder.influence.teacher import Teacher, TeacherSpec
from influcoder.labelsets import LabelSet, Plan
from influcoder.labelsets.labelset import assemble
from influcoder.settings import EncoderSettings

Scores = Callable[[Setting], np.ndarray]


def by_specification(spec: TeacherSpec) -> Callable[[Setting], LabelSet]:
    """Labels of one of the product's teachers on the train and selection splits."""

    def labels(setting: Setting) -> LabelSet:
        entries = tuple(entry for entry in setting.plan.entries if entry.split != "report")
        plan = Plan(setting.plan.kind, entries, setting.plan.sources)
        table = features(setting, spec, plan.samples)
        teacher = Teacher(decoder_fingerprint=setting.decoder.fingerprint, spec=setting.own(spec))
        return assemble(plan, teacher, setting.decoder.uri, Labelled(table, {}, len(table.hashes)))

    return labels


LABELS: Mapping[str, Callable[[Setting], LabelSet]] = {name: by_specification(spec) for name, spec in SPECS.items()}


def encoders(settings: EncoderSettings) -> dict[str, Scores]:
    """Ways to score by an encoder: untrained, and distilled from each teacher.

    Args:
        settings: the base encoder and the recipe.
    """
    distilled = {f"encoder of {name}": _distilled(labels, settings) for name, labels in LABELS.items()}
    return {"encoder, untrained": _untrained(settings), **distilled}


def _untrained(settings: EncoderSettings) -> Scores:
    def scores(setting: Setting) -> np.ndarray:
        return Encoder(settings.base, settings.max_tokens).scores(setting.queries, setting.candidates)

    return scores


def _distilled(labels: Callable[[Setting], LabelSet], settings: EncoderSettings) -> Scores:
    def scores(setting: Setting) -> np.ndarray:
        found = distil(Encoder(settings.base, settings.max_tokens), labels(setting), settings)
        course = ", ".join(f"{epoch.rho:.3f}" for epoch in found.history)
        print(f"selection ρ by epoch, from 0: {course}; epoch {found.best} was kept")
        return found.encoder.scores(setting.queries, setting.candidates)

    return scores

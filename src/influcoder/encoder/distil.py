"""Distillation: an encoder learns to rank as exact influence does, by whichever recipe the labels allow."""

from typing import TYPE_CHECKING

import numpy as np

from influcoder.agreement import agreement
from influcoder.decoder import Decoder
from influcoder.encoder.distilled import Distilled, Say
from influcoder.encoder.fine_tuning import fine_tune
from influcoder.encoder.model import Encoder
from influcoder.errors import EncoderError
from influcoder.influence.teacher import COSINES
from influcoder.labelsets import LabelSet
from influcoder.labelsets.plan import REFERENCE
from influcoder.settings import EncoderSettings

if TYPE_CHECKING:
    from influcoder.encoder.closed_form import Lessons


def distil(
    encoder: Encoder | None,
    labels: LabelSet,
    settings: EncoderSettings,
    decoder: Decoder | None = None,
    say: Say = lambda _number, _values: None,
) -> Distilled:
    """Train an encoder on the train split; the report split is not looked at.

    `kernel` solves for an encoder in closed form and chooses by leaving out training samples one by one, so that the
    selection split shows what was chosen by nothing in it. `fine-tune` trains the text encoder that it is given, and
    the selection split chooses the epoch. `auto` is `kernel` where labels allow it.

    Args:
        encoder: what fine-tuning starts from; its weights are changed. A closed form does without.
        labels: a training label set.
        settings: recipe and stopping rule.
        decoder: the one that was labelled, for its tokenizer and token embeddings; fine-tuning does without.
        say: is given the number and the figures of each epoch, or of each choice of the closed form.
    Raises:
        EncoderError: the labels do not allow the recipe, or the loss is no longer finite.
    """
    if recipe_of(labels, settings) == "fine-tune":
        if encoder is None or encoder.in_closed_form:
            raise EncoderError("fine-tuning needs a text encoder to start from.", "Start from base.")
        return fine_tune(encoder, labels, settings, say)
    if decoder is None:
        raise EncoderError("the recipe `kernel` needs the decoder.", "Set encoder.recipe to fine-tune to do without.")
    return _in_closed_form(labels, settings, decoder, say)


def recipe_of(labels: LabelSet, settings: EncoderSettings) -> str:
    """`kernel` or `fine-tune`.

    Raises:
        EncoderError: `kernel` is asked for, and the labels are no cosines of one gradient a sample.
    """
    spec = labels.identity.teacher.spec
    # Kernel regression needs coordinates, so cosines of every sample with every other; LESS has two sides to a sample.
    possible = spec.method in COSINES and spec.method != "less" and labels.features is not None
    if settings.recipe == "kernel" and not possible:
        raise EncoderError(f"labels by {spec.method} have no closed form.", "Set encoder.recipe to auto or fine-tune.")
    return "kernel" if possible and settings.recipe != "fine-tune" else "fine-tune"


def _in_closed_form(labels: LabelSet, settings: EncoderSettings, decoder: Decoder, say: Say) -> Distilled:
    fingerprint = labels.identity.teacher.decoder_fingerprint
    if decoder.fingerprint != fingerprint:
        raise EncoderError(
            f"decoder {decoder.uri} is {decoder.fingerprint[:12]}, the labels are those of {fingerprint[:12]}.",
            "Label the decoder as it is now, or set encoder.recipe to fine-tune.",
        )
    from influcoder.encoder.closed_form import solve

    lessons = _lessons(labels)
    model, attempts = solve(lessons, decoder, labels.identity.teacher.spec.max_tokens, settings.seed)
    encoder = Encoder.of(model)
    for number, attempt in enumerate(attempts, 1):
        say(number, {"left_out.rho": attempt.left_out})
    say(len(attempts), {"selection.rho": _selection(encoder, labels)})
    best = attempts[0]
    how = (
        f"bandwidth {best.bandwidth:g} and penalty {best.penalty:g} chosen from {len(attempts)} "
        f"pairs by leaving out training samples one by one (ρ {best.left_out:.3f})"
    )
    return Distilled(encoder, "solved in closed form", how, attempts=tuple(attempts))


def _lessons(labels: LabelSet) -> "Lessons":
    from influcoder.encoder.closed_form import Lessons

    square = labels.square("train")
    roles = [e.role for e in labels.entries if e.split == "train" and e.role != REFERENCE]
    everyone = np.arange(len(roles))
    # From one corpus each sample is a query that ranks all the others, as it is where agreement is measured.
    if labels.evidence("train").is_square:
        return Lessons(square.queries, square.labels, everyone, everyone)
    queries, candidates = (np.flatnonzero([role == wanted for role in roles]) for wanted in ("query", "candidate"))
    return Lessons(square.queries, square.labels, queries, candidates)


def _selection(encoder: Encoder, labels: LabelSet) -> float:
    block = labels.evidence("selection")
    return agreement(encoder.scores(block.queries, block.candidates), block.labels, resamples=2).rho.value

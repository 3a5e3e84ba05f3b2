"""Distillation: an encoder learns to rank as exact influence does, by whichever recipe the labels allow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from influcoder.core.errors import EncoderError
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder.fine_tuning import fine_tune, rho_of
from influcoder.encoder.model import Encoder
from influcoder.encoder.result import Distilled, Say
from influcoder.influence.teachers.scores import influence
from influcoder.labelsets import LabelSet
from influcoder.labelsets.plan import REFERENCE, Entry
from influcoder.settings.labels import EncoderSettings
from influcoder.settings.teacher import COSINES

if TYPE_CHECKING:
    from influcoder.encoder.checkpoints import Checkpoints
    from influcoder.encoder.kernel_solver import TrainingSamples


def distil(
    encoder: Encoder | None,
    labels: LabelSet,
    settings: EncoderSettings,
    decoder: Decoder | None = None,
    earlier: Sequence[LabelSet] = (),
    say: Say = lambda _number, _values: None,
    checkpoints: "Checkpoints | None" = None,
) -> Distilled:
    """Train an encoder on the train split; the report split is not looked at.

    `kernel` solves for an encoder in closed form and chooses by leaving out training samples one by one. `fine-tune`
    trains the text encoder that it is given, and the selection split chooses the epoch. `auto` does both where labels
    allow it, and the selection split chooses: a closed form ranks a mixed pool better, a fine-tuned encoder texts
    that are alike in form and differ in what they say.

    Args:
        encoder: what fine-tuning starts from; its weights are changed. The recipe `kernel` does without.
        labels: a training label set.
        settings: recipe and stopping rule.
        decoder: the one that was labelled, for its tokenizer and token embeddings; `fine-tune` does without.
        earlier: label sets that this one continues, by the same teacher; a closed form learns from all of them
            together, so that what still holds is kept. Fine-tuning keeps what its start has learnt.
        say: is given the number and the figures of each epoch, and of each choice of the closed form.
        checkpoints: where fine-tuning goes on from after a kill.
    Raises:
        EncoderError: the labels do not allow the recipe, what it needs is missing, or the loss is no longer finite.
    """
    found = []
    recipes = recipes_of(labels, settings)
    if "kernel" in recipes:
        if decoder is None:
            raise EncoderError("a closed form needs the decoder.", "Set encoder.recipe to fine-tune to do without.")
        found.append(_in_closed_form(labels, settings, decoder, earlier, say))
    if "fine-tune" in recipes:
        if encoder is None or encoder.in_closed_form:
            raise EncoderError("fine-tuning needs a text encoder to start from.", "Start from base.")
        found.append(fine_tune(encoder, labels, settings, say, checkpoints))
    best = max(found, key=lambda distilled: np.nan_to_num(distilled.selection, nan=-1))
    others = "".join(
        f"; preferred to what was {o.start}: selection ρ {o.selection:.3f}" for o in found if o is not best
    )
    return replace(best, how=f"{best.how}; selection ρ {best.selection:.3f}{others}")


def recipes_of(labels: LabelSet, settings: EncoderSettings) -> tuple[str, ...]:
    """`kernel`, `fine-tune` or both.

    Raises:
        EncoderError: `kernel` is asked for, and the labels are no cosines of one gradient a sample.
    """
    spec = labels.identity.teacher.spec
    # Kernel regression needs coordinates, so cosines of every sample with every other; LESS has two sides to a sample.
    possible = spec.method in COSINES and spec.method != "less" and labels.features is not None
    if settings.recipe == "kernel" and not possible:
        raise EncoderError(f"labels by {spec.method} have no closed form.", "Set encoder.recipe to auto or fine-tune.")
    if settings.recipe != "auto":
        return (settings.recipe,)
    return ("kernel", "fine-tune") if possible else ("fine-tune",)


def _in_closed_form(
    labels: LabelSet, settings: EncoderSettings, decoder: Decoder, earlier: Sequence[LabelSet], say: Say
) -> Distilled:
    fingerprint = labels.identity.teacher.decoder_fingerprint
    if decoder.fingerprint != fingerprint:
        raise EncoderError(
            f"decoder {decoder.uri} is {decoder.fingerprint[:12]}, the labels are those of {fingerprint[:12]}.",
            "Label the decoder as it is now, or set encoder.recipe to fine-tune.",
        )
    from influcoder.encoder.kernel_solver import solve

    samples = _training_samples(labels, earlier)
    max_tokens = labels.identity.teacher.spec.max_tokens
    model, attempts = solve(samples, decoder, max_tokens, settings.seed)
    encoder = Encoder.of(model)
    for number, attempt in enumerate(attempts, 1):
        say(number, {"left_out.rho": attempt.left_out})
    selection = rho_of(encoder, labels.evidence("selection"))
    say(len(attempts), {"closed_form.rho": selection})
    best = attempts[0]
    how = (
        f"bandwidth {best.bandwidth:g} and penalty {best.penalty:g} chosen from {len(attempts)} "
        f"pairs by leaving out training samples one by one (ρ {best.left_out:.3f})"
    )
    start = "solved in closed form" + (f" with {_train(earlier)} earlier samples" if earlier else "")
    return Distilled(encoder, start, how, selection, attempts=tuple(attempts))


def _training_samples(labels: LabelSet, earlier: Sequence[LabelSet]) -> "TrainingSamples":
    from influcoder.encoder.kernel_solver import TrainingSamples

    samples: dict[str, Entry] = {}
    tables = []
    for part in (labels, *earlier):
        if part.features is None or part.identity.teacher != labels.identity.teacher:
            raise EncoderError(
                f"label set {part.id} is of another teacher than {labels.id}.", "Learn from one teacher."
            )
        rows = [
            row
            for row, entry in enumerate(part.entries)
            if entry.split == "train" and entry.role != REFERENCE and entry.sample.hash not in samples
        ]
        samples |= {part.entries[row].sample.hash: part.entries[row] for row in rows}
        tables.append(part.features.rows(rows).vectors)
    gram = np.block([[influence(own, other) for other in tables] for own in tables])
    np.fill_diagonal(gram, np.nan)
    roles = np.array([entry.role for entry in samples.values()])
    # Even where each sample could be a query, the directions that some span generalise better than those of all.
    queries, candidates = (np.flatnonzero(roles == wanted) for wanted in ("query", "candidate"))
    return TrainingSamples([entry.sample for entry in samples.values()], gram, queries, candidates)


def _train(sets: Sequence[LabelSet]) -> int:
    return sum(entry.split == "train" and entry.role != REFERENCE for part in sets for entry in part.entries)

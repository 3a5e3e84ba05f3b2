"""From files to a decision: what a filter is asked for, read and held against a pool."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from influcoder.attribution.filter.curve import Aim
from influcoder.attribution.filter.output import FilterFolder
from influcoder.attribution.filter.scoring import RULES, Batch, Probe, Rule, Scored, probe_of, vectors_of
from influcoder.attribution.filter.threshold import Cut, by_budget, by_threshold, by_validation
from influcoder.core.errors import SampleError, SettingsError
from influcoder.core.progress import progress
from influcoder.encoder import Encoder
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.samples.readers import read_labelled

AUTO = "auto"


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Args:
        examples: URI of the harmful examples.
        benign: URI of harmless examples, which join the cohort that scores are held against.
        validation: a .jsonl file of labelled samples, see `read_labelled`; chooses the threshold.
        drop: a budget, such as `5%` or `200`.
        threshold: a score.
        aim: what the threshold is chosen for on the validation.
        score: a rule by its name, or `auto`, which chooses on the validation.
    Raises:
        SettingsError: not exactly one of validation, drop and threshold is given, or an aim without a validation.
    """

    examples: str
    benign: str | None = None
    validation: str | None = None
    drop: str | None = None
    threshold: float | None = None
    aim: Aim = field(default_factory=Aim)
    score: str = AUTO

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.validation, self.drop, self.threshold)) != 1:
            raise SettingsError(
                "exactly one thing says how much to drop.", "Give one of --validation, --drop and --threshold."
            )
        if self.aim != Aim() and self.validation is None:
            raise SettingsError("--precision and --recall need labelled samples.", "Give --validation.")
        _ = self.rules

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The ways to score that come into question."""
        return tuple(map(Rule, RULES)) if self.score == AUTO else (Rule(self.score),)


@dataclass(frozen=True)
class Inputs:
    """What a filter is given.

    Args:
        request: what was asked for.
        examples: the harmful examples.
        benign: harmless examples.
        labelled: samples of the validation that are no example.
        harmful: whether each of them is harmful.
        digests: of every file, by its role.
        warnings: what was left out.
    """

    request: Request
    examples: Corpus
    benign: tuple[Sample, ...]
    labelled: tuple[Sample, ...]
    harmful: tuple[bool, ...]
    digests: dict[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Filtered:
    """A pool with its line.

    Args:
        probe: what it was held against.
        cut: the line.
        found: scores of the pool.
    """

    probe: Probe
    cut: Cut
    found: Scored


def read_inputs(request: Request) -> Inputs:
    """Read the files that a request names.

    Raises:
        SampleError: one of them can't be read, or is empty.
    """
    examples = read_corpus(request.examples)
    benign = read_corpus(request.benign) if request.benign else None
    digests = {"examples": examples.digest}
    labelled: dict[str, tuple[Sample, bool]] = {}
    warnings = []
    if benign:
        digests["benign"] = benign.digest
    if request.validation:
        everything = list(read_labelled(request.validation))
        digests["validation"] = Corpus(request.validation, tuple(sample for sample, _ in everything)).digest
        shown = {sample.hash for sample in (*examples.samples, *(benign.samples if benign else ()))}
        for sample, label in everything:
            if labelled.setdefault(sample.hash, (sample, label))[1] != label:
                raise SampleError(f"the validation calls {sample.id!r} harmful and harmless.", "Mend one of the lines.")
        labelled = {name: pair for name, pair in labelled.items() if name not in shown}
        if len(labelled) < len(everything):
            left = len(everything) - len(labelled)
            warnings.append(f"{left} samples of the validation are examples or stand there twice, and are left out.")
    chosen, labels = tuple(zip(*labelled.values(), strict=True)) if labelled else ((), ())
    return Inputs(request, examples, benign.samples if benign else (), chosen, labels, digests, tuple(warnings))


def filter_pool(
    encoder: Encoder,
    inputs: Inputs,
    cohort: Sequence[Sample],
    batches: Iterable[Batch],
    total: int,
    folder: FilterFolder,
) -> Filtered:
    """Score a pool, batch by batch, and draw the line.

    Args:
        encoder: the champion.
        inputs: examples, and labelled samples if any.
        cohort: what scores are held against, see `cohort_of`.
        batches: the pool with its vectors.
        total: how many samples it has.
        folder: where the pool is kept.
    Raises:
        SampleError: there is no example, or the validation lacks a kind of samples.
        SettingsError: the wish can't be met.
    """
    request = inputs.request
    probe = probe_of(encoder, inputs.examples.samples, cohort, request.rules[0])
    cut = None
    if request.validation:
        cut = _validated(encoder, inputs, probe)
        assert cut.validated
        probe = replace(probe, rule=Rule(cut.validated.rule))
    elif request.threshold is not None:
        cut = by_threshold(request.threshold)
    else:
        # A budget that can't be met is said before the work, not after it.
        cut = by_budget(str(request.drop), total)
    with progress("filtering", total) as ticker:
        for samples, vectors in batches:
            folder.add(samples, probe.score(samples, vectors))
            ticker.advance(len(samples))
    return Filtered(probe, cut, folder.found)


def _validated(encoder: Encoder, inputs: Inputs, probe: Probe) -> Cut:
    vectors = vectors_of(encoder, inputs.labelled)
    scores = {rule.name: probe.score(inputs.labelled, vectors, rule).scores for rule in inputs.request.rules}
    return by_validation(scores, np.array(inputs.harmful, bool), inputs.request.aim)


def notes(inputs: Inputs, filtered: Filtered) -> list[str]:
    """What a reader of the lists must know beside what the encoder is worth."""
    found, cut, aim = filtered.found, filtered.cut, inputs.request.aim
    dropped = cut.dropped(found)
    said = list(inputs.warnings)
    if not dropped.any() or dropped.all():
        said.append("everything is dropped." if dropped.all() else "nothing reaches the threshold: nothing is dropped.")
    elif cut.count is not None:
        tied = int((found.scores[~dropped] == found.scores[dropped & ~found.copies].min(initial=np.inf)).sum())
        if tied:
            said.append(f"{tied} samples that are kept score as much as the last one dropped.")
    if cut.validated is None:
        return [*said, "no labelled samples say how many of the dropped are harmful: give --validation to know."]
    rate = cut.validated.harmful / (cut.validated.harmful + cut.validated.harmless)
    if not cut.validated.average_precision.lo > rate:
        said.append(f"on labelled samples these scores are no better than chance: {cut.validated.average_precision}.")
    for name, wanted in (("precision", aim.precision), ("recall", aim.recall)):
        held = getattr(cut.validated, name)
        if wanted is not None and not held.lo >= wanted:
            said.append(f"{name} is {held}, corrected for the choice: the {wanted:g} asked for is not sure.")
    return said


def facts(inputs: Inputs, filtered: Filtered) -> dict[str, Any]:
    """What the summary says of scores and threshold."""
    validated = filtered.cut.validated
    return {
        "score": filtered.probe.rule.name,
        "examples": [sample.id for sample in filtered.probe.examples],
        "cohort": {"size": len(filtered.probe.cohort), "benign": len(inputs.benign)},
        "copies": int(filtered.found.copies.sum()),
        "validation": asdict(validated) if validated else None,
    }

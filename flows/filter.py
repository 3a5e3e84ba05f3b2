"""A handful of harmful examples → scores of a corpus → what to keep and what to drop, in a folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow

from flows.steps import show, step
from influcoder.attribution.filter.curve import Aim
from influcoder.attribution.filter.output import Decision, FilterFolder
from influcoder.attribution.filter.run import AUTO, Filtered, Inputs, Request, facts, filter_pool, notes, read_inputs
from influcoder.attribution.filter.scoring import cohort_of, cohort_rows
from influcoder.attribution.filter.validation import exact_scores, to_verify, verified
from influcoder.core.files import workspace
from influcoder.core.provenance import code_commit, now
from influcoder.samples.query_log import remember
from influcoder.serving.champion import ServedChampion
from influcoder.serving.warnings import last_verdict
from influcoder.settings.tree import load_settings


@flow(name="filter", log_prints=True)
def filter_corpus(
    examples: str,
    out: str,
    corpus: str | None = None,
    benign: str | None = None,
    validation: str | None = None,
    drop: str | None = None,
    threshold: float | None = None,
    precision: float | None = None,
    recall: float | None = None,
    score: str = AUTO,
    verify: int = 0,
    decoder: str | None = None,
    private: bool = False,
) -> dict[str, Any]:
    """Write keep.jsonl, drop.jsonl, summary.json and scores.png into a new folder; the summary.

    Args:
        examples: the harmful examples.
        out: the folder.
        corpus: what is filtered; from the settings unless given.
        benign: harmless examples, which join the draw of the corpus that scores are held against.
        validation: labelled samples that choose the threshold; one of this, `drop` and `threshold` is given.
        drop: a budget, such as `5%` or `200`.
        threshold: a score.
        precision: what the threshold is chosen for on the validation, instead of the best F1.
        recall: the same.
        score: `mean`, `max`, `topM`, or `auto`.
        verify: exact influence of so many of the highest that are dropped, and of as many that are kept.
        decoder: the decoder in use; from the settings unless given.
        private: leave the examples out of the log of questions.
    """
    settings = load_settings(decoder=decoder, corpus=corpus)
    inputs = read_inputs(Request(examples, benign, validation, drop, threshold, Aim(precision, recall), score))
    champion = ServedChampion(settings)
    with FilterFolder(Path(out)) as folder:
        filtered = rank(champion, inputs, folder)
        exact = compare(champion, filtered, folder, verify) if verify else {}
        doubts = (*champion.warnings(), *last_verdict(champion.store, champion.version))
        record = {
            **facts(inputs, filtered),
            "verified": asdict(verified(filtered, exact)) if verify else None,
            "warnings": [*doubts, *notes(inputs, filtered)],
            **origin(champion, inputs),
        }
        names = [sample.id for sample in inputs.examples.samples]
        summary = folder.write(Decision(filtered.found, filtered.cut, names, exact), record)
    log_examples(champion, inputs, private)
    show_result(out, summary)
    return summary


@step("score the corpus")
def rank(champion: ServedChampion, inputs: Inputs, folder: FilterFolder) -> Filtered:
    """Bring the corpus' index up to date, score it batch by batch, and draw the line."""
    champion.update_index()
    index = champion.index
    rows = cohort_rows(len(index), len(inputs.examples) + len(inputs.benign))
    drawn = index.samples(rows)
    cohort = cohort_of([drawn[row] for row in rows], inputs.examples.samples, inputs.benign)
    with workspace() as meanwhile:
        return filter_pool(champion.encoder, inputs, cohort, index.batches(meanwhile), len(index), folder)


@step("exact influence")
def compare(champion: ServedChampion, filtered: Filtered, folder: FilterFolder, count: int) -> dict[int, float]:
    """Exact influence of some samples by their row; what is cached is not computed again."""
    rows = to_verify(filtered, count)
    samples = dict(zip(rows, folder.samples(rows), strict=True))
    return exact_scores(filtered, samples, champion.exact(filtered.probe.examples, list(samples.values())))


def origin(champion: ServedChampion, inputs: Inputs) -> dict[str, Any]:
    """What stands behind the scores: from a list back to the bytes that it came from."""
    behind, settings = champion.provenance, champion.settings
    index = behind.index
    return {
        "encoder": behind.encoder(),
        "decoder": {"uri": settings.decoder, "fingerprint": champion.fingerprint},
        "corpus": {"uri": settings.corpus, "digest": index.identity.corpus, "duplicates": index.duplicates},
        "index": index.id,
        "digests": inputs.digests,
        "created": now(),
        "code": code_commit(),
    }


def log_examples(champion: ServedChampion, inputs: Inputs, private: bool) -> None:
    """Log what was asked, unless it is private."""
    examples, encoder = inputs.examples.samples, champion.version.version
    remember(champion.store, champion.settings.asked, examples, encoder, champion.fingerprint, private)


def show_result(out: str, summary: dict[str, Any]) -> None:
    """Leave the result on the flow run's page."""
    counts, line = summary["counts"], summary["threshold"]
    lines = [
        f"# {counts['drop']} of {counts['pool']} samples are to be dropped",
        f"`{out}` on the machine that ran it. Threshold {line['value']:.3f}: {line['why']}.",
        *(f"Warning: {warning}" for warning in summary["warnings"]),
    ]
    show("filter", "\n\n".join(lines), [counts], {})

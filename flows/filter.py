"""A handful of harmful examples → scores of a corpus → what to keep and what to drop, in a folder."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow

from flows.steps import show, step
from influcoder.attribution.filter.curve import Aim
from influcoder.attribution.filter.output import Decision, FilterFolder
from influcoder.attribution.filter.run import AUTO, Inputs, Request, Sifted, facts, notes, read_inputs, sift
from influcoder.attribution.filter.scoring import cohort_of, cohort_rows
from influcoder.attribution.filter.validation import exact_scores, to_verify, verified
from influcoder.core.files import workspace
from influcoder.core.provenance import code_commit, now
from influcoder.decoder.checkpoint import Decoder
from influcoder.index import Index, Manifest
from influcoder.index.build import embedder_of, up_to_date
from influcoder.labelsets.build import curvature_pool, decoder_for, label_plan
from influcoder.labelsets.manifest import load_manifest
from influcoder.labelsets.plan import plan_pairs
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import CHAMPION, Registry
from influcoder.registry.open_encoder import open_encoder
from influcoder.samples.query_log import remember
from influcoder.serving.warnings import caveats, last_verdict
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore


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
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    champion = registry.version(CHAMPION)
    spec = load_manifest(store, champion.label_set_id).identity.teacher.spec
    with FilterFolder(Path(out)) as folder:
        model = decoder_for(settings, spec)
        index, sifted = rank(settings, store, registry, champion, model, inputs, folder)
        exact = compare(settings, store, model, spec, sifted, folder, verify) if verify else {}
        doubts = caveats(store, registry.model, champion, settings.decoder, model.fingerprint)
        said = {
            **facts(inputs, sifted),
            "verified": asdict(verified(sifted, exact)) if verify else None,
            "warnings": [*doubts, *last_verdict(store, champion), *notes(inputs, sifted)],
            **origin(champion, settings, model, index, inputs),
        }
        names = [sample.id for sample in inputs.examples.samples]
        summary = folder.write(Decision(sifted.found, sifted.cut, names, exact), said)
    remember(store, settings.asked, inputs.examples.samples, champion.version, model.fingerprint, private)
    show_result(out, summary)
    return summary


@step("score the corpus")
def rank(
    settings: Settings,
    store: ObjectStore,
    registry: Registry,
    champion: EncoderVersion,
    decoder: Decoder,
    inputs: Inputs,
    folder: FilterFolder,
) -> tuple[Manifest, Sifted]:
    """Bring the corpus' index up to date, score it batch by batch, and draw the line."""
    with tempfile.TemporaryDirectory() as files, workspace() as meanwhile:
        encoder = open_encoder(registry, champion, Path(files), settings)
        embedder = embedder_of(registry, champion, encoder)
        index = Index(store, up_to_date(store, champion, encoder, embedder, settings.corpus).manifest)
        rows = cohort_rows(len(index), len(inputs.examples) + len(inputs.benign))
        drawn = index.samples(rows)
        cohort = cohort_of([drawn[row] for row in rows], inputs.examples.samples, inputs.benign)
        return index.manifest, sift(encoder, inputs, cohort, index.batches(meanwhile), len(index), folder)


@step("exact influence")
def compare(
    settings: Settings,
    store: ObjectStore,
    decoder: Decoder,
    spec: TeacherSpec,
    sifted: Sifted,
    folder: FilterFolder,
    count: int,
) -> dict[int, float]:
    """Exact influence of some samples by their row; what is cached is not computed again."""
    rows, pool = to_verify(sifted, count), curvature_pool(settings, spec)
    chosen = dict(zip(rows, folder.samples(rows), strict=True))
    plan = plan_pairs(sifted.probe.examples, list(chosen.values()), pool, settings.labels.seed, spec.curved_on)
    return exact_scores(sifted, chosen, label_plan(settings, decoder, spec, plan, store).block("report"))


def origin(
    champion: EncoderVersion, settings: Settings, decoder: Decoder, index: Manifest, inputs: Inputs
) -> dict[str, Any]:
    """What stands behind the scores: from a list back to the bytes that it came from."""
    tags = champion.tags
    return {
        "encoder": {
            "version": champion.version,
            "run": champion.run_id,
            "sha256": tags.get("encoder.sha256"),
            "label_set": champion.label_set_id,
            "teacher": tags.get("teacher.id"),
            "decoder": champion.decoder_fingerprint,
            "agreement": {name: value for name, value in tags.items() if name.startswith("agreement.")},
            "ceiling": tags.get("labels.ceiling"),
        },
        "decoder": {"uri": settings.decoder, "fingerprint": decoder.fingerprint},
        "corpus": {"uri": settings.corpus, "digest": index.identity.corpus, "duplicates": index.duplicates},
        "index": index.id,
        "digests": inputs.digests,
        "created": now(),
        "code": code_commit(),
    }


def show_result(out: str, summary: dict[str, Any]) -> None:
    """Leave the result on the flow run's page."""
    counts, line = summary["counts"], summary["threshold"]
    lines = [
        f"# {counts['drop']} of {counts['pool']} samples are to be dropped",
        f"`{out}` on the machine that ran it. Threshold {line['value']:.3f}: {line['why']}.",
        *(f"Warning: {warning}" for warning in summary["warnings"]),
    ]
    show("filter", "\n\n".join(lines), [counts], {})

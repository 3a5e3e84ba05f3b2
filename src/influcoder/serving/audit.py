"""From an answer to a report: exact checks, the chain of evidence, and an entry in the journal."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from influcoder.attribution import Attribution
from influcoder.attribution.audit import Audit, Link, Point, Ruler, render_html, render_pdf
from influcoder.core.errors import SampleError
from influcoder.core.files import refuse_taken, whole_folder
from influcoder.core.provenance import code_commit, now, person
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.champions import Champions
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.journal import Action, Entry, Event, entries
from influcoder.registry.mlflow_registry import Registry
from influcoder.samples import Sample
from influcoder.serving.answerer import Answer, Answerer
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore, sha256
from monitoring.checks.record import newest_check

HTML, PDF, RECORD = "report.html", "report.pdf", "record.json"


@dataclass(frozen=True)
class Extent:
    """How much is looked at.

    Args:
        most: samples that drove the answer most.
        least: samples that drove it least.
        exact: of how many of each exact influence is computed.
        controls: samples drawn at random, of which it is computed too.
    """

    most: int = 10
    least: int = 3
    exact: int = 10
    controls: int = 10


def examine(answerer: Answerer, settings: Settings, output: Sample, prompt: str, extent: Extent) -> Audit:
    """Everything that a report says.

    Args:
        answerer: the champion and its index.
        settings: servers and decoder.
        output: what the decoder said.
        prompt: what it was asked, as a person wrote it.
        extent: how much is looked at.
    """
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    answer = answerer.answers([output], extent.most, extent.least, extent.exact, private=True)[0]
    manifest = answer.index
    return Audit(
        created=now(),
        author=person(),
        prompt=prompt or output.context,
        answer=output.target,
        pool=manifest.corpus_uri,
        samples=manifest.rows,
        most=tuple(_point(item) for item in answer.found.most),
        least=tuple(_point(item) for item in answer.found.least),
        controls=_controls(answerer, answer, extent.controls) if extent.exact else (),
        rulers=_rulers(store, answer.champion),
        warnings=answer.warnings,
        chain=_chain(store, registry, settings, answer),
    )


def publish(audit: Audit, settings: Settings, folder: Path) -> Entry:
    """Render a report, keep it in the store, journal its checksums, and write it to a folder; whole or not at all.

    Raises:
        SettingsError: the folder is there already.
    """
    refuse_taken(folder)
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    files = {
        HTML: render_html(audit),
        PDF: render_pdf(audit),
        RECORD: audit.model_dump_json(indent=1).encode(),
    }
    for name, data in files.items():
        store.keep(f"audits/{audit.id}/{name}", data)
    version = next(link.id for link in audit.chain if link.what == "encoder version")
    event = Event(
        action=Action.AUDITED,
        version=version,
        prior=version,
        actor=audit.author,
        reason=f"audit {audit.id}",
        digests={name: sha256(data) for name, data in files.items()},
    )
    entry = Champions(store, registry).note(event)
    with whole_folder(folder) as part:
        for name, data in files.items():
            (part / name).write_bytes(data)
    return entry


def recorded(file: Path, settings: Settings) -> Entry:
    """The journal's entry that a file of a report is recorded in.

    Raises:
        SampleError: there is no such file, or the journal knows nothing of this content.
        IntegrityError: the journal itself was changed.
    """
    if not file.is_file():
        raise SampleError(f"{file} is not there.", "Give a file of a report.")
    digest = sha256(file.read_bytes())
    for entry in entries(ObjectStore(settings.store), settings.mlflow.model):
        if entry.action is Action.AUDITED and digest in entry.digests.values():
            return entry
    raise SampleError(
        f"the journal knows no report with the content of {file} (SHA-256 {digest}).",
        "It was changed after it was made, or it was made with another journal.",
    )


def _point(item: Attribution) -> Point:
    sample = item.sample
    return Point(
        rank=item.rank,
        id=sample.id,
        source=sample.source,
        sha256=sample.hash,
        text=sample.text,
        estimate=item.score,
        exact=item.exact,
    )


def _controls(answerer: Answerer, answer: Answer, count: int) -> tuple[float, ...]:
    """Exact influence of samples that nothing but chance chose; the same ones for the same answer."""
    listed = {sample.hash for sample in answer.found.samples}
    size = answer.index.rows
    draw = np.random.default_rng(int(answer.output.hash[:15], 16))
    rows = draw.choice(size, min(size, count + len(listed)), replace=False)
    drawn = answerer.index.samples(rows.tolist())
    chosen = [drawn[row] for row in rows.tolist() if drawn[row].hash not in listed][:count]
    block = answerer.exact(answer.output, chosen)
    return tuple(value for value in block.labels[0].tolist() if math.isfinite(value)) if block.queries else ()


def _rulers(store: ObjectStore, version: EncoderVersion) -> tuple[Ruler, ...]:
    rulers, check = [], newest_check(store, version.version)
    if check is not None:
        rho, bounds = check.figures["rho"], check.bounds
        rulers.append(
            Ruler(
                **{name: rho[key] for name, key in (("rho", "value"), ("lo", "lo"), ("hi", "hi"))},
                floor=bounds.height if bounds else None,
                ceiling=bounds.ceiling["value"] if bounds and bounds.ceiling else None,
                measured=f"check {check.id} on fresh labels, {check.created}: {check.verdict}",
            )
        )
    tags = version.tags
    rulers.append(
        Ruler(
            **{name: float(tags[f"agreement.{name}"]) for name in ("rho", "lo", "hi")},
            floor=version.figure("agreement.floor"),
            ceiling=version.figure("labels.ceiling"),
            measured="when the encoder was trained, on samples that it was not trained on",
        )
    )
    return tuple(rulers)


def _chain(store: ObjectStore, registry: Registry, settings: Settings, answer: Answer) -> tuple[Link, ...]:
    champion, manifest = answer.champion, answer.index
    labels = load_manifest(store, champion.label_set_id)
    teacher = labels.identity.teacher
    return (
        Link(what="answer", id=answer.output.hash, detail="SHA-256 of what was asked and what was answered"),
        Link(what="index", id=manifest.id, detail=f"{manifest.rows} samples, {manifest.created}"),
        Link(what="data", id=manifest.identity.corpus, detail=manifest.corpus_uri),
        Link(what="encoder version", id=champion.version, detail=_made(store, registry, champion)),
        Link(what="encoder files", id=champion.tags.get("encoder.sha256", "unknown"), detail=f"run {champion.run_id}"),
        Link(what="label set", id=labels.id, detail=store.uri(f"labelsets/{labels.id}/manifest.json")),
        Link(what="teacher", id=teacher.id, detail=f"{teacher.spec.method}, LoRA rank {teacher.spec.rank}"),
        Link(what="decoder", id=champion.decoder_fingerprint, detail=f"in use: {settings.decoder}"),
        Link(what="code", id=code_commit(), detail="commit of Influcoder"),
    )


def _made(store: ObjectStore, registry: Registry, champion: EncoderVersion) -> str:
    """Who made it champion, as the journal says."""
    found = [e for e in entries(store, registry.model) if e.action.moves and e.version == champion.version]
    if not found:
        return "the journal does not say who made it champion"
    return f"made champion by {found[-1].actor} at {found[-1].created}, journal entry {found[-1].number}"

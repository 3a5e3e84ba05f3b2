"""From an answer to a report: exact checks, the chain of evidence, and an entry in the journal."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from influcoder.attribution import Attribution
from influcoder.attribution.audit import Audit, Link, Point, Ruler, render_html, render_pdf
from influcoder.core import tags
from influcoder.core.errors import SampleError
from influcoder.core.files import refuse_taken, whole_folder
from influcoder.core.provenance import code_commit, now, person
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.champions import Champions
from influcoder.registry.journal import Action, Entry, Event, entries
from influcoder.samples import Sample
from influcoder.serving.answers import Answer, attribute
from influcoder.serving.champion import ServedChampion
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


def examine(champion: ServedChampion, output: Sample, prompt: str, extent: Extent) -> Audit:
    """Everything that a report says.

    Args:
        champion: the encoder and its index.
        output: what the decoder said.
        prompt: what it was asked, as a person wrote it.
        extent: how much is looked at.
    """
    answer = attribute(champion, [output], extent.most, extent.least, extent.exact, private=True)[0]
    manifest = answer.provenance.index
    return Audit(
        created=now(),
        author=person(),
        prompt=prompt or output.context,
        answer=output.target,
        pool=manifest.corpus_uri,
        samples=manifest.rows,
        most=tuple(_point(item) for item in answer.found.most),
        least=tuple(_point(item) for item in answer.found.least),
        controls=_controls(champion, answer, extent.controls) if extent.exact else (),
        rulers=_rulers(champion),
        warnings=answer.warnings,
        chain=_chain(champion, answer),
    )


def publish(audit: Audit, champion: ServedChampion, folder: Path) -> Entry:
    """Render a report, keep it in the store, journal its checksums, and write it to a folder; whole or not at all.

    Raises:
        SettingsError: the folder is there already.
    """
    refuse_taken(folder)
    version = champion.version.version
    files = {
        HTML: render_html(audit),
        PDF: render_pdf(audit),
        RECORD: audit.model_dump_json(indent=1).encode(),
    }
    for name, data in files.items():
        champion.store.keep(f"audits/{audit.id}/{name}", data)
    event = Event(
        action=Action.AUDITED,
        version=version,
        prior=version,
        actor=audit.author,
        reason=f"audit {audit.id}",
        digests={name: sha256(data) for name, data in files.items()},
    )
    entry = Champions(champion.store, champion.registry).note(event)
    with whole_folder(folder) as part:
        for name, data in files.items():
            (part / name).write_bytes(data)
    return entry


def entry_of(file: Path, store: ObjectStore, model: str) -> Entry:
    """The journal's entry that a file of a report is recorded in.

    Raises:
        SampleError: there is no such file, or the journal knows nothing of this content.
        IntegrityError: the journal itself was changed.
    """
    if not file.is_file():
        raise SampleError(f"{file} is not there.", "Give a file of a report.")
    digest = sha256(file.read_bytes())
    for entry in entries(store, model):
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


def _controls(champion: ServedChampion, answer: Answer, count: int) -> tuple[float, ...]:
    """Exact influence of samples that nothing but chance chose; the same ones for the same answer."""
    listed = {sample.hash for sample in answer.found.samples}
    size = len(champion.index)
    draw = np.random.default_rng(int(answer.output.hash[:15], 16))
    rows = draw.choice(size, min(size, count + len(listed)), replace=False)
    drawn = champion.index.samples(rows.tolist())
    controls = [drawn[row] for row in rows.tolist() if drawn[row].hash not in listed][:count]
    block = champion.exact([answer.output], controls)
    return tuple(value for value in block.labels[0].tolist() if math.isfinite(value)) if block.queries else ()


def _rulers(champion: ServedChampion) -> tuple[Ruler, ...]:
    version = champion.version
    rulers, check = [], newest_check(champion.store, version.version)
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
    rulers.append(
        Ruler(
            **{name: float(version.tags[tag]) for name, tag in (("rho", tags.RHO), ("lo", tags.LO), ("hi", tags.HI))},
            floor=version.figure(tags.FLOOR),
            ceiling=version.figure(tags.CEILING),
            measured="when the encoder was trained, on samples that it was not trained on",
        )
    )
    return tuple(rulers)


def _chain(champion: ServedChampion, answer: Answer) -> tuple[Link, ...]:
    version, manifest = answer.provenance.version, answer.provenance.index
    labels = load_manifest(champion.store, version.label_set_id)
    teacher = labels.identity.teacher
    return (
        Link(what="answer", id=answer.output.hash, detail="SHA-256 of what was asked and what was answered"),
        Link(what="index", id=manifest.id, detail=f"{manifest.rows} samples, {manifest.created}"),
        Link(what="data", id=manifest.identity.corpus, detail=manifest.corpus_uri),
        Link(what="encoder version", id=version.version, detail=_promotion(champion)),
        Link(what="encoder files", id=version.files_digest or "unknown", detail=f"run {version.run_id}"),
        Link(what="label set", id=labels.id, detail=champion.store.uri(f"labelsets/{labels.id}/manifest.json")),
        Link(what="teacher", id=teacher.id, detail=f"{teacher.spec.method}, LoRA rank {teacher.spec.rank}"),
        Link(what="decoder", id=version.decoder_fingerprint, detail=f"in use: {champion.settings.decoder}"),
        Link(what="code", id=code_commit(), detail="commit of Influcoder"),
    )


def _promotion(champion: ServedChampion) -> str:
    """Who made it champion, as the journal says."""
    known, number = entries(champion.store, champion.registry.model), champion.version.version
    found = [entry for entry in known if entry.action.moves and entry.version == number]
    if not found:
        return "the journal does not say who made it champion"
    return f"made champion by {found[-1].actor} at {found[-1].created}, journal entry {found[-1].number}"

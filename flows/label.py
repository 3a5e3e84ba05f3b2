"""Samples → influence features → Great Expectations → a label set version in S3."""

from prefect import flow

from flows.alert import notify
from flows.context import Place, load_place
from flows.steps import show, step
from influcoder.labelsets import LabelSet, Manifest, Plan, load_label_set, plan_label_set
from influcoder.labelsets.build import build_label_set, read_corpora
from influcoder.labelsets.publish import docs_links, keep_docs, publish, refused_folder
from influcoder.labelsets.validation import Validation
from influcoder.labelsets.validation import validate as expect
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.compose import refused_labels


@flow(name="label")
def label(
    decoder: str | None = None, corpus: str | None = None, parent: str | None = None, spot: str | None = None
) -> str:
    """Publish a training label set and return its id.

    Args:
        decoder: the decoder checkpoint; from the settings unless given.
        corpus: the pool of samples; from the settings unless given.
        parent: id of the label set that this one continues.
        spot: id of spot labels that become the report split, so that they are not paid for again.
    """
    place = load_place(decoder=decoder, corpus=corpus)
    plan = draw(place, parent, spot)
    label_set = compute(place, plan)
    validation = validate(place, label_set)
    manifest = keep(place.store, label_set, validation)
    report(place.store, manifest, validation)
    return manifest.id


@step("draw samples")
def draw(place: Place, parent: str | None, spot: str | None) -> Plan:
    """Choose the samples to label."""
    settings = place.settings
    candidates, queries = read_corpora(settings)
    entries = load_label_set(place.store, spot).entries if spot else ()
    return plan_label_set(candidates, queries, settings.labels.budget, settings.labels.seed, parent, entries)


@step("compute influence features")
def compute(place: Place, plan: Plan) -> LabelSet:
    """Label the samples; what is cached is not computed again."""
    return build_label_set(place.settings, place.settings.teacher, plan, place.store)


@step("great expectations")
def validate(place: Place, label_set: LabelSet) -> Validation:
    """Refuse labels that break a rule; their Data Docs are kept for whoever wants to know why."""
    settings, store = place.settings, place.store
    validation = expect(label_set, strict=False, max_cut=settings.labels.max_cut)
    if settings.labels.strict and not validation.success:
        keep_docs(store, refused_folder(label_set.id), validation.docs)
        links = docs_links(store, label_set.id, refused=True)
        kind, failures = label_set.identity.kind, validation.failures
        notify(place, refused_labels(label_set.id, kind, failures, validation.checked, links))
        validation.enforce(label_set.id)
    return validation


@step("publish")
def keep(store: ObjectStore, label_set: LabelSet, validation: Validation) -> Manifest:
    """Make the label set visible, once."""
    return publish(store, label_set, validation.docs)


def report(store: ObjectStore, manifest: Manifest, validation: Validation) -> None:
    """Show what was published."""
    teacher = manifest.identity.teacher
    table = [
        {"split": split, **{f"{role} samples": manifest.count(split, role) for role in ("query", "candidate")}}
        for split in dict.fromkeys(ref.split for ref in manifest.identity.samples)
    ]
    summary = (
        f"# {manifest.identity.kind.capitalize()} label set `{manifest.id}`\n\n"
        f"Decoder `{teacher.decoder_fingerprint[:16]}` ({manifest.decoder_uri}), teacher `{teacher.id}`.\n\n"
        f"{validation.checked - len(validation.failures)} of {validation.checked} expectations hold; "
        f"{len(manifest.quarantined)} samples have no label.\n"
    )
    if manifest.cut_share is not None:
        summary += f"\nThe length limit cut {manifest.cut_share:.0%} of their tokens away.\n"
    show("label-set", f"{summary}\n{manifest.worth}\n", table, docs_links(store, manifest.id))

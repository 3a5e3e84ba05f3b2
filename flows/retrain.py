"""A drift decision → labels for what is new → training from the champion → the gate → the alias."""

import json

from prefect import flow

from flows.label import label
from flows.promote import promote
from flows.steps import show, step
from flows.train import train
from influcoder.labelsets.publish import load_manifest
from influcoder.provenance import now
from influcoder.registry import Registry
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.check import load_check
from monitoring.retraining import Answer, answer_of, is_answerable, save_answer


@flow(name="retrain", log_prints=True)
def retrain(check_id: str) -> bool:
    """Answer one drift decision, once; whether there is a new champion.

    Args:
        check_id: id of the check; everything else is read from the store, so that a doubled or late event
            does no harm.
    """
    settings = load_settings()
    store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
    decision = load_check(store, check_id)
    refusal = is_answerable(decision, answer_of(store, check_id), settings.drift)
    if refusal:
        print(f"check {check_id} starts no retraining: {refusal}")
        return False
    champion = registry.version(decision.encoder_version)
    if load_manifest(store, champion.label_set_id).identity.teacher.spec.method == "imported":
        print(f"check {check_id} starts no retraining: its labels are imported. Run: influcoder import-scores TABLE")
        return False
    labels = label(
        decoder=decision.decoder_uri,
        corpus=decision.corpus_uri,
        parent=champion.label_set_id,
        spot=decision.spot_label_set,
    )
    version = train(labels, start=champion.version)
    promoted = promote(version, reason=f"answers check {check_id}")
    answer = Answer(check_id=check_id, label_set=labels, version=version, promoted=promoted, created=now())
    record(store, answer)
    return promoted


@step("record the answer")
def record(store: ObjectStore, answer: Answer) -> None:
    """Close the decision, so that no second retraining answers it."""
    save_answer(store, answer)
    summary = f"# Check `{answer.check_id}` is answered\n\nVersion {answer.version} " + (
        "is the champion now." if answer.promoted else "did not pass the gate; the champion stays."
    )
    show("retraining", summary, [json.loads(answer.model_dump_json())], {})

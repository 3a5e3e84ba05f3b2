"""A drift decision → labels for what is new → training from the champion → the gate → the alias."""

from prefect import flow

from flows.breaker import guard
from flows.context import Place, load_place
from flows.label import label
from flows.promote import outcome_of, promote
from flows.steps import actor, show, step
from flows.train import train
from influcoder.core.errors import BusyError, InflucoderError
from influcoder.core.tags import LABEL_SET
from influcoder.labelsets.manifest import load_manifest
from influcoder.registry.mlflow_registry import Registry
from influcoder.storage.lease import Lease, held
from monitoring.checks.record import Check, checks, load_check
from monitoring.loop.breaker import degraded
from monitoring.loop.retraining import LEASE, Phase, Retraining, RetrainingSlot, retrainings
from monitoring.loop.retraining_policy import Permission, Situation, may_retrain


@flow(name="retrain", log_prints=True)
def retrain(check_id: str) -> bool:
    """Answer one drift decision, once; whether there is a new champion.

    Args:
        check_id: id of the check; everything else is read from the store, so that a doubled, late or lost event
            does no harm.
    """
    place = load_place()
    store, settings = place.store, place.settings.retraining
    decision = load_check(store, check_id)
    try:
        with held(store, LEASE, f"{actor()} (check {check_id})", settings.lease_seconds) as lease:
            return answer(place, decision, lease)
    except BusyError as error:
        print(f"check {check_id} starts no retraining: {error}")
        return False


def answer(place: Place, decision: Check, lease: Lease) -> bool:
    """Work at a decision where the rules allow it, from where the last run left it."""
    settings, case = place.settings, RetrainingSlot(place.store, decision.id, lease.check)
    permission = may_retrain(decision, case.record, survey(place, decision), settings.drift, settings.retraining)
    if not permission.goes:
        refuse(case, permission)
        return False
    case.begin(actor())
    try:
        version = make(place.registry, decision, case)
        lease.check()
        reason = f"answers check {decision.id}"
        promote(version, reason, decision.decoder_uri, decision.corpus_uri, retraining=decision.id)
    except BusyError:
        raise
    except InflucoderError as error:
        # Still running by its record: the sweep goes on with it.
        case.close(Phase.RUNNING, str(error))
        raise
    record = case.close(*outcome_of(place, version))
    guard(place)
    report(record)
    return record.promoted


@step("look around")
def survey(place: Place, decision: Check) -> Situation:
    """What the rules go by, as it is now."""
    store, registry = place.store, place.registry
    # A promotion that was killed between journal and alias would look as if somebody else had moved the alias since.
    state = place.champions.settle(actor())
    about = registry.find(decision.encoder_version)
    labels = load_manifest(store, about.label_set_id) if about else None
    return Situation(
        champion=state.pointed,
        moved=next((e.created for e in reversed(state.entries) if e.action.moves and e.version != e.prior), ""),
        checks=checks(store),
        others=[record for found, record in retrainings(store).items() if found != decision.id],
        degraded=degraded(state.entries),
        imported=bool(labels and labels.identity.teacher.spec.method == "imported"),
    )


def make(registry: Registry, decision: Check, case: RetrainingSlot) -> str:
    """Labels and an encoder for the decision, each made once and noted at once; the encoder's version."""
    assert case.record is not None
    champion = registry.version(decision.encoder_version)
    if not case.record.label_set:
        where = {"decoder": decision.decoder_uri, "corpus": decision.corpus_uri}
        case.note(label_set=label(**where, parent=champion.label_set_id, spot=decision.spot_label_set))
    if not case.record.version:
        trained = registered(registry, case.record.label_set)
        case.note(version=trained or train(case.record.label_set, start=champion.version))
    return case.record.version


def registered(registry: Registry, label_set: str) -> str:
    """The version that a killed run trained on these labels and had no time to note; empty where there is none."""
    found = [version for version in registry.versions() if version.tags.get(LABEL_SET) == label_set]
    return found[-1].version if found else ""


@step("record the refusal")
def refuse(case: RetrainingSlot, permission: Permission) -> None:
    """Note why no retraining begins, so that nobody asks again in vain."""
    stands = case.record and case.record.phase is permission.phase is not Phase.DEFERRED
    if not stands:
        case.close(permission.phase, permission.reason)
    print(f"check {case.check_id} starts no retraining: {permission.reason}")


@step("record the answer")
def report(record: Retraining) -> None:
    """Show how the decision was answered."""
    summary = f"# Check `{record.check_id}`: {record.phase}\n\n{record.reason}"
    show("retraining", summary, [record.model_dump(mode="json")], {})

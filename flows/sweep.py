"""What events may have lost: decisions that nobody answered, work that was killed, versions that were approved."""

from datetime import UTC, datetime, timedelta

from prefect import flow

from flows.breaker import guard
from flows.context import Place, load_place
from flows.promote import close_waiting, promote
from flows.retrain import retrain
from flows.steps import step
from influcoder.core.errors import InflucoderError, IntegrityError
from influcoder.core.tags import APPROVAL
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.findings import Verdict
from monitoring.checks.record import Check, check_ids, load_check
from monitoring.loop.promotion import WAITS, Promotion, interrupted, waiting
from monitoring.loop.retraining import Phase, RetrainingSlot, retrainings


@flow(name="sweep", log_prints=True)
def sweep(grace_minutes: float = 0.0) -> dict[str, str]:
    """Bring the loop to rest; what stands about each decision that was open.

    Args:
        grace_minutes: how long a decision that nobody began to answer is left to its event.
    """
    place = load_place()
    store = place.store
    failed: list[InflucoderError] = []
    for offer in answered(place):
        try:
            promote(offer.version, offer.offered, offer.decoder, offer.corpus, offer.given, offer.retraining)
        except InflucoderError as error:
            failed.append(error)
    close_waiting(place)
    guard(place)
    decisions = unanswered(store, grace_minutes)
    for decision in decisions:
        try:
            retrain(decision.id)
        except InflucoderError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    records = {decision.id: RetrainingSlot(store, decision.id).record for decision in decisions}
    return {found: f"{record.phase}: {record.reason}" for found, record in records.items() if record}


@step("find what a person answered")
def answered(place: Place) -> list[Promotion]:
    """Versions that waited for approval and have an answer; also those whose promotion was killed after it."""
    store, registry = place.store, place.registry
    found = [*waiting(store, registry.model), *interrupted(store, registry.model)]
    return [offer for offer in found if registry.version(offer.version).tags.get(APPROVAL, WAITS) != WAITS]


@step("find decisions that nobody answered")
def unanswered(store: ObjectStore, grace_minutes: float) -> list[Check]:
    """Open drift decisions: first what was begun, then the newest; a record that is damaged is left to a person."""
    records = retrainings(store)
    done = {found for found, record in records.items() if record.phase.is_final or record.phase is Phase.WAITING}
    found = []
    for check_id in set(check_ids(store)) - done:
        try:
            found.append(load_check(store, check_id))
        except IntegrityError as error:
            print(error)
    begun = {check_id for check_id, record in records.items() if record.runs}
    late = (datetime.now(UTC) - timedelta(minutes=grace_minutes)).isoformat()
    drifts = [c for c in found if c.verdict is Verdict.DRIFT and (c.id in begun or c.created <= late)]
    return sorted(drifts, key=lambda check: (check.id in begun, check.created, check.id), reverse=True)

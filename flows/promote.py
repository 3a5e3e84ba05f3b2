"""Challenger → gate → a person, where one is asked → champion."""

from prefect import flow
from prefect.runtime import flow_run

from flows.alert import notify
from flows.context import Place, load_place
from flows.gate import weigh
from flows.steps import actor, show, step
from influcoder.core.errors import RegistryError
from influcoder.core.provenance import person
from influcoder.core.tags import APPROVAL, FILES, GATE, GATE_EVIDENCE
from influcoder.registry.champions import Champions, digests_of
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.journal import Action, Entry, Event
from influcoder.registry.mlflow_registry import CHALLENGER
from influcoder.storage.records import Slot
from monitoring.alerts.compose import failed_gate
from monitoring.loop.gate import GateResult
from monitoring.loop.promotion import APPROVED, REJECTED, WAITS, Promotion, Stage, begin, slot_of
from monitoring.loop.retraining import Phase, RetrainingSlot, retrainings


@flow(name="promote", log_prints=True)
def promote(
    version: str = CHALLENGER,
    reason: str = "",
    decoder: str | None = None,
    corpus: str | None = None,
    spot: str | None = None,
    retraining: str = "",
) -> bool:
    """Move the champion's alias to a version that passes the gate; whether it moved.

    Args:
        version: alias or number of the version to promote.
        reason: why it is offered, for the journal.
        decoder: the decoder in use now; from the settings unless given.
        corpus: what the encoder is used on now; from the settings unless given.
        spot: id of spot labels to measure on; fresh ones are bought unless given.
        retraining: id of the decision that it answers.
    """
    place = load_place(decoder=decoder, corpus=corpus)
    store, registry = place.store, place.registry
    challenger, champions = registry.version(version), place.champions
    champion = champions.settle(actor()).alias
    slot = slot_of(store, registry.model, challenger.version)
    if champion and champion.version == challenger.version:
        if slot.value and slot.value.stage is Stage.MEASURING:
            slot.write(slot.value.model_copy(update={"stage": Stage.PROMOTED, "reason": "it passed the gate"}))
        return True
    if retraining and slot.value and slot.value.retraining == retraining and slot.value.stage is Stage.HELD:
        return False
    before = slot.value
    offer = {"offered": reason, "decoder": decoder, "corpus": corpus, "given": spot, "retraining": retraining}
    begun = begin(slot, place.settings.gate.evidence_hours, challenger.version, **offer)
    result, labels = weigh(place, begun, challenger, champion)
    digests = digests_of(registry, challenger) if labels else {}
    measured = begun.model_copy(update={"spot": labels, "gate": result, "digests": digests})
    stage, why = decide(place, challenger, before, measured)
    event = event_of(measured, champion, stage, why)
    settle(place, slot, challenger, event, measured.model_copy(update={"stage": stage, "reason": why}))
    links = report(challenger, champion, stage, result)
    if stage is Stage.HELD:
        notify(place, failed_gate(challenger.version, event.prior, result, links))
    return stage is Stage.PROMOTED


def outcome_of(place: Place, version: str) -> tuple[Phase, str, bool]:
    """How a retraining ended that offered this version: its phase, why, and whether it became champion."""
    offer = offer_of(place, version)
    return offer.ending() if offer else (Phase.ANSWERED, f"version {version} is the champion", True)


def decide(
    place: Place, challenger: EncoderVersion, before: Promotion | None, measured: Promotion
) -> tuple[Stage, str]:
    """What follows from the gate, and from the person where one is asked; and why."""
    assert measured.gate is not None
    if not measured.gate.passed:
        return Stage.HELD, "; ".join(line for line in measured.gate.reasons if line.startswith("failed"))
    if place.settings.gate.approval == "none":
        return Stage.PROMOTED, "it passed the gate"
    answered = place.registry.version(challenger.version).tags.get(APPROVAL, WAITS)
    if answered == REJECTED:
        return Stage.REJECTED, "a person rejected it"
    if answered != APPROVED:
        return Stage.WAITING, "it passed the gate and waits for approval: influcoder approve " + challenger.version
    if before and before.digests.get(FILES, measured.digests[FILES]) != measured.digests[FILES]:
        return Stage.HELD, "failed: its files are not those that were approved"
    return Stage.PROMOTED, "it passed the gate and was approved"


def event_of(offer: Promotion, champion: EncoderVersion | None, stage: Stage, why: str) -> Event:
    """What the journal says of it."""
    assert offer.gate is not None
    actions = {Stage.PROMOTED: Action.PROMOTED, Stage.REJECTED: Action.REJECTED}
    evidence = {"gate": offer.gate.model_dump(mode="json"), "spot": offer.spot, "flow_run": flow_run.name, "why": why}
    return Event(
        action=actions.get(stage, Action.HELD),
        version=offer.version,
        prior=champion.version if champion else None,
        actor=actor(),
        reason=offer.offered,
        evidence={**evidence, "retraining": offer.retraining},
        digests=offer.digests,
    )


@step("settle")
def settle(place: Place, slot: Slot[Promotion], challenger: EncoderVersion, event: Event, outcome: Promotion) -> None:
    """Journal first, then the alias or the tags, then the record: a run that is killed between is finished by the
    next one."""
    assert outcome.gate is not None
    registry, champions = place.registry, place.champions
    if outcome.stage is Stage.PROMOTED:
        move(champions, event)
    elif outcome.stage is Stage.WAITING:
        registry.tag(challenger, {GATE: "passed", APPROVAL: WAITS})
    else:
        champions.note(event)
        if outcome.stage is Stage.HELD:
            registry.tag(challenger, {GATE: "failed", GATE_EVIDENCE: " | ".join(outcome.gate.reasons)})
    slot.write(outcome)


@step("move the alias")
def move(champions: Champions, event: Event) -> Entry:
    """Journal the promotion, then make the challenger the champion."""
    return champions.move(event)


def report(
    challenger: EncoderVersion, champion: EncoderVersion | None, stage: Stage, result: GateResult
) -> dict[str, str]:
    """Show what the gate said; its links."""
    words = {Stage.PROMOTED: "is the champion now", Stage.HELD: "did not pass the gate"}
    summary = f"# Encoder version {challenger.version} {words.get(stage, stage)}\n\n" + "\n".join(
        f"- {line}" for line in result.reasons
    )
    table = [
        {"against": name, "gain": triple[0], "lo": triple[1], "hi": triple[2]}
        for name, triple in (("floor", result.over_floor), ("champion", result.over_champion))
        if triple
    ]
    links = {"Challenger": challenger.url, **({"Previous champion": champion.url} if champion else {})}
    show("gate", summary, table, links)
    return links


@step("close what waited")
def close_waiting(place: Place) -> None:
    """Note in the record of a retraining what a person made of its version."""
    for found, record in retrainings(place.store).items():
        if record.phase is Phase.WAITING:
            RetrainingSlot(place.store, found).close(*outcome_of(place, record.version))


def offer_of(place: Place, version: str) -> Promotion | None:
    """What was offered to the gate of a version, by its number, and what came of it."""
    return slot_of(place.store, place.registry.model, version).value


def answer(version: str, approved: bool, reason: str) -> str:
    """Journal who approves or rejects, say so in MLflow, and finish the promotion; a sentence about it.

    Raises:
        RegistryError: the version does not wait.
    """
    place = load_place()
    found = place.registry.version(version)
    offer, given = offer_of(place, found.version), found.tags.get(APPROVAL, WAITS)
    # An answer whose promotion was killed can be given again, or taken back.
    killed = offer and offer.stage is Stage.MEASURING and given != WAITS
    if offer is None or not (killed or offer.stage is Stage.WAITING):
        raise RegistryError(f"version {found.version} does not wait for approval.", "See: influcoder status")
    if approved and not (killed and given == APPROVED):
        note_approval(place, found, offer, reason)
    place.registry.tag(found, {APPROVAL: APPROVED if approved else REJECTED})
    words = offer.offered if approved else reason or offer.offered
    promoted = promote(found.version, words, offer.decoder, offer.corpus, offer.given, offer.retraining)
    close_waiting(place)
    if promoted:
        return f"version {found.version} is the champion"
    outcome = offer_of(place, found.version)
    return f"version {found.version}: {outcome.reason if outcome else ''}"


def note_approval(place: Place, version: EncoderVersion, offer: Promotion, reason: str) -> None:
    """Journal who approved of what the gate measured: the promotion compares the digests once more."""
    champions = place.champions
    event = Event(
        action=Action.APPROVED,
        version=version.version,
        prior=champions.state().pointed,
        actor=person(),
        reason=reason,
        evidence={"spot": offer.spot},
        digests=digests_of(place.registry, version),
    )
    champions.note(event)

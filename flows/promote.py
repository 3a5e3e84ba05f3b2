"""Challenger → gate → champion."""

import tempfile
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.steps import actor, show, step
from influcoder.agreement import Agreement
from influcoder.champions import Champions, digests_of
from influcoder.encoder import Encoder
from influcoder.journal import Action, Entry, Event
from influcoder.labelsets import Block, load_label_set
from influcoder.registry import CHALLENGER, EncoderVersion, Registry
from influcoder.settings import Settings, load_settings
from influcoder.store import ObjectStore
from monitoring.check import measure
from monitoring.floor import measure_floor
from monitoring.gate import GateResult, judge_challenger


@flow(name="promote")
def promote(version: str = CHALLENGER, reason: str = "") -> bool:
    """Move the champion's alias to a version that passes the gate; whether it moved.

    Args:
        version: alias or number of the version to promote.
        reason: why it is offered, for the journal.
    """
    settings = load_settings()
    registry = Registry(settings.mlflow)
    challenger = registry.version(version)
    champions = Champions(ObjectStore(settings.store), registry)
    champion = champions.settle(actor()).alias
    if champion and champion.version == challenger.version:
        return True
    result = judge(settings, registry, challenger, champion)
    event = Event(
        action=Action.PROMOTED if result.passed else Action.HELD,
        version=challenger.version,
        prior=champion.version if champion else None,
        actor=actor(),
        reason=reason,
        evidence={"gate": result.model_dump(mode="json"), "flow_run": flow_run.name},
        digests=digests_of(registry, challenger),
    )
    if result.passed:
        move(champions, event)
    else:
        champions.hold(event)
        registry.tag(challenger, {"gate": "failed", "gate.evidence": " | ".join(result.reasons)})
    report(challenger, champion, result)
    return result.passed


@step("hold against the gate")
def judge(
    settings: Settings, registry: Registry, challenger: EncoderVersion, champion: EncoderVersion | None
) -> GateResult:
    """Measure both and the floor on the challenger's report split, which no encoder was ever trained on."""
    block = load_label_set(ObjectStore(settings.store), challenger.label_set_id).evidence("report")
    floor = measure_floor(Encoder(settings.encoder.base, settings.encoder.max_tokens), block)
    found = {v.version: _measure(settings, registry, v, block) for v in (challenger, champion) if v is not None}
    others = found[champion.version] if champion else None
    name = f"floor ({floor.name}, ρ {floor.highest.rho.value:.3f})"
    return judge_challenger(found[challenger.version], floor.highest, others, settings.gate.margin, name)


@step("move the alias")
def move(champions: Champions, event: Event) -> Entry:
    """Journal the promotion, then make the challenger the champion."""
    return champions.move(event)


def report(challenger: EncoderVersion, champion: EncoderVersion | None, result: GateResult) -> None:
    """Show what the gate said."""
    outcome = "is the champion now" if result.passed else "did not pass the gate"
    summary = f"# Encoder version {challenger.version} {outcome}\n\n" + "\n".join(
        f"- {line}" for line in result.reasons
    )
    table = [
        {"against": name, "gain": triple[0], "lo": triple[1], "hi": triple[2]}
        for name, triple in (("floor", result.over_floor), ("champion", result.over_champion))
        if triple
    ]
    links = {"Challenger": challenger.url, **({"Previous champion": champion.url} if champion else {})}
    show("gate", summary, table, links)


def _measure(settings: Settings, registry: Registry, version: EncoderVersion, block: Block) -> Agreement:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Encoder(str(registry.download(version, Path(folder))), settings.encoder.max_tokens), block)

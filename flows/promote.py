"""Challenger → gate → champion."""

import tempfile
from pathlib import Path

from prefect import flow

from flows.steps import show, step
from influcoder.agreement import Agreement
from influcoder.encoder import Encoder
from influcoder.labelsets import Block, load_label_set
from influcoder.provenance import code_commit, now
from influcoder.registry import CHALLENGER, CHAMPION, EncoderVersion, Registry
from influcoder.settings import Settings, load_settings
from influcoder.store import ObjectStore
from monitoring.check import measure
from monitoring.gate import GateResult, judge_challenger


@flow(name="promote")
def promote(version: str = CHALLENGER) -> bool:
    """Move the champion's alias to a version that passes the gate; whether it moved.

    Args:
        version: alias or number of the version to promote.
    """
    settings = load_settings()
    registry = Registry(settings.mlflow)
    challenger, champion = registry.version(version), registry.find(CHAMPION)
    if champion and champion.version == challenger.version:
        return True
    result = judge(settings, registry, challenger, champion)
    if result.passed:
        move(registry, challenger, champion)
    else:
        registry.tag(challenger, {"gate": "failed", "gate.evidence": " | ".join(result.reasons)})
    report(challenger, champion, result)
    return result.passed


@step("hold against the gate")
def judge(
    settings: Settings, registry: Registry, challenger: EncoderVersion, champion: EncoderVersion | None
) -> GateResult:
    """Measure both and the floor on the challenger's report split, which no encoder was ever trained on."""
    block = load_label_set(ObjectStore(settings.store), challenger.label_set_id).evidence("report")
    untrained = measure(Encoder(settings.encoder.base, settings.encoder.max_tokens), block)
    found = {v.version: _measure(settings, registry, v, block) for v in (challenger, champion) if v is not None}
    return judge_challenger(
        found[challenger.version], untrained, found[champion.version] if champion else None, settings.gate.margin
    )


@step("move the alias")
def move(registry: Registry, challenger: EncoderVersion, champion: EncoderVersion | None) -> EncoderVersion:
    """Make the challenger the champion, and say in its tags whom it followed."""
    prior = champion.version if champion else "none"
    return registry.promote(
        challenger, {"gate": "passed", "promoted.at": now(), "promoted.over": prior, "promoted.by": code_commit()}
    )


def report(challenger: EncoderVersion, champion: EncoderVersion | None, result: GateResult) -> None:
    """Show what the gate said."""
    outcome = "is the champion now" if result.passed else "did not pass the gate"
    summary = f"# Encoder version {challenger.version} {outcome}\n\n" + "\n".join(
        f"- {line}" for line in result.reasons
    )
    table = [
        {"against": name, "gain": triple[0], "lo": triple[1], "hi": triple[2]}
        for name, triple in (("untrained", result.over_floor), ("champion", result.over_champion))
        if triple
    ]
    links = {"Challenger": challenger.url, **({"Previous champion": champion.url} if champion else {})}
    show("gate", summary, table, links)


def _measure(settings: Settings, registry: Registry, version: EncoderVersion, block: Block) -> Agreement:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Encoder(str(registry.download(version, Path(folder))), settings.encoder.max_tokens), block)

"""The promotion gate: a challenger must earn the champion's place on labels that neither was trained on."""

from collections.abc import Iterable

import numpy as np
from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError
from influcoder.labelsets import LabelSet, Manifest
from influcoder.labelsets.plan import REFERENCE
from influcoder.samples.splits import split_of
from influcoder.statistics.agreement import Agreement, paired_difference
from influcoder.statistics.bootstrap import Interval

_NOTHING = (-1.0, -1.0, -1.0)


class GateResult(BaseModel):
    """Whether a challenger may become champion, and on what evidence.

    Args:
        passed: the outcome; missing evidence never passes.
        reasons: one sentence a rule, in the order they were tried.
        over_floor: challenger's mean per-query ρ minus the floor's, as value, lo, hi.
        over_champion: the same against the champion; None where there is none.
    """

    model_config = ConfigDict(frozen=True)

    passed: bool
    reasons: tuple[str, ...]
    over_floor: tuple[float, float, float]
    over_champion: tuple[float, float, float] | None = None


def judge_challenger(
    challenger: Agreement,
    floor: Agreement,
    champion: Agreement | None,
    margin: float,
    min_queries: int,
    floor_name: str = "floor",
) -> GateResult:
    """Hold a challenger against the floor and against the champion, on the same queries.

    It passes where it is above the floor beyond chance and, if there is a champion, where the
    interval of its paired difference to it lies above minus the margin (non-inferiority).

    Args:
        challenger: its agreement on the spot labels.
        floor: the best that learns nothing, on the same queries and candidates.
        champion: the present champion's; None where there is none.
        margin: how much worse than the champion is still accepted.
        min_queries: usable queries that each comparison needs.
        floor_name: what the floor is.
    """
    # A challenger that gives all candidates of a query one score ranks none of them, which is a ρ of 0.
    lift = paired_difference(challenger, floor, undefined=0.0)
    rules = [
        _enough(lift, min_queries),
        (lift.lo > 0, f"over the {floor_name} {_words(lift)}; needs more than 0"),
    ]
    gain = None
    if champion is not None:
        gain = paired_difference(challenger, champion, undefined=0.0)
        rules.append(_enough(gain, min_queries))
        rules.append((gain.lo > -margin, f"over the champion {_words(gain)}; needs more than {-margin:+.3f}"))
    passed = all(bool(holds) for holds, _ in rules)
    reasons = tuple(f"{'passed' if holds else 'failed'}: {words}" for holds, words in rules if words)
    return GateResult(
        passed=passed, reasons=reasons, over_floor=_triple(lift), over_champion=None if gain is None else _triple(gain)
    )


def no_evidence(why: str) -> GateResult:
    """What the gate says where nothing could be measured."""
    return GateResult(passed=False, reasons=(f"failed: there is no evidence: {why}",), over_floor=_NOTHING)


def prove_disjoint(spot: LabelSet, trained_on: Iterable[Manifest]) -> None:
    """Stop where spot labels could be of samples that an encoder was trained on, or chosen by.

    Args:
        spot: the spot labels.
        trained_on: the label sets of both encoders, and those that they continue.
    Raises:
        IntegrityError: a sample is not of the report split by its content, or is in a train or selection split.
    """
    samples = [entry.sample for entry in spot.entries if entry.role != REFERENCE]
    strays = [sample for sample in samples if split_of(sample) != "report"]
    if strays:
        raise IntegrityError(f"sample {strays[0].id!r} of spot labels {spot.id} is not of the report split.")
    hashes = {sample.hash for sample in samples}
    for manifest in trained_on:
        used = hashes & {ref.hash for ref in manifest.identity.samples if ref.split != "report"}
        if used:
            raise IntegrityError(f"label set {manifest.id} trained an encoder on {len(used)} samples of {spot.id}.")


def _enough(found: Interval, least: int) -> tuple[bool, str]:
    enough = found.queries >= least
    return enough, "" if enough else f"{found.queries} usable queries; needs {least}"


def _words(interval: Interval) -> str:
    return f"by {interval.value:+.3f} [{interval.lo:+.3f}, {interval.hi:+.3f}]"


def _triple(interval: Interval) -> tuple[float, float, float]:
    return tuple(float(np.nan_to_num(v, nan=-1.0)) for v in (interval.value, interval.lo, interval.hi))  # type: ignore[return-value]

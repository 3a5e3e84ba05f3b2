"""Why agreement fell: old and new decoder crossed with old and new data.

Between promotion (old decoder, old data) and a check (new decoder, new data) lie two steps. The decoder's is measured
in pairs, on samples that both decoders label; the data's is what is left of the whole change. Where the old decoder
can still be loaded, the crossing is closed from the other side too. Noise in the labels is asked about first: it
lowers every correlation by the square root of the labels' reliability (Spearman, "The Proof and Measurement of
Association between Two Things", 1904), here the ceiling.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from influcoder.influence.reliability_record import Reliability
from influcoder.statistics.agreement import Agreement
from influcoder.statistics.bootstrap import Interval, interval, weighted_means
from monitoring.causes.record import Cause


class Step(StrEnum):
    """What one step of the crossing did."""

    FELL = "fell"
    HELD = "held"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Pair:
    """Agreement on the same pairs under the old decoder and under the new one."""

    then: Agreement
    now: Agreement


@dataclass(frozen=True)
class Crossing:
    """What was measured.

    Args:
        promoted: old decoder, old data: the evidence at promotion.
        spot: new decoder, new data: the check's spot labels.
        old_data: the probe under both decoders; None where it could not be labelled.
        new_data: spot samples under both; None where the old decoder can't be loaded.
        same_decoder: whether old and new decoder are one, so that neither pair needs to be measured.
    """

    promoted: Agreement
    spot: Agreement
    old_data: Pair | None = None
    new_data: Pair | None = None
    same_decoder: bool = False


@dataclass(frozen=True)
class Finding:
    """A cause and its evidence.

    Args:
        cause: what it is.
        reason: one sentence.
        steps: the change of mean per-query ρ in each step, by its name.
    """

    cause: Cause
    reason: str
    steps: dict[str, Interval]


TOTAL = "whole change"
DECODER_OLD, DECODER_NEW = "decoder, on old data", "decoder, on new data"
DATA_NEW, DATA_OLD = "data, under the new decoder", "data, under the old decoder"
# The decoder's step and then the data's, or the data's and then the decoder's.
_SIDES = ((DECODER_OLD, DATA_NEW), (DECODER_NEW, DATA_OLD))


def find_cause(
    crossing: Crossing, margin: float, then: Reliability | None, now: Reliability | None, least_ceiling: float
) -> Finding:
    """Name the cause of a fall, where its intervals do.

    Args:
        crossing: what was measured.
        margin: the smallest fall that matters.
        then: reliability of the labels at promotion; None where it is unknown.
        now: of the spot labels.
        least_ceiling: labels that agree with themselves less are noise.
    """
    draws = _draws(crossing)
    steps = {name: interval(value, drawn, queries) for name, (value, drawn, queries) in draws.items()}
    noise = _noise(crossing, steps[TOTAL], then, now, least_ceiling)
    if noise:
        return Finding(Cause.NOISE, noise, steps)
    decoder, data = (_joined(steps, names, margin) for names in ((DECODER_OLD, DECODER_NEW), (DATA_NEW, DATA_OLD)))
    cause = _named(decoder, data, _lead(draws))
    return Finding(cause, _words(cause, steps, decoder, data, margin), steps)


def step_of(change: Interval, margin: float) -> Step:
    """Whether a step cost agreement: beyond chance, and not surely less than the margin."""
    if change.lo > -margin:
        return Step.HELD
    return Step.FELL if change.hi < 0 else Step.UNKNOWN


Drawn = tuple[float, np.ndarray, int]


def _draws(crossing: Crossing) -> dict[str, Drawn]:
    """Value, bootstrap draws and queries of every step that is known."""
    promoted, spot = (_shuffled(_means(item), seed) for seed, item in enumerate((crossing.promoted, crossing.spot)))
    total = crossing.spot.rho.value - crossing.promoted.rho.value
    queries = min(crossing.spot.rho.queries, crossing.promoted.rho.queries)
    found: dict[str, Drawn] = {TOTAL: (total, spot - promoted, queries)}
    if crossing.same_decoder:
        nothing = (0.0, np.zeros_like(promoted), queries)
        return found | {DECODER_OLD: nothing, DATA_NEW: found[TOTAL]}
    pairs = zip(_SIDES, (crossing.old_data, crossing.new_data), strict=True)
    for seed, ((of_decoder, of_data), pair) in enumerate(pairs, 2):
        if pair is not None:
            value, drawn, ranked = _paired(pair)
            drawn = _shuffled(drawn, seed)
            found[of_decoder] = value, drawn, ranked
            # Draws of the whole change know nothing of the pair's, so this interval is wide rather than narrow.
            found[of_data] = total - value, spot - promoted - drawn, min(ranked, queries)
    return found


def _paired(pair: Pair) -> Drawn:
    change = pair.now.per_query - pair.then.per_query
    known = np.isfinite(change)
    drawn = weighted_means(pair.now.resampled - pair.then.resampled, pair.now.draws.queries)
    return float(change[known].mean()) if known.any() else float("nan"), drawn, int(known.sum())


def _means(found: Agreement) -> np.ndarray:
    return weighted_means(found.resampled, found.draws.queries)


def _shuffled(draws: np.ndarray, seed: int) -> np.ndarray:
    """Equal sizes have equal draws; in another order they have nothing to do with each other."""
    return np.random.default_rng(seed).permutation(draws)


def _noise(crossing: Crossing, total: Interval, then: Reliability | None, now: Reliability | None, least: float) -> str:
    """Why noise explains the fall; empty where it does not, or nothing is known of it."""
    if now is None:
        return ""
    said = f"the spot labels agree with themselves at {now.ceiling:.3f} [{now.ceiling_lo:.3f}, {now.ceiling_hi:.3f}]"
    if now.ceiling_hi < least:
        return f"{said}, less than {least:.2f}: what they say of an encoder can't be told from noise"
    if then is None or now.ceiling_hi >= then.ceiling_lo or then.ceiling <= 0:
        return ""
    expected = crossing.promoted.rho.value * (np.sqrt(max(now.ceiling, 0.0) / then.ceiling) - 1)
    if total.hi - expected < 0:
        return ""
    return f"{said}, at promotion at {then.ceiling:.3f}: that alone lowers ρ by {-expected:.3f}, and the rest is chance"


def _joined(steps: dict[str, Interval], names: tuple[str, str], margin: float) -> Step:
    """What a step did from either side: a fall on one is a fall, and nothing is held that one side leaves open."""
    found = [step_of(steps[name], margin) for name in names if name in steps]
    if Step.FELL in found:
        return Step.FELL
    return Step.HELD if found and set(found) == {Step.HELD} else Step.UNKNOWN


def _lead(draws: dict[str, Drawn]) -> Interval:
    """The decoder's step minus the data's; each is the mean of both sides where both are known (Shapley's value)."""
    sides = [(draws[one], draws[two]) for one, two in _SIDES if one in draws]
    if not sides:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    # The whole change is one of the terms of every data step: summed first, it is counted once.
    value = sum(one[0] - two[0] for one, two in sides) / len(sides)
    drawn = np.mean([one[1] - two[1] for one, two in sides], axis=0)
    return interval(value, drawn, min(two[2] for _, two in sides))


def _named(decoder: Step, data: Step, lead: Interval) -> Cause:
    if decoder is data is Step.FELL:
        return Cause.BOTH
    # What fell is the cause where the other held, or where it fell by more than the other could have, beyond chance.
    if decoder is Step.FELL and (data is Step.HELD or lead.hi < 0):
        return Cause.DECODER
    if data is Step.FELL and (decoder is Step.HELD or lead.lo > 0):
        return Cause.DATA
    return Cause.UNCLEAR


def _words(cause: Cause, steps: dict[str, Interval], decoder: Step, data: Step, margin: float) -> str:
    said = "; ".join(
        f"{name} {change.value:+.3f} [{change.lo:+.3f}, {change.hi:+.3f}]" for name, change in steps.items()
    )
    if cause is not Cause.UNCLEAR:
        return f"mean per-query ρ by steps: {said}"
    if decoder is data is Step.HELD:
        return f"no step alone costs {margin:.2f}: {said}"
    if DECODER_OLD not in steps and DECODER_NEW not in steps:
        return f"nothing could be labelled under both decoders: {said}"
    return f"the intervals do not tell one step from the other: {said}"

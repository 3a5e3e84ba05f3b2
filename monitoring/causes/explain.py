"""From a check to its cause: what is labelled under which decoder, and measured with the encoder that was checked."""

from dataclasses import dataclass

import numpy as np

from influcoder.core.errors import InflucoderError, WrongDecoderError
from influcoder.core.provenance import now
from influcoder.decoder.checkpoint import Decoder
from influcoder.encoder import Encoder
from influcoder.labelsets import Block, LabelSet, load_label_set
from influcoder.labelsets.build import decoder_for
from influcoder.settings.tree import Settings
from influcoder.statistics.agreement import Agreement, agreement, paired_difference
from influcoder.storage.object_store import ObjectStore
from monitoring.causes.decomposition import Crossing, Pair, find_cause
from monitoring.causes.groups import Scored, changes, grouped
from monitoring.causes.record import Explained
from monitoring.checks.baselines import figure_of
from monitoring.checks.findings import Figure, Shift
from monitoring.checks.probe_set import Relabelled, block_of, chosen, relabel, remember
from monitoring.checks.record import Check


@dataclass(frozen=True)
class Side:
    """One side of the crossing: a block under both decoders, and what finding out cost.

    Args:
        pair: agreement on it under both; None where one of them could not label it.
        said: what became of the other decoder.
        cost: of labelling; None where nothing could be labelled.
    """

    pair: Pair | None
    said: str
    cost: Relabelled | None = None


def explain(settings: Settings, store: ObjectStore, encoder: Encoder, label_set: str, check: Check) -> Explained:
    """Why agreement fell in a check.

    Args:
        settings: sizes, margin, and how labels are computed.
        store: where labels are.
        encoder: the one that was checked.
        label_set: id of the labels that it was distilled from.
        check: the check.
    """
    old, spot = load_label_set(store, label_set), load_label_set(store, check.spot_label_set)
    then, present = (_scored(encoder, labels) for labels in (old, spot))
    same = check.decoder == old.identity.teacher.decoder_fingerprint
    sides = (Side(None, "it is still in use"),) * 2 if same else _sides(settings, store, encoder, old, spot)
    crossing = Crossing(_agreement(then), _agreement(present), sides[0].pair, sides[1].pair, same)
    finding = find_cause(
        crossing, settings.drift.margin, old.reliability, spot.reliability, settings.cause.least_ceiling
    )
    everything = [*then.block.queries, *then.block.candidates, *present.block.queries, *present.block.candidates]
    groups = grouped(encoder, everything, list({s.hash: s for s in present.block.queries}.values()))
    costs = [side.cost for side in sides if side.cost is not None]
    untold = "" if same or sides[0].pair else f"; the probe could not be labelled under the new one: {sides[0].said}"
    return Explained(
        check_id=check.id,
        cause=finding.cause,
        reason=finding.reason,
        cells=_cells(crossing),
        steps={name: figure_of(item) for name, item in finding.steps.items()},
        old_decoder=f"{sides[1].said}{untold}",
        groups=tuple(changes(present, then, *groups)),
        floor=check.bounds.height if check.bounds and np.isfinite(check.bounds.height) else None,
        ceiling=spot.reliability.ceiling if spot.reliability else None,
        samples=sum(cost.samples for cost in costs),
        seconds=round(sum(cost.seconds for cost in costs), 2),
        created=now(),
    )


def probe_side(settings: Settings, store: ObjectStore, encoder: Encoder, old: LabelSet, spot: LabelSet) -> Side:
    """The probe of an encoder's label set, under its own decoder and under that of spot labels."""
    probe = block_of(remember(store, old, settings.cause.probe), old)
    return _side(settings, store, encoder, old, probe, spot, reverse=False)


def shift_of(side: Side) -> Shift | None:
    """What a probe says, as a check keeps it; None where it says nothing."""
    if side.pair is None or side.cost is None:
        return None
    return Shift(
        then=figure_of(side.pair.then.rho),
        now=figure_of(side.pair.now.rho),
        change=figure_of(paired_difference(side.pair.now, side.pair.then)),
        samples=side.cost.samples,
        seconds=round(side.cost.seconds, 2),
    )


def _sides(
    settings: Settings, store: ObjectStore, encoder: Encoder, old: LabelSet, spot: LabelSet
) -> tuple[Side, Side]:
    part = chosen(spot.evidence("report"), settings.cause.probe)
    return (
        probe_side(settings, store, encoder, old, spot),
        _side(settings, store, encoder, spot, part, old, reverse=True),
    )


def _side(
    settings: Settings,
    store: ObjectStore,
    encoder: Encoder,
    own: LabelSet,
    block: Block,
    other: LabelSet,
    reverse: bool,
) -> Side:
    """A block of one label set, labelled again under the decoder of the other."""
    try:
        decoder = _decoder_of(settings, other)
        again = relabel(settings, store, decoder, own, block)
    except InflucoderError as error:
        return Side(None, f"it can't be used any more: {error}".rstrip("."))
    common = np.isfinite(block.labels) & np.isfinite(again.labels)
    scores = encoder.scores(block.queries, block.candidates)
    first, second = (agreement(scores, np.where(common, labels, np.nan)) for labels in (block.labels, again.labels))
    pair = Pair(second, first) if reverse else Pair(first, second)
    return Side(pair, f"it was loaded from {other.decoder_uri}", again)


def _decoder_of(settings: Settings, labels: LabelSet) -> Decoder:
    """The decoder that labels speak for, from where it was loaded then.

    Raises:
        WrongDecoderError: another one is there now.
    """
    there = settings.model_copy(update={"decoder": labels.decoder_uri})
    decoder = decoder_for(there, labels.identity.teacher.spec)
    wanted = labels.identity.teacher.decoder_fingerprint
    if decoder.fingerprint != wanted:
        raise WrongDecoderError(f"{labels.decoder_uri} holds {decoder.fingerprint[:12]} now, not {wanted[:12]}.")
    return decoder


def _scored(encoder: Encoder, labels: LabelSet) -> Scored:
    block = labels.evidence("report")
    return Scored(block, encoder.scores(block.queries, block.candidates))


def _agreement(item: Scored) -> Agreement:
    return agreement(item.scores, item.block.labels)


def _cells(crossing: Crossing) -> dict[str, Figure]:
    found = {"old decoder, old data": crossing.promoted}
    if crossing.old_data:
        found["new decoder, old data (probe)"] = crossing.old_data.now
    if crossing.new_data:
        found["old decoder, new data (part)"] = crossing.new_data.then
    found["new decoder, new data" if not crossing.same_decoder else "same decoder, new data"] = crossing.spot
    return {name: figure_of(item.rho) for name, item in found.items()}

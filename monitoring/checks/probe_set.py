"""A fixed probe set: samples of a version's own report split, labelled when it was made, and again later.

The same pairs under two decoders tell what the decoder did to agreement, with the data held still.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError
from influcoder.core.provenance import now
from influcoder.decoder.checkpoint import Decoder
from influcoder.labelsets import Block, LabelSet, Plan
from influcoder.labelsets.build import count_cached, label_plan
from influcoder.labelsets.plan import REFERENCE, Entry
from influcoder.samples import Sample
from influcoder.settings.labels import SplitBudget
from influcoder.settings.tree import Settings
from influcoder.storage.object_store import ObjectStore
from influcoder.storage.records import keep

Labels = list[list[float | None]]


class Probe(BaseModel):
    """The probe of a label set, and what the decoder said of it then.

    Args:
        label_set: whose report split it is part of.
        decoder: fingerprint of the decoder of then.
        queries: hashes of its queries.
        candidates: hashes of its candidates; the same ones where each sample ranks all the others.
        labels: exact influence then, queries × candidates; None where a pair has no label.
        created: UTC time, ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_set: str
    decoder: str
    queries: tuple[str, ...]
    candidates: tuple[str, ...]
    labels: Labels
    created: str


@dataclass(frozen=True)
class Relabelled:
    """A block under another decoder.

    Args:
        labels: exact influence, in the block's order, NaN where a pair has no label.
        samples: how many samples had to be labelled for it; the others were cached.
        seconds: what that took.
    """

    labels: np.ndarray
    samples: int
    seconds: float


def chosen(block: Block, budget: SplitBudget) -> Block:
    """The part of a block that is fixed by the hashes of its samples, whatever order it comes in."""
    if block.is_square:
        rows = _first(block.queries, budget.queries + budget.candidates)
        return block.part(rows, rows)
    return block.part(_first(block.queries, budget.queries), _first(block.candidates, budget.candidates))


def is_remembered(store: ObjectStore, label_set: str) -> bool:
    """Whether a label set has a probe already."""
    return store.exists(_key(label_set))


def remember(store: ObjectStore, labels: LabelSet, budget: SplitBudget) -> Probe:
    """The probe of a label set, chosen and kept at the first call, and the same from then on."""
    key = _key(labels.id)
    block = chosen(labels.evidence("report"), budget)
    probe = Probe(
        label_set=labels.id,
        decoder=labels.identity.teacher.decoder_fingerprint,
        queries=tuple(sample.hash for sample in block.queries),
        candidates=tuple(sample.hash for sample in block.candidates),
        labels=[[float(v) if np.isfinite(v) else None for v in row] for row in block.labels],
        created=now(),
    )
    return keep(store, key, probe, "Delete it; the next check makes it again.")


def block_of(probe: Probe, labels: LabelSet) -> Block:
    """The probe's samples with their labels of then.

    Raises:
        IntegrityError: the label set does not hold the probe's samples.
    """
    whole = labels.evidence("report")
    places = [{s.hash: row for row, s in enumerate(role)} for role in (whole.queries, whole.candidates)]
    try:
        rows, columns = (
            [place[value] for value in hashes]
            for place, hashes in zip(places, (probe.queries, probe.candidates), strict=True)
        )
    except KeyError as error:
        raise IntegrityError(f"the probe of label set {labels.id} names samples that it does not hold.") from error
    part = whole.part(rows, rows if whole.is_square else columns)
    then = np.array([[np.nan if v is None else v for v in row] for row in probe.labels], np.float64)
    return Block(part.queries, part.candidates, then)


def relabel(settings: Settings, store: ObjectStore, decoder: Decoder, labels: LabelSet, block: Block) -> Relabelled:
    """Label a block of a label set under another decoder; what that teacher has labelled already costs nothing.

    Args:
        settings: effort, and the optimiser state for LESS.
        store: where features are cached.
        decoder: the decoder.
        labels: the label set, for its teacher and the samples that a curvature is taken on.
        block: queries and candidates.
    """
    spec = labels.identity.teacher.spec
    queries = [Entry(sample, "query", "report") for sample in block.queries]
    others = [] if block.is_square else [Entry(sample, "candidate", "report") for sample in block.candidates]
    train = [entry for entry in labels.entries if entry.split == "train" and entry.role != "query"]
    reference = [Entry(entry.sample, REFERENCE, "train") for entry in train[: spec.curved_on]]
    # A square needs no candidates of its own, but a plan does: the last of the queries is one.
    entries = [*queries, *others] if others else [*queries[:-1], Entry(queries[-1].sample, "candidate", "report")]
    plan = Plan("spot", (*entries, *reference), ())
    new = len(plan.samples) - count_cached(settings, decoder, spec, plan, store)
    start = time.perf_counter()
    found = label_plan(settings, decoder, spec, plan, store)
    spent = time.perf_counter() - start
    again = found.square("report") if block.is_square else found.block("report")
    return Relabelled(_aligned(again, block), new, spent if new else 0.0)


def _aligned(found: Block, block: Block) -> np.ndarray:
    """Labels in the order of a block; samples that have none now are NaN."""
    places = [{s.hash: row for row, s in enumerate(role)} for role in (found.queries, found.candidates)]
    labels = np.full((len(block.queries), len(block.candidates)), np.nan)
    for row, query in enumerate(block.queries):
        for column, candidate in enumerate(block.candidates):
            place = places[0].get(query.hash), places[1].get(candidate.hash)
            if place[0] is not None and place[1] is not None:
                labels[row, column] = found.labels[place]
    return labels


def _first(samples: Sequence[Sample], count: int) -> list[int]:
    order = sorted(range(len(samples)), key=lambda row: hashlib.sha256(f"probe:{samples[row].hash}".encode()).digest())
    return order[:count]


def _key(label_set: str) -> str:
    return f"probes/{label_set}.json"

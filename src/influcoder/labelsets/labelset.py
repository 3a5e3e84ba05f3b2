"""A label set in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from influcoder.influence.cache import FeatureTable
from influcoder.influence.labeller import Labelled
from influcoder.influence.reliability import Reliability
from influcoder.influence.scores import exact_influence
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.manifest import Identity, SampleRef, Source
from influcoder.labelsets.plan import Entry, Plan
from influcoder.samples import Sample


@dataclass(frozen=True)
class Block:
    """Queries × candidates of one split.

    Args:
        queries: the queries.
        candidates: the candidates.
        labels: exact influence, shape (queries, candidates); NaN for a sample against itself.
    """

    queries: Sequence[Sample]
    candidates: Sequence[Sample]
    labels: np.ndarray


@dataclass(frozen=True)
class LabelSet:
    """Samples with the features that a teacher gave them.

    Args:
        identity: what the labels are.
        entries: the samples in role and split, in the order of the identity.
        features: their features, in the same order.
        decoder_uri: where the decoder was loaded from.
        quarantined: planned samples without a label, with the reason.
        reliability: what the labels are worth, None where it was not measured.
    """

    identity: Identity
    entries: tuple[Entry, ...]
    features: FeatureTable
    decoder_uri: str
    quarantined: dict[str, str]
    reliability: Reliability | None = None

    @property
    def id(self) -> str:
        """The content-addressed id."""
        return self.identity.id

    @property
    def splits(self) -> list[str]:
        """The splits that hold samples."""
        return list(dict.fromkeys(entry.split for entry in self.entries))

    def block(self, split: str) -> Block:
        """Queries, candidates and labels of a split."""
        queries, candidates = self._rows(split, "query"), self._rows(split, "candidate")
        return Block(self._samples(queries), self._samples(candidates), self._influence(queries, candidates))

    def square(self, split: str) -> Block:
        """All samples of a split against all others: features label the pairs of any two, whatever their roles."""
        rows = [row for row, entry in enumerate(self.entries) if entry.split == split]
        labels = self._influence(rows, rows)
        np.fill_diagonal(labels, np.nan)
        return Block(self._samples(rows), self._samples(rows), labels)

    def evidence(self, split: str) -> Block:
        """What agreement is measured on: every pair that the features label and that the encoder is meant to rank.

        Where queries and candidates come from one corpus, the roles can be exchanged, and each sample is a query
        that ranks all the others: the same labels, several times the evidence. Else queries rank candidates.
        """
        return self.square(split) if len(self.identity.sources) == 1 else self.block(split)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every labelled pair: columns `query`, `candidate` (hashes), `split`, `score`."""
        frames = [self._pairs(split) for split in self.splits]
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each sample: its fields, role, split, gradient norm, loss and share of cut tokens."""
        rows = [
            {
                **{name: getattr(entry.sample, name) for name in ("hash", "id", "context", "target", "text", "source")},
                "role": entry.role,
                "split": entry.split,
            }
            for entry in self.entries
        ]
        return pd.DataFrame(rows).assign(norm=self.features.norms, loss=self.features.losses, cut=self.features.cuts)

    def _pairs(self, split: str) -> pd.DataFrame:
        block = self.block(split)
        return pd.DataFrame(
            {
                "query": np.repeat([sample.hash for sample in block.queries], len(block.candidates)),
                "candidate": np.tile([sample.hash for sample in block.candidates], len(block.queries)),
                "split": split,
                "score": block.labels.ravel().astype(np.float32),
            }
        )

    def _samples(self, rows: list[int]) -> list[Sample]:
        return [self.entries[row].sample for row in rows]

    def _influence(self, queries: list[int], candidates: list[int]) -> np.ndarray:
        return exact_influence(self.identity.teacher.spec, self.features.rows(queries), self.features.rows(candidates))

    def _rows(self, split: str, role: str) -> list[int]:
        return [row for row, entry in enumerate(self.entries) if entry.split == split and entry.role == role]


def assemble(
    plan: Plan, teacher: Teacher, decoder_uri: str, labelled: Labelled, reliability: Reliability | None = None
) -> LabelSet:
    """A label set of what was planned and could be labelled."""
    entries = tuple(entry for entry in plan.entries if entry.sample.hash not in labelled.quarantined)
    identity = Identity(
        kind=plan.kind,
        teacher=teacher,
        samples=tuple(SampleRef(hash=e.sample.hash, role=e.role, split=e.split) for e in entries),
        sources=tuple(Source(uri=uri, digest=digest) for uri, digest in plan.sources),
        parent=plan.parent,
    )
    return LabelSet(identity, entries, labelled.table, decoder_uri, labelled.quarantined, reliability)

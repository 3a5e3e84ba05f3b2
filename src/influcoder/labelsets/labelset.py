"""A label set in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from influcoder.core.errors import SampleError
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.influence.teachers.scores import exact_influence
from influcoder.labelsets.manifest import Identity, SampleRef, Source
from influcoder.labelsets.plan import REFERENCE, Entry, Plan
from influcoder.samples import ASKED, Sample

# What the URI of a source begins with that is no corpus but a table of imported scores.
SCORES = "scores:"


@dataclass(frozen=True)
class Block:
    """Queries × candidates of one split.

    Args:
        queries: the queries.
        candidates: the candidates.
        labels: exact influence, shape (queries, candidates); NaN for a sample against itself, and where a pair has
            no label.
    """

    queries: Sequence[Sample]
    candidates: Sequence[Sample]
    labels: np.ndarray

    @property
    def is_square(self) -> bool:
        """Whether each sample is a query that ranks all the others."""
        return self.queries is self.candidates

    def part(self, rows: Sequence[int], columns: Sequence[int]) -> "Block":
        """Some queries against some candidates; a square where the same rows of a square are asked for twice."""
        queries = [self.queries[row] for row in rows]
        same = self.is_square and rows is columns
        candidates = queries if same else [self.candidates[column] for column in columns]
        return Block(queries, candidates, self.labels[np.ix_(rows, columns)])


@dataclass(frozen=True)
class LabelSet:
    """Samples with what a teacher said of them: a feature of each, or scores of pairs.

    Args:
        identity: what the labels are.
        entries: the samples in role and split, in the order of the identity.
        features: their features, in the same order; None for a teacher that scores pairs.
        scores: scores of pairs; None for a teacher that has features.
        decoder_uri: where the decoder was loaded from.
        quarantined: planned samples without a label, with the reason.
        reliability: what the labels are worth, None where it was not measured.
    """

    identity: Identity
    entries: tuple[Entry, ...]
    features: FeatureTable | None
    decoder_uri: str
    quarantined: dict[str, str]
    reliability: Reliability | None = None
    scores: PairScores | None = None

    @property
    def id(self) -> str:
        """The content-addressed id."""
        return self.identity.id

    @property
    def splits(self) -> list[str]:
        """The splits that hold queries."""
        return list(dict.fromkeys(entry.split for entry in self.entries if entry.role == "query"))

    @property
    def asked(self) -> int:
        """How many of the queries were drawn from the log of what the encoder was asked."""
        return sum(entry.role == "query" and entry.sample.source == ASKED for entry in self.entries)

    def block(self, split: str) -> Block:
        """Queries, candidates and labels of a split."""
        queries, candidates = self._rows(split, "query"), self._rows(split, "candidate")
        return Block(self._samples(queries), self._samples(candidates), self._influence(queries, candidates))

    def square(self, split: str) -> Block:
        """All samples of a split against all others: features label the pairs of any two, whatever their roles."""
        rows = [row for row, entry in enumerate(self.entries) if entry.split == split and entry.role != REFERENCE]
        labels = self._influence(rows, rows)
        np.fill_diagonal(labels, np.nan)
        samples = self._samples(rows)
        return Block(samples, samples, labels)

    def evidence(self, split: str) -> Block:
        """What agreement is measured on: every pair that is labelled and that the encoder is meant to rank.

        Where queries and candidates come from one corpus, the roles can be exchanged, and each sample is a query
        that ranks all the others: the same labels, several times the evidence. Else queries rank candidates.
        """
        corpora = [source for source in self.identity.sources if not source.uri.startswith(SCORES)]
        return self.square(split) if len(corpora) == 1 and self.exchangeable else self.block(split)

    @property
    def exchangeable(self) -> bool:
        """Whether samples are labelled in both roles."""
        return self.scores is None or self.scores.both_ways

    def training_block(self) -> Block:
        """What an encoder is distilled from: all labelled pairs of the train split."""
        return self.square("train") if self.exchangeable else self.block("train")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every pair of a query and a candidate that is labelled: columns `query`, `candidate` (hashes), `split`,
        `score`."""
        frames = [self._pairs(split) for split in self.splits]
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each sample: its fields, role and split; with features also norm, loss and share of cut tokens."""
        rows = [
            {
                **{name: getattr(entry.sample, name) for name in ("hash", "id", "context", "target", "text", "source")},
                "role": entry.role,
                "split": entry.split,
            }
            for entry in self.entries
        ]
        if self.features is None:
            return pd.DataFrame(rows)
        return pd.DataFrame(rows).assign(norm=self.features.norms, loss=self.features.losses, cut=self.features.cuts)

    def _pairs(self, split: str) -> pd.DataFrame:
        block = self.block(split) if self.scores is None or not self.exchangeable else self.square(split)
        # Objects, so that a pair names two hashes instead of holding copies of them.
        queries, candidates = (np.array([s.hash for s in role], object) for role in (block.queries, block.candidates))
        frame = pd.DataFrame(
            {
                "query": np.repeat(queries, len(candidates)),
                "candidate": np.tile(candidates, len(queries)),
                "split": split,
                "score": block.labels.ravel().astype(np.float32),
            }
        )
        # A feature that gives no number is an error, which the expectations name; a pair without a score is none.
        return frame if self.scores is None else frame[frame["score"].notna()].reset_index(drop=True)

    def _samples(self, rows: list[int]) -> list[Sample]:
        return [self.entries[row].sample for row in rows]

    def _influence(self, queries: list[int], candidates: list[int]) -> np.ndarray:
        if self.scores is not None:
            hashes = [[self.entries[row].sample.hash for row in rows] for rows in (queries, candidates)]
            return self.scores.block(*hashes)
        assert self.features is not None
        roles = (self.features.rows(rows) for rows in (queries, candidates, self._reference))
        return exact_influence(self.identity.teacher.spec, *roles)

    @cached_property
    def _reference(self) -> list[int]:
        rows = [row for row, entry in enumerate(self.entries) if entry.split == "train" and entry.role != "query"]
        return rows[: self.identity.teacher.spec.curved_on]

    def _rows(self, split: str, role: str) -> list[int]:
        return [row for row, entry in enumerate(self.entries) if entry.split == split and entry.role == role]


def assemble(
    plan: Plan, teacher: Teacher, decoder_uri: str, labelled: Labelled, reliability: Reliability | None = None
) -> LabelSet:
    """A label set of what was planned and could be labelled.

    Raises:
        SampleError: nothing of what was planned in a role of a split could be.
    """
    entries = tuple(entry for entry in plan.entries if entry.sample.hash not in labelled.quarantined)
    kept = {(entry.split, entry.role) for entry in entries}
    lost = [entry for entry in plan.entries if (entry.split, entry.role) not in kept]
    if lost:
        raise SampleError(
            f"no {lost[0].role} of the {lost[0].split} split has a gradient that can be compared; sample "
            f"{lost[0].sample.id!r} has {labelled.quarantined[lost[0].sample.hash]}.",
            "Look at the sample; where all are like that, the decoder's weights or its dtype are at fault.",
        )
    identity = _identity(plan, teacher, entries)
    return LabelSet(identity, entries, labelled.table, decoder_uri, labelled.quarantined, reliability)


def assemble_pairs(
    plan: Plan, teacher: Teacher, decoder_uri: str, scores: PairScores, reliability: Reliability | None = None
) -> LabelSet:
    """A label set of what was planned and scored pair by pair."""
    return LabelSet(_identity(plan, teacher, plan.entries), plan.entries, None, decoder_uri, {}, reliability, scores)


def _identity(plan: Plan, teacher: Teacher, entries: tuple[Entry, ...]) -> Identity:
    return Identity(
        kind=plan.kind,
        teacher=teacher,
        samples=tuple(SampleRef(hash=e.sample.hash, role=e.role, split=e.split) for e in entries),
        sources=tuple(Source(uri=uri, digest=digest) for uri, digest in plan.sources),
        parent=plan.parent,
    )

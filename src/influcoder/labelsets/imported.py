"""Scores that somebody else computed, as a label set: any table of query, candidate and score."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from influcoder.core.errors import ScoreTableError
from influcoder.influence.reliability import MIN_CANDIDATES, MIN_QUERIES, reliability_of
from influcoder.influence.reliability_record import Reliability
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.pair_scores import PairScores
from influcoder.labelsets.labelset import SCORES, LabelSet, assemble_pairs
from influcoder.labelsets.plan import Entry, Plan
from influcoder.samples import SPLITS, Corpus, Sample, split_of
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.object_store import sha256

COLUMNS = ("query", "candidate", "score")


@dataclass(frozen=True)
class ScoreFile:
    """A table of scores as it was read.

    Args:
        path: the file.
        digest: SHA-256 of its bytes.
        frame: columns `query`, `candidate` (ids or hashes of samples) and `score`.
    """

    path: Path
    digest: str
    frame: pd.DataFrame


def read_scores(path: Path) -> ScoreFile:
    """Read a table of scores.

    Args:
        path: `.parquet`, `.csv` or `.jsonl` (each of the last two plain or gzipped), with the columns `query`,
            `candidate` and `score`; other columns are left alone.
    Raises:
        ScoreTableError: there is no such file, it is of no known kind, a column is missing, or a score is no number.
    """
    try:
        data = path.read_bytes()
        frame = _reader(path)(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ScoreTableError(f"{path} can't be read: {reason}.", "Name a .parquet, .csv or .jsonl file.") from error
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise ScoreTableError(f"{path} has no column {missing[0]!r}.", f"It needs {', '.join(COLUMNS)}.")
    frame = frame[list(COLUMNS)].astype({"query": str, "candidate": str})
    scores = pd.to_numeric(frame["score"], errors="coerce")
    bad = np.flatnonzero(~np.isfinite(scores.to_numpy(float)))
    if len(bad):
        raise ScoreTableError(
            f"{path}: row {bad[0] + 1} has the score {str(frame['score'].iloc[bad[0]])!r}; {len(bad)} of {len(frame)} "
            "scores are no numbers.",
            "Leave out pairs that have no score.",
        )
    return ScoreFile(path, sha256(data), frame.assign(score=scores))


def import_scores(
    file: ScoreFile,
    candidates: Corpus,
    queries: Corpus | None,
    decoder: Mapping[str, str],
    origin: str,
    kind: str,
    second: ScoreFile | None = None,
) -> LabelSet:
    """A label set of imported scores.

    A sample's split follows from its content, as everywhere, so only pairs within one split are kept: what an
    encoder was trained on is never evidence. A spot label set keeps the report split alone.

    Args:
        file: the scores.
        candidates: the corpus that candidates are from.
        queries: the corpus that queries are from, where it is another one.
        decoder: `fingerprint` and `uri` of the decoder that the scores speak for.
        origin: what computed them.
        kind: `training` or `spot`.
        second: scores of another run of the same method; the pairs that both score give the labels' ceiling, which
            is unknown without. It labels nothing, and is a source of the label set.
    Raises:
        ScoreTableError: a sample is in no corpus, a pair stands there twice, a split is left without pairs, or the
            second table says nothing about the first.
    """
    known = [_by_name(corpus) for corpus in (queries or candidates, candidates)]
    wanted = SPLITS if kind == "training" else ("report",)
    asked, ranked, scores = _within_splits(file, known, wanted)
    entries = tuple(_entries(asked, ranked))
    _check_splits(file, entries, wanted, len(asked))
    corpora = [candidates] if queries is None else [candidates, queries]
    sources = [*((c.uri, c.digest) for c in corpora), (f"{SCORES}{file.path.name}", file.digest)]
    reliability = None
    if second is not None:
        sources.append((f"{SCORES}second-opinion:{second.path.name}", second.digest))
        reliability = _ceiling(file, scores, second, _within_splits(second, known, wanted)[2])
    teacher = Teacher(
        decoder_fingerprint=decoder["fingerprint"], spec=TeacherSpec(method="imported", origin=origin or file.path.name)
    )
    return assemble_pairs(Plan(kind, entries, tuple(sources)), teacher, decoder["uri"], scores, reliability)


def _within_splits(
    file: ScoreFile, known: Sequence[Mapping[str, Sample]], wanted: Sequence[str]
) -> tuple[list[Sample], list[Sample], PairScores]:
    """Query and candidate of each pair that lies within one of the splits, and the scores of these pairs."""
    roles = [_resolved(file, column, names) for column, names in zip(COLUMNS, known, strict=False)]
    splits = [np.array([split_of(sample) for sample in role]) for role in roles]
    kept = np.flatnonzero((splits[0] == splits[1]) & np.isin(splits[0], wanted))
    asked, ranked = ([role[row] for row in kept] for role in roles)
    values = file.frame["score"].to_numpy(float)[kept].tolist()
    return asked, ranked, PairScores.of([s.hash for s in asked], [s.hash for s in ranked], values)


def _check_splits(file: ScoreFile, entries: Sequence[Entry], wanted: Sequence[str], kept: int) -> None:
    absent = [split for split in wanted if not any(entry.split == split for entry in entries)]
    if absent:
        raise ScoreTableError(
            f"{file.path}: no pair has both its samples in the {absent[0]} split ({kept} of {len(file.frame)} "
            "pairs lie within a split).",
            "Score more pairs: 70 % of the samples are for training, 10 % for selection, 20 % for the report.",
        )


def _ceiling(file: ScoreFile, scores: PairScores, second: ScoreFile, other: PairScores) -> Reliability:
    if second.digest == file.digest:
        raise ScoreTableError(
            f"{second.path} and {file.path} are the same file: it says nothing about how far another run agrees.",
            "Score the pairs again under other seeds, or leave out the second opinion.",
        )
    found = reliability_of(scores.matrix, other.block(scores.queries, scores.candidates), against="run")
    if found is None:
        raise ScoreTableError(
            f"{second.path} and {file.path} have too few pairs in common for a ceiling.",
            f"Both must rank the same {MIN_CANDIDATES} candidates or more for {MIN_QUERIES} queries or more.",
        )
    return found


def _reader(path: Path) -> Callable[[Path], pd.DataFrame]:
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return lambda file: pd.read_parquet(file)
    if name.endswith(".csv"):
        return lambda file: pd.read_csv(file, dtype={"query": str, "candidate": str})
    if name.endswith(".jsonl"):
        return lambda file: pd.read_json(file, lines=True, dtype={"query": str, "candidate": str})
    raise ValueError("it is of no known kind")


def _by_name(corpus: Corpus) -> dict[str, Sample]:
    """Samples by hash and by id; where one's id is another one's hash, the hash counts."""
    return {s.id: s for s in corpus.samples} | {s.hash: s for s in corpus.samples}


def _resolved(file: ScoreFile, column: str, names: Mapping[str, Sample]) -> list[Sample]:
    unknown = sorted(set(file.frame[column]) - names.keys())
    if unknown:
        raise ScoreTableError(
            f"{file.path}: {len(unknown)} of {file.frame[column].nunique()} in column {column!r} are neither id nor "
            f"hash of a sample, such as {unknown[0]!r}.",
            "Name the corpora that were scored with --corpus and --queries.",
        )
    return [names[value] for value in file.frame[column]]


def _entries(queries: list[Sample], candidates: list[Sample]) -> Iterator[Entry]:
    """Each sample once; one that is in both columns takes a role by its content, and ranks in both all the same."""
    asked, ranked = ({sample.hash: sample for sample in role} for role in (queries, candidates))
    for value, sample in (asked | ranked).items():
        role = "query" if value in asked else "candidate"
        if value in asked and value in ranked:
            role = "query" if int(value[8:16], 16) % 2 else "candidate"
        yield Entry(sample, role, split_of(sample))

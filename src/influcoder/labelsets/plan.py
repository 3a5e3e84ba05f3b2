"""Which samples to label, in which role and split."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from influcoder.core.errors import SampleError
from influcoder.samples import ASKED, SPLITS, Corpus, Sample
from influcoder.samples.splits import in_split
from influcoder.settings.labels import AskedSettings, LabelBudget, SplitBudget

ROLES = ("query", "candidate")
# Samples of the train split that a curvature is taken on where nothing of that split is labelled otherwise.
REFERENCE = "reference"


@dataclass(frozen=True)
class Entry:
    """A sample in its role and split."""

    sample: Sample
    role: str
    split: str


@dataclass(frozen=True)
class Plan:
    """What a label set is to hold.

    Args:
        kind: `training` or `spot`.
        entries: the samples, unique by content and by the encoder's view of them.
        sources: URI and digest of every corpus that they were drawn from.
        parent: id of the label set that this one continues, if any.
    """

    kind: str
    entries: tuple[Entry, ...]
    sources: tuple[tuple[str, str], ...]
    parent: str | None = None

    @property
    def samples(self) -> list[Sample]:
        """All samples, in the order of the entries."""
        return [entry.sample for entry in self.entries]


def plan_label_set(
    candidates: Corpus,
    queries: Corpus | None,
    budget: LabelBudget,
    seed: int,
    parent: str | None = None,
    report: Sequence[Entry] = (),
) -> Plan:
    """Draw the samples of a training label set.

    Args:
        candidates: the pool.
        queries: what queries are drawn from; the pool itself unless given.
        budget: how many of each, by split.
        seed: seed of the draw.
        parent: id of the label set that this one continues.
        report: entries that are labelled already (spot labels) and begin the report split; what its budget asks for
            beyond them is drawn as far as there are samples.
    Raises:
        SampleError: a corpus holds too few samples for the budget.
    """
    # What a curvature was taken on is of the train split, and free to be trained on.
    report = [entry for entry in report if entry.role != REFERENCE]
    draw = _Draw(seed, taken=(entry.sample for entry in report))
    entries = list(report)
    for split in SPLITS:
        if not (split == "report" and report):
            entries += draw.entries(candidates, queries or candidates, split, getattr(budget, split))
            continue
        for role, corpus, count in (
            ("query", queries or candidates, budget.report.queries),
            ("candidate", candidates, budget.report.candidates),
        ):
            given = sum(entry.role == role for entry in report)
            entries += draw.up_to(corpus, "report", role, max(count - given, 0))
    return Plan("training", tuple(entries), _sources(candidates, queries, report), parent)


def plan_spot(
    candidates: Corpus,
    queries: Corpus | None,
    budget: SplitBudget,
    seed: int,
    reference: int = 0,
    of: int = 0,
    avoid: Collection[str] = (),
    asked: Corpus | None = None,
    mix: AskedSettings | None = None,
) -> Plan:
    """Draw spot samples, all from the report split, which no encoder is ever trained or selected on.

    Args:
        candidates: the pool.
        queries: what queries are drawn from; the pool itself unless given.
        budget: how many of each.
        seed: seed of the draw, another one for each check.
        reference: how many samples of the train split the teacher's curvature is taken on.
        of: seed of the draw of training labels, so that the same samples serve here as there.
        avoid: hashes of samples that are drawn only where there are too few others.
        asked: what the encoder was really asked lately; a share of the queries is drawn from it.
        mix: which share, and how few are none.
    Raises:
        SampleError: a corpus holds too few samples for the budget.
    """
    draw = _Draw(seed, avoid=avoid)
    real = draw.asked(asked, mix, budget.queries) if asked and mix else []
    rest = budget.model_copy(update={"queries": budget.queries - len(real)})
    entries = [*real, *draw.entries(candidates, queries or candidates, "report", rest)]
    curvature = _Draw(of).some(candidates, "train", REFERENCE, reference)
    return Plan("spot", (*entries, *curvature), _sources(candidates, queries, real))


def plan_pairs(
    outputs: Sequence[Sample], candidates: Sequence[Sample], pool: Corpus, seed: int, reference: int
) -> Plan:
    """Outputs as queries against chosen candidates; reference samples for a curvature as for spot labels."""
    asked = {output.hash for output in outputs}
    others = [sample for sample in candidates if sample.hash not in asked]
    entries = [Entry(output, "query", "report") for output in outputs]
    entries += [Entry(sample, "candidate", "report") for sample in others]
    curvature = _Draw(seed, taken=(*outputs, *others)).some(pool, "train", REFERENCE, reference)
    return Plan("spot", (*entries, *curvature), _sources(pool, None))


def draw_reference(pool: Corpus, seed: int, count: int) -> list[Sample]:
    """Samples of the train split for second moments: as many as asked for, or all that there are.

    Raises:
        SampleError: there are fewer than two.
    """
    draw = _Draw(seed)
    return [
        entry.sample for entry in draw.up_to(pool, "train", REFERENCE, count) or draw.some(pool, "train", REFERENCE, 2)
    ]


def other_reference(pool: Corpus, first: Sequence[Sample], seed: int) -> list[Sample]:
    """As many samples for a curvature again: others of the train split, and where it has too few, some of the first."""
    drawn = _Draw(seed, taken=first).up_to(pool, "train", REFERENCE, len(first))
    return [*(entry.sample for entry in drawn), *first[: len(first) - len(drawn)]]


class _Draw:
    def __init__(self, seed: int, taken: Iterable[Sample] = (), avoid: Collection[str] = ()) -> None:
        self._seed = seed
        self._avoid = frozenset(avoid)
        self._seen = {_view(sample) for sample in taken}

    def entries(self, candidates: Corpus, queries: Corpus, split: str, budget: SplitBudget) -> list[Entry]:
        return [
            *self.some(queries, split, "query", budget.queries),
            *self.some(candidates, split, "candidate", budget.candidates),
        ]

    def asked(self, asked: Corpus, mix: AskedSettings, count: int) -> list[Entry]:
        """Queries from the log; a text that may be trained on by its hash is no more evidence there than elsewhere."""
        usable = len({_view(sample) for sample in in_split(asked.samples, "report")})
        return self.up_to(asked, "report", "query", int(count * mix.share)) if usable >= mix.least else []

    def some(self, corpus: Corpus, split: str, role: str, count: int) -> list[Entry]:
        drawn = self.up_to(corpus, split, role, count)
        if len(drawn) < count:
            raise SampleError(
                f"{corpus.uri} has {len(drawn)} samples left for {count} of role {role} in the {split} split.",
                "Lower labels.budget or labels.spot, or name a larger corpus.",
            )
        return drawn

    def up_to(self, corpus: Corpus, split: str, role: str, count: int) -> list[Entry]:
        pool = sorted(in_split(corpus.samples, split), key=self._priority)
        drawn: list[Entry] = []
        for sample in pool:
            if len(drawn) == count:
                break
            if _view(sample) not in self._seen:
                self._seen.add(_view(sample))
                drawn.append(Entry(sample, role, split))
        return drawn

    def _priority(self, sample: Sample) -> tuple[bool, str]:
        """A sample keeps its place in the order when the corpus grows, so most labels are reused then."""
        return sample.hash in self._avoid, hashlib.sha256(f"{self._seed}:{sample.hash}".encode()).hexdigest()


def _view(sample: Sample) -> str:
    """Texts that differ in case and white space alone are one text to an encoder, and would leak."""
    return " ".join(sample.text.lower().split())


def _sources(candidates: Corpus, queries: Corpus | None, entries: Iterable[Entry] = ()) -> tuple[tuple[str, str], ...]:
    corpora = [candidates] if queries is None else [candidates, queries]
    # The log of queries forgets, so its digest is that of what was drawn.
    real = tuple(entry.sample for entry in entries if entry.sample.source == ASKED)
    if real:
        corpora.append(Corpus(ASKED, real))
    return tuple((corpus.uri, corpus.digest) for corpus in corpora)

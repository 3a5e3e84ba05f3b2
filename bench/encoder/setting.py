"""What encoders are compared on: samples in their roles, exact labels, and what the decoder's forward pass shows.

Labels are made once and kept in the cache folder, part by part, so that a killed run goes on where it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from bench.lds.setting import bench_folder, key, write
from influcoder.core.progress import progress
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.gradients import extract_views
from influcoder.influence.features.passes import padded
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.influence.reliability import second_opinion
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import influence
from influcoder.labelsets import plan_label_set, plan_spot
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.settings.labels import LabelBudget, SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import per_query_spearman

# Tasks that no query of training or selection comes from: arithmetic, logic, language and common sense, one each.
NEW_TASKS = ("multistep_arithmetic_two", "web_of_lies", "hyperbaton", "date_understanding")
# Blocks of the decoder whose hidden states are kept, as shares of its depth.
DEPTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PART = 48


@dataclass(frozen=True)
class Budget:
    """How many samples stand in each role."""

    training: LabelBudget
    new_queries: int
    new_candidates: int


@dataclass(frozen=True)
class Block:
    """Queries and candidates, as rows of the setting's samples."""

    queries: np.ndarray
    candidates: np.ndarray


@dataclass(frozen=True)
class Setting:
    """Samples, their features under the teacher and under its second opinion, and forward statistics.

    Args:
        samples: all of them.
        teacher: id of whose labels they are.
        blocks: `train`, `selection`, `report`, `new tasks`, `new source`: rows of queries and of candidates.
        own: influence features, shape (samples, dimensions).
        other: the same under other adapter and sketch seeds.
        losses: mean, standard deviation and maximum of the target tokens' losses, and the first one's, shape
            (samples, 4).
        states: mean hidden states over the context's and over the target's tokens, shape
            (samples, depths, 2, hidden size).
    """

    samples: list[Sample]
    teacher: str
    blocks: Mapping[str, Block]
    own: np.ndarray
    other: np.ndarray
    losses: np.ndarray
    states: np.ndarray

    def labels(self, block: str, features: np.ndarray | None = None) -> np.ndarray:
        """Exact influence of a block, shape (queries, candidates)."""
        rows = self.blocks[block]
        features = self.own if features is None else features
        return influence(features[rows.queries], features[rows.candidates])

    @cached_property
    def hashes(self) -> list[str]:
        """Content hashes of the samples."""
        return [sample.hash for sample in self.samples]

    @cached_property
    def texts(self) -> list[str]:
        """What an encoder sees."""
        return [sample.text for sample in self.samples]


def instructions(data: Path, budget: Budget, max_tokens: int, decoder: str) -> Setting:
    """Queries of BIG-Bench Hard against a heterogeneous pool of instructions.

    Args:
        data: folder that holds `queries_bbh.jsonl` and `pool_instruct.jsonl`.
        budget: how many samples.
        max_tokens: length limit of the decoder.
        decoder: URI of the decoder.
    """
    pool, queries = unique(data / "pool_instruct.jsonl"), unique(data / "queries_bbh.jsonl")
    seen = Corpus(queries.uri, tuple(s for s in queries.samples if s.source not in NEW_TASKS))
    unseen = Corpus(queries.uri, tuple(s for s in queries.samples if s.source in NEW_TASKS))
    documents = read_corpus("docs:numpy,scipy")
    plan = plan_label_set(pool, seen, budget.training, 0)
    few = SplitBudget(queries=budget.new_queries, candidates=budget.new_candidates)
    new = plan_spot(documents, unseen, few, 0)
    roles = {(e.split, e.role): [] for e in plan.entries}
    for entry in plan.entries:
        roles[entry.split, entry.role].append(entry.sample)
    new_roles = {role: [e.sample for e in new.entries if e.role == role] for role in ("query", "candidate")}
    blocks = {split: (roles[split, "query"], roles[split, "candidate"]) for split in ("train", "selection", "report")}
    blocks["new tasks"] = (new_roles["query"], blocks["report"][1])
    blocks["new source"] = (blocks["report"][0], new_roles["candidate"])
    return labelled(blocks, max_tokens, decoder)


def documentation(corpus: str, budget: LabelBudget, max_tokens: int, decoder: str) -> Setting:
    """Queries and candidates from the documentation of installed packages."""
    plan = plan_label_set(read_corpus(corpus), None, budget, 0)
    blocks = {
        split: tuple(
            [e.sample for e in plan.entries if (e.split, e.role) == (split, role)] for role in ("query", "candidate")
        )
        for split in ("train", "selection", "report")
    }
    return labelled(blocks, max_tokens, decoder)


def rho(scores: np.ndarray, setting: Setting, block: str) -> float:
    """Mean per-query ρ of a block's scores with exact influence."""
    return float(np.nanmean(per_query_spearman(scores, setting.labels(block))))


def unique(path: Path) -> Corpus:
    """A corpus whose ids may repeat: each content once, and each id for the first content that carries it."""
    from influcoder.samples.readers import read_jsonl

    samples: dict[str, Sample] = {}
    for sample in read_jsonl(str(path)):
        samples.setdefault(sample.id, sample)
    return Corpus(str(path), tuple({sample.hash: sample for sample in samples.values()}.values()))


def labelled(blocks: Mapping[str, tuple[list[Sample], list[Sample]]], max_tokens: int, decoder: str) -> Setting:
    """The setting of samples in their roles; what was labelled before is read."""
    samples = list({s.hash: s for queries, candidates in blocks.values() for s in (*queries, *candidates)}.values())
    place = {sample.hash: row for row, sample in enumerate(samples)}
    rows = {
        name: Block(*(np.array([place[sample.hash] for sample in role]) for role in roles))
        for name, roles in blocks.items()
    }
    model = load_decoder(decoder)
    teacher = Teacher(decoder_fingerprint=model.fingerprint, spec=TeacherSpec(max_tokens=max_tokens))
    return Setting(samples, teacher.id, rows, *_columns(samples, model, teacher.spec))


def _columns(samples: Sequence[Sample], decoder: Decoder, spec: TeacherSpec) -> Iterator[np.ndarray]:
    folder = bench_folder() / "encoders" / key(decoder.fingerprint, spec.model_dump(), DEPTHS)
    parts = [samples[start : start + PART] for start in range(0, len(samples), PART)]
    files = [folder / f"{key([sample.hash for sample in part])}.npz" for part in parts]
    with progress("labelling for the bench", len(samples)) as ticker:
        for part, path in zip(parts, files, strict=True):
            if not path.is_file():
                columns = _label(part, decoder, spec)
                write(path, lambda file, columns=columns: np.savez(file, **columns))
            ticker.advance(len(part))
    loaded = [np.load(path) for path in files]
    return (np.concatenate([part[name] for part in loaded]) for name in ("own", "other", "losses", "states"))


def _label(samples: Sequence[Sample], decoder: Decoder, spec: TeacherSpec) -> dict[str, np.ndarray]:
    tokens = [tokenize(decoder.tokenizer, sample, spec.max_tokens) for sample in samples]
    found: dict[str, list] = {"own": [], "other": [], "losses": [], "states": []}
    order: list[int] = []

    def work(own: Decoder, batch: list[int]) -> dict[str, np.ndarray]:
        chosen = [tokens[row] for row in batch]
        features = extract_views(own, [(spec, None), (second_opinion(spec), None)], chosen)
        losses, states = forward_statistics(own, chosen)
        vectors = [item.vectors.astype(np.float16) for item in features]
        return {"own": vectors[0], "other": vectors[1], "losses": losses, "states": states}

    for batch, columns in in_batches([len(item) for item in tokens], *Batching().share(decoder, work)):
        order += batch
        for name, values in columns.items():
            found[name].append(values)
    back = np.argsort(order)
    return {name: np.concatenate(values)[back] for name, values in found.items()}


def forward_statistics(decoder: Decoder, batch: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
    """What one forward pass shows of samples: losses of their target tokens, and mean hidden states.

    Returns:
        losses, shape (samples, 4), and states, shape (samples, depths, 2, hidden size), half precision.
    """
    ids, mask, labels = padded(batch, decoder.model.device)
    with torch.inference_mode():
        out = decoder.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
    target = (labels != -100).float()
    context = mask.float() - target
    last = len(out.hidden_states) - 1
    states = torch.stack([out.hidden_states[round(depth * last)] for depth in DEPTHS], dim=1)
    pooled = torch.stack([_mean(states, weights) for weights in (context, target)], dim=2)
    losses = torch.stack([_token_losses(out.logits[row], labels[row]) for row in range(len(batch))])
    return losses.numpy(), pooled.half().numpy()


def _token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    places = (labels[1:] != -100).nonzero()[:, 0]
    each = torch.nn.functional.cross_entropy(logits[places].float(), labels[places + 1], reduction="none")
    return torch.stack([each.mean(), each.std(correction=0), each.max(), each[0]])


def _mean(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    total = torch.einsum("btld,bt->bld", states.transpose(1, 2), weights)
    return total / weights.sum(1).clamp_min(1)[:, None, None]

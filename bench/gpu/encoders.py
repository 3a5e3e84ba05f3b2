"""Distillation, embedding and search where there is a GPU."""

import argparse
import functools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bench.gpu.labels import decoder_of, drawn
from bench.gpu.run import turns
from bench.index import run as index
from influcoder.encoder import Encoder, model
from influcoder.encoder.distil import distil
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import LabelSet, plan_label_set
from influcoder.labelsets.labelset import assemble
from influcoder.samples import read_corpus
from influcoder.settings.labels import EncoderSettings, LabelBudget, SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.folder import Folder

BATCHES = (32, 256, 1024)
TOGETHER, TOP = 64, 100


def distillation(options: argparse.Namespace, notes: list[str]) -> list[dict]:
    """Seconds of a closed form and of an epoch of fine-tuning, on real labels."""
    labelled, decoder = _labelled(options), decoder_of(options.decoder)
    found = labelled.training_block()
    notes.append(
        f"Distilled from {options.train} queries and {2 * options.train} candidates; an epoch of fine-tuning sees "
        f"{len(found.queries)} samples, its two measurements on the selection split included{_base(options)[1]}."
    )
    tuned = EncoderSettings(recipe="fine-tune", epochs=1, max_tokens=options.max_tokens)
    works = {
        "closed form": (1, lambda: distil(None, labelled, EncoderSettings(recipe="kernel"), decoder)),
        "an epoch of fine-tuning": (1, lambda: distil(_text(options), labelled, tuned)),
    }
    return turns("distillation", works, options.rounds)


def embedding(options: argparse.Namespace, _notes: list[str]) -> list[dict]:
    """Milliseconds a sample by batch, and of one question."""
    samples, closed, text = drawn(options, options.samples), _closed(options), _text(options)
    views, texts = [closed.view(sample) for sample in samples], [sample.text for sample in samples]
    works: dict[str, tuple[int, Callable[[], object]]] = {}
    for batch in BATCHES:
        works[f"closed form, {batch} at a time"] = (len(views), partial(_embed, closed, views, batch))
        works[f"text encoder, {batch} at a time"] = (len(texts), partial(_embed, text, texts, batch))
        works[f"sentence-transformers' `encode`, {batch} at a time"] = (
            len(texts),
            partial(text.model.encode, texts, batch_size=batch),
        )
    works["closed form, one question"] = (20, lambda: [closed.embed([view]) for view in views[:20]])
    works["text encoder, one question"] = (20, lambda: [text.embed([view]) for view in texts[:20]])
    return turns("embedding", works, options.rounds)


def search(options: argparse.Namespace, notes: list[str]) -> list[dict]:
    """Milliseconds a query: the index, FAISS and NumPy on the processor, and a product on the device."""
    import faiss

    closed = _closed(options)
    base = closed.embed([closed.view(sample) for sample in drawn(options, 4 * options.samples)])
    vectors = index._multiplied(base, options.vectors)
    whole, queries = vectors.astype(np.float32), np.ascontiguousarray(base[:TOGETHER])
    notes.append(f"Searched: {len(vectors)} vectors of {whole.shape[1]} dimensions, {TOP} results each.")
    flat = faiss.IndexFlatIP(whole.shape[1])
    flat.add(whole)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    works: dict[str, tuple[int, Callable[[], object]]] = {}
    with tempfile.TemporaryDirectory() as name:
        ours = _segments(vectors, Path(name))
        works["our index, one query at a time"] = (len(queries), lambda: [ours(query[None]) for query in queries])
        works[f"our index, {TOGETHER} queries"] = (len(queries), lambda: ours(queries))
        works["numpy, exact, one query at a time"] = (8, lambda: [_numpy(whole, query) for query in queries[:8]])
        works["FAISS, exact, one query at a time"] = (
            8,
            lambda: [flat.search(query[None], TOP) for query in queries[:8]],
        )
        works[f"FAISS, exact, {TOGETHER} queries"] = (len(queries), lambda: flat.search(queries, TOP))
        for kind in (torch.float32, torch.float16):
            there = torch.from_numpy(whole).to(device, kind)
            exact = partial(_product, there)
            works[f"torch on {device}, {kind}, one query at a time"] = (
                len(queries),
                lambda exact=exact: [exact(query[None]) for query in queries],
            )
            works[f"torch on {device}, {kind}, {TOGETHER} queries"] = (len(queries), partial(exact, queries))
        return turns("search", works, options.rounds)


def _segments(vectors: np.ndarray, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    size, searchers = index.segment_rows(vectors.shape[1]), []
    for first in range(0, len(vectors), size):
        path = folder / f"{first}.faiss"
        made = index.make_segment(vectors[first : first + size], path)
        searchers.append((first, index.Searcher(path, made.probes)))

    def best(queries: np.ndarray) -> np.ndarray:
        found = [(scores, rows + first) for first, one in searchers for scores, rows in [one.best(queries, TOP)]]
        scores, rows = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
        return np.take_along_axis(rows, np.argsort(-scores, axis=1)[:, :TOP], axis=1)

    return best


def _numpy(whole: np.ndarray, query: np.ndarray) -> np.ndarray:
    return np.argpartition(-(whole @ query), TOP)[:TOP]


def _product(vectors: torch.Tensor, queries: np.ndarray) -> np.ndarray:
    there = torch.from_numpy(queries).to(vectors)
    return (there @ vectors.T).topk(TOP).indices.cpu().numpy()


def _embed(encoder: Encoder, views: list, batch: int) -> None:
    before, model.BATCH = model.BATCH, batch
    try:
        encoder.embed(views)
    finally:
        model.BATCH = before


@functools.cache
def _kept() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


_LABELS: dict[str, LabelSet] = {}


def _labelled(options: argparse.Namespace) -> LabelSet:
    """Labels of the size that `bench/encoder.py` has, made once."""
    if "labels" not in _LABELS:
        decoder, count = decoder_of(options.decoder), options.train
        budget = LabelBudget(
            train=SplitBudget(queries=count, candidates=2 * count),
            selection=SplitBudget(queries=max(2, count // 5), candidates=max(5, count // 3)),
            report=SplitBudget(queries=2, candidates=5),
        )
        plan = plan_label_set(read_corpus(options.corpus), None, budget, 0)
        teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=TeacherSpec(max_tokens=options.max_tokens))
        cache = FeatureCache(Folder(Path(_kept().name)), teacher.features_id)
        made = label_samples(decoder, teacher, plan.samples, cache, Effort(Batching(), 32))
        _LABELS["labels"] = assemble(plan, teacher, decoder.uri, made)
    return _LABELS["labels"]


def _closed(options: argparse.Namespace) -> Encoder:
    settings = EncoderSettings(recipe="kernel")
    return distil(None, _labelled(options), settings, decoder_of(options.decoder)).encoder


def _text(options: argparse.Namespace) -> Encoder:
    return Encoder(_base(options)[0], options.max_tokens)


def _base(options: argparse.Namespace) -> tuple[str, str]:
    """The text encoder, and what has to be said of it."""
    if options.base != "random":
        return options.base, ""
    folder = Path(_kept().name, "text")
    if not folder.is_dir():
        _write_random(folder, decoder_of(options.decoder).tokenizer)
    return str(folder), "; the text encoder has MiniLM's shape, random weights and the decoder's tokenizer"


def _write_random(folder: Path, tokenizer) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    parts = folder.with_name("parts")
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(parts)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(parts)
    SentenceTransformer(modules=[Transformer(str(parts)), Pooling(384)]).save(str(folder))

"""Labels on a GPU: by batch, by floating-point type, into the cache, and as other libraries make them."""

import argparse
import copy
import functools
import importlib
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from bench.gpu.run import turns
from bench.labels.rounding import in_dtype
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureCache
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.labeller import Effort, label_samples
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.influence.teacher import Teacher
from influcoder.samples import Sample, read_corpus
from influcoder.settings.teacher import TeacherSpec
from influcoder.storage.folder import Folder

# Peers that run on a GPU as they are; dattri, dattri-llm and TRAK are set up for a CPU in `peers`.
PEERS = {"bergson": "bergson_index", "kronfluence dot": "kronfluence_dot"}
COMPARED = 32


@functools.cache
def decoder_of(uri: str) -> Decoder:
    """A decoder on the device; where a folder has no weights, random ones of its shape."""
    folder = Path(uri)
    if not folder.is_dir() or list(folder.glob("*.safetensors")):
        return load_decoder(uri)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(uri)
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Decoder(uri, model.to(device).eval().requires_grad_(False), AutoTokenizer.from_pretrained(uri))


def drawn(options: argparse.Namespace, count: int) -> list[Sample]:
    """Samples spread over the corpus, unlike each other."""
    corpus = list({sample.hash: sample for sample in read_corpus(options.corpus).samples}.values())
    return corpus[:: max(1, len(corpus) // count)][:count]


def labels(options: argparse.Namespace, notes: list[str]) -> list[dict]:
    """Every way to label in turns; the first is what others are held against."""
    decoder, samples = decoder_of(options.decoder), drawn(options, options.samples)
    tokens = [tokenize(decoder.tokenizer, sample, options.max_tokens) for sample in samples]
    few = tokens[:: max(1, len(tokens) // options.few)][: options.few]
    notes.append(f"{sum(map(len, tokens))} tokens in all{_randomness(options.decoder)}.")
    works = {}
    for dtype, own in (("float32", decoder), ("bfloat16", in_dtype(decoder, "bfloat16"))):
        for budget in options.budgets:
            works[f"ours, {dtype}, {budget} tokens a batch"] = (len(tokens), partial(features, own, tokens, budget))
        works[f"ours, {dtype}, two batches of {options.budgets[0]} tokens at a time"] = (
            len(tokens),
            partial(features, own, tokens, options.budgets[0], 2),
        )
        works[f"ours, {dtype}, from samples to a cache on disk"] = (len(samples), partial(_cached, own, samples, dtype))
        works[f"peft loop, {dtype}"] = (len(few), _loop(own, few))
    for name, module in PEERS.items():
        works[name] = (len(few), partial(_peer, module, decoder, few))
    compared(decoder, tokens[:: max(1, len(tokens) // COMPARED)][:COMPARED], options.budgets[-1], notes)
    return turns("labels", works, options.rounds)


def features(decoder: Decoder, tokens: list[Tokens], budget: int, workers: int = 1) -> np.ndarray:
    """Influence features, shape (samples, dimensions)."""
    spec = TeacherSpec()
    rows = np.zeros((len(tokens), spec.projection_dim), np.float32)
    owns = [decoder, *(decoder.twin() for _ in range(workers - 1))]

    def work(own: Decoder, batch: list[int]) -> np.ndarray:
        return extract_features(own, spec, [tokens[i] for i in batch]).vectors

    for batch, found in in_batches([len(item) for item in tokens], budget, [partial(work, own) for own in owns]):
        rows[batch] = found
    return rows


def compared(decoder: Decoder, tokens: list[Tokens], budget: int, notes: list[str]) -> None:
    """Whether the device's numbers are right: against the CPU's in float32, and against themselves."""
    there = Decoder(decoder.uri, copy.deepcopy(decoder.model).cpu(), decoder.tokenizer)
    exact, whole = features(there, tokens, 256), features(decoder, tokens, budget)
    again, half = features(decoder, tokens, budget), features(in_dtype(decoder, "bfloat16"), tokens, budget)
    least = [float((rows * other).sum(1).min()) for rows, other in ((exact, whole), (whole, again), (exact, half))]
    notes.append(
        f"Least cosine of {len(tokens)} samples' features with the CPU's in float32: float32 {least[0]:.7f}, bfloat16 "
        f"{least[2]:.5f}; of two runs on the device {least[1]:.7f}."
    )


def profiled(options: argparse.Namespace) -> str:
    """What a batch waits for: time by operation, on the host and on the device."""
    from torch.profiler import ProfilerActivity, profile

    decoder = decoder_of(options.decoder)
    tokens = [tokenize(decoder.tokenizer, s, options.max_tokens) for s in drawn(options, options.samples)]
    found = []
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    order = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
    for dtype, own in (("float32", decoder), ("bfloat16", in_dtype(decoder, "bfloat16"))):
        features(own, tokens, options.budgets[0])
        with profile(activities=kinds) as seen:
            features(own, tokens, options.budgets[0])
        averages = seen.key_averages()
        found += [dtype, averages.table(sort_by=f"self_{order}", row_limit=15, max_name_column_width=50)]
        found.append(averages.table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50))
    return "\n".join(found)


def _cached(decoder: Decoder, samples: list[Sample], dtype: str) -> None:
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=TeacherSpec(dtype=dtype))
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Folder(Path(folder)), teacher.features_id)
        label_samples(decoder, teacher, samples, cache, Effort(Batching(), 32))


def _loop(decoder: Decoder, tokens: list[Tokens]):
    """The adapter is made once, when the loop first runs."""
    from peers import peft_loop

    made = functools.cache(lambda: peft_loop.adapter(decoder))
    return lambda: peft_loop.gradients(*made(), tokens)


def _peer(module: str, decoder: Decoder, tokens: list[Tokens]) -> None:
    # A copy, since some of them leave weights differentiable.
    importlib.import_module(f"peers.{module}").scores(in_dtype(decoder, "float32"), tokens, len(tokens) // 3)


def _randomness(uri: str) -> str:
    random = Path(uri).is_dir() and not list(Path(uri).glob("*.safetensors"))
    return "; the decoder's weights are random, of its shape" if random else ""

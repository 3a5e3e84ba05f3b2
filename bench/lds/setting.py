"""What the linear datamodelling score is measured on: a small decoder pre-trained here, a pool, and queries.

The decoder is a Llama of four blocks and about a million weights over byte-pair tokens. It is trained on the
documentation of packages that neither the pool nor the queries come from, so it has learnt the language of
docstrings, and its losses mean something, but a few passes over the pool still teach it what it did not know.
A decoder of this size is retrained hundreds of times in minutes, which no published checkpoint would allow.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from influcoder.core.files import cache_folder, whole
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.decoder_tuning import fine_tune
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.labelsets import Plan, plan_label_set
from influcoder.samples import Corpus, Sample, read_corpus
from influcoder.settings.labels import LabelBudget
from influcoder.settings.teacher import TeacherSpec

# Large steps first, small ones to settle; each part is kept when it is done.
LEARNING_RATES = (3e-3, 1e-3, 3e-4)
BATCH = 16
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Setting:
    """What every score is given.

    Args:
        decoder: the checkpoint that retraining starts from.
        plan: the report split holds the pool and the queries, the others what encoders are distilled from.
        max_tokens: length limit of a sample, for the decoder.
    """

    decoder: Decoder
    plan: Plan
    max_tokens: int

    @cached_property
    def queries(self) -> list[Sample]:
        """Samples whose loss after retraining counts."""
        return self._role("query")

    @cached_property
    def candidates(self) -> list[Sample]:
        """The pool that subsets are drawn from."""
        return self._role("candidate")

    def tokens(self, samples: Sequence[Sample]) -> list[Tokens]:
        """Tokens of samples as the decoder is shown them."""
        return [tokenize(self.decoder.tokenizer, sample, self.max_tokens) for sample in samples]

    def own(self, spec: TeacherSpec) -> TeacherSpec:
        """A specification with the length limit that holds here."""
        return spec.model_copy(update={"max_tokens": self.max_tokens})

    def _role(self, role: str) -> list[Sample]:
        return [entry.sample for entry in self.plan.entries if entry.split == "report" and entry.role == role]


def prepare(
    pretraining: str, corpus: str, budget: LabelBudget, max_tokens: int, shape: dict[str, int], steps: int, seed: int
) -> Setting:
    """Read the corpora, draw the samples, and pre-train the decoder unless that was done before.

    Args:
        pretraining: URI of the corpus that the decoder is pre-trained on.
        corpus: URI of the corpus that all samples are drawn from.
        budget: how many samples; those of the report split are the pool and the queries.
        max_tokens: length limit of a sample.
        shape: `vocabulary`, `hidden` and `blocks` of the decoder.
        steps: optimiser steps of pre-training.
        seed: seed of the draw and of the decoder's first weights.
    """
    plan = plan_label_set(read_corpus(corpus), None, budget, seed)
    return Setting(pretrained(read_corpus(pretraining), max_tokens, shape, steps, seed), plan, max_tokens)


def bench_folder() -> Path:
    """Where the bench keeps what it can make again."""
    return cache_folder() / "bench"


def key(*facts: Any) -> str:
    """16 hex digits of SHA-256 over facts that can be written as JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write(path: Path, save: Callable[[IO[bytes]], None]) -> None:
    """Write a file that is whole as soon as it has its name."""
    with whole(path) as part, part.open("wb") as file:
        save(file)


def pretrained(corpus: Corpus, max_tokens: int, shape: dict[str, int], steps: int, seed: int) -> Decoder:
    """The pre-trained decoder; a run that was killed goes on from the last part that was done."""
    folder = bench_folder() / "decoders" / key(corpus.digest, max_tokens, shape, steps, LEARNING_RATES, BATCH, seed)
    decoder = None
    for number, rate in enumerate(LEARNING_RATES):
        part = folder / str(number)
        if not part.is_dir():
            decoder = decoder or fresh(corpus, shape, seed)
            share = steps // len(LEARNING_RATES)
            decoder = fine_tune(decoder, corpus.samples, share, BATCH, rate, max_tokens, seed + number)
            _keep(decoder, part)
        decoder = load_decoder(str(part), device="cpu")
    return decoder


def fresh(corpus: Corpus, shape: dict[str, int], seed: int) -> Decoder:
    """A Llama with random weights, and a byte-pair tokenizer made from the corpus."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(corpus, shape["vocabulary"])
    hidden = shape["hidden"]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 16 * 16,
        num_hidden_layers=shape["blocks"],
        num_attention_heads=hidden // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    return Decoder("fresh", LlamaForCausalLM(config).eval(), tokenizer)


def _tokenizer(corpus: Corpus, vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator((sample.context + sample.target for sample in corpus.samples), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=SPECIAL[0], pad_token=SPECIAL[0])


def _keep(decoder: Decoder, folder: Path) -> None:
    """A folder of this name is complete; one that is being written has another name."""
    with whole(folder) as part:
        decoder.save(part)

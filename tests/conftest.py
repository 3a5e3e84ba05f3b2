"""What tests share: a decoder small enough to differentiate in milliseconds, and samples to show it."""

import os

# Set before anything is imported that reads them: no test reaches a hub or sends telemetry.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["GX_ANALYTICS_ENABLED"] = "false"
# Where nobody starts a server, nobody answers: Prefect would start one of its own, which takes a minute.
os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
os.environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "false"
# Models this small spend their time on waking threads.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from small import train_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from influcoder.decoder.checkpoint import Decoder
from influcoder.samples import Sample

# Examples are the same in every run, so that a failure can be seen again by whoever reads about it.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=15)
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

torch.set_num_threads(1)

LENGTH_LIMIT = 512


def pytest_xdist_make_scheduler(config, log):
    """Tests of a module run in one process, and so do those that share what took long: a demo, a champion."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            folder, _, module = nodeid.partition("::")[0].rpartition("/")
            return folder if folder.endswith(("e2e", "faults")) else module

    return Together(config, log)


@pytest.fixture(scope="module", autouse=True)
def _imported_for_good():
    """What is imported is never garbage: libraries that collect at every step looked through a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_decoder():
    """A Llama with random weights and grouped-query attention, frozen and in evaluation mode."""
    tokenizer = train_tokenizer(sample.text for sample in varied_samples())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH_LIMIT,
        # Wide enough for attention that is far from uniform, so that every layer's gradient counts.
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return Decoder("tiny", model.eval().requires_grad_(False), tokenizer)


@pytest.fixture(scope="session")
def tiny_decoder_dir(tiny_decoder, tmp_path_factory) -> Path:
    """A checkpoint directory of the tiny decoder; copy it before you change it."""
    return tiny_decoder.save(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Varied samples, unique by content and by view; enough in every split for the smallest budget."""
    return varied_samples()


@pytest.fixture(scope="session")
def decoder_of(tiny_decoder):
    """A function: the tiny decoder, or one with random weights of another architecture and the same tokenizer."""

    def make(architecture) -> Decoder:
        if architecture is None:
            return tiny_decoder
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = architecture(len(tiny_decoder.tokenizer))
        return Decoder("tiny", model.eval().requires_grad_(False), tiny_decoder.tokenizer)

    return make


@pytest.fixture(scope="session")
def assert_same_features():
    """A function that holds two feature tables against each other, row by row."""

    def compare(found, expected) -> None:
        assert found.hashes == expected.hashes
        assert np.abs(found.vectors[:] - expected.vectors[:]).max() <= 1e-5
        np.testing.assert_allclose(found.norms, expected.norms, rtol=1e-4)
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
        np.testing.assert_array_equal(found.cuts, expected.cuts)

    return compare


@pytest.fixture(scope="session")
def tokenizer_of():
    """A function that trains a tokenizer on texts."""
    return train_tokenizer


def varied_samples() -> list[Sample]:
    """Questions and answers of several kinds, sources and lengths, with and without a context."""
    things = (
        "river",
        "lantern",
        "orchard",
        "kettle",
        "violin",
        "glacier",
        "market",
        "pencil",
        "harbour",
        "thimble",
        "compass",
    )
    places = ("in the north", "by the sea", "near Zürich", "under the bridge", "on the moon")
    samples = []
    for number, thing in enumerate(things):
        place = places[number % len(places)]
        again = ", ".join(f"{thing} {count}" for count in range(2 + number))
        samples += [
            qa(
                "sums",
                f"What is {number} plus {7 * number + 3}?",
                f"{number} plus {7 * number + 3} is {8 * number + 3}.",
            ),
            qa("places", f"Where is the {thing}?", f"The {thing} is {place}, where everybody expects it."),
            qa("lists", f"Count {thing}s from 0 to {number + 1}.", f"{again}."),
            qa(
                "code",
                f"Write a function that makes a {thing}.",
                f"def {thing}(size={number}):\n    return [size] * {number + 1}\n",
            ),
            qa("stories", "", f"Once there was a {thing} {place}. " + f"It was a good {thing}. " * (1 + number % 4)),
            qa("symbols", f"Translate «{thing}» → emoji", f"{'🌊🔥🌱'[number % 3]} × {number} ≈ {thing[::-1].upper()}"),
            qa(
                "places",
                f"Tell me about a {thing} {place}, {number} times, and slowly.",
                f"{thing.title()}! " * (3 * number + 1),
            ),
            qa("sums", f"Is {number} more than {9 - number}?", "Yes." if number > 4 else "No, it is less than that."),
        ]
    return samples


def qa(source: str, context: str, target: str) -> Sample:
    """A sample of a source, with an id that its content gives."""
    name = "".join(letter if letter.isalnum() else "-" for letter in (context or target).lower())
    return Sample(f"{source}/{name[:60]}", context, target, source=source, metadata={"length": str(len(target))})

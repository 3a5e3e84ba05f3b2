"""Hidden states as an input: against transformers' own, and what an encoder that looks at them refuses."""

import numpy as np
import pytest
import torch
from moved import moved
from sentence_transformers import SentenceTransformer
from transformers import GPT2Config, GPT2LMHeadModel

from influcoder.core.errors import EncoderError, SampleError
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_solver import Lessons, solve
from influcoder.encoder.states import blocks_of, mean_states
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import Block, LabelSet
from influcoder.labelsets.manifest import Identity
from influcoder.settings.tree import Settings
from monitoring.causes.explain import _answers

MAX_TOKENS = 24
ARCHITECTURES = {
    "llama": None,
    "gpt2": lambda words: GPT2LMHeadModel(
        GPT2Config(vocab_size=words, n_embd=32, n_layer=4, n_head=2, n_positions=512, initializer_range=0.2)
    ),
}


def pairs_of(samples):
    return [(sample.context, sample.target) for sample in samples]


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_means_are_those_of_transformers_hidden_states(architecture, decoder_of, samples):
    decoder = decoder_of(architecture)
    chosen = samples[:20]
    found = mean_states(decoder, pairs_of(chosen), MAX_TOKENS, (0.5,))
    middle = decoder.model.config.num_hidden_layers // 2
    for sample, row in zip(chosen, found, strict=True):
        tokens = tokenize(decoder.tokenizer, sample, MAX_TOKENS)
        with torch.inference_mode():
            out = decoder.model(torch.tensor([tokens.ids]), output_hidden_states=True)
        states = out.hidden_states[middle][0]
        expected = torch.cat([states[: tokens.target_start].mean(0), states[tokens.target_start :].mean(0)])
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)


def test_depths_stand_side_by_side(tiny_decoder, samples):
    chosen = pairs_of(samples[:6])
    both = mean_states(tiny_decoder, chosen, MAX_TOKENS, (0.5, 1.0))
    for place, depth in enumerate((0.5, 1.0)):
        alone = mean_states(tiny_decoder, chosen, MAX_TOKENS, (depth,))
        width = alone.shape[1]
        np.testing.assert_allclose(both[:, place * width : (place + 1) * width], alone, atol=1e-6)


def test_blocks_behind_the_deepest_are_not_run(tiny_decoder, samples):
    calls = []
    last = tiny_decoder.model.model.layers[-1]
    hook = last.register_forward_hook(lambda *_: calls.append(1))
    try:
        mean_states(tiny_decoder, pairs_of(samples[:3]), MAX_TOKENS, (0.5,))
        assert calls == []
        mean_states(tiny_decoder, pairs_of(samples[:3]), MAX_TOKENS, (1.0,))
        assert calls
    finally:
        hook.remove()
    assert blocks_of(tiny_decoder, (0.01, 0.5, 1.0)) == ["model.layers.0", "model.layers.0", "model.layers.1"]


def test_a_blank_target_is_refused(tiny_decoder):
    with pytest.raises(SampleError, match="empty target"):
        mean_states(tiny_decoder, [("context", " ")], MAX_TOKENS, (0.5,))


@pytest.fixture(scope="module")
def hidden(tiny_decoder, samples):
    """Labels that nothing but hidden states tells: cosines of the states themselves."""
    chosen = samples[:70]
    rows = mean_states(tiny_decoder, pairs_of(chosen), MAX_TOKENS, (0.5,))
    rows = rows - rows.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = rows @ rows.T
    np.fill_diagonal(labels, np.nan)
    return Lessons(chosen, labels, np.arange(20), np.arange(20, 70))


def test_states_help_where_labels_come_from_them(hidden, tiny_decoder):
    _, blind = solve(hidden, tiny_decoder, MAX_TOKENS, seed=0)
    _, seeing = solve(hidden, tiny_decoder, MAX_TOKENS, seed=0, depths=(0.5,))
    assert seeing[0].left_out > blind[0].left_out + 0.02


def test_it_is_saved_and_needs_its_decoder(hidden, tiny_decoder, samples, tmp_path):
    model, _ = solve(hidden, tiny_decoder, MAX_TOKENS, seed=0, depths=(0.5,))
    encoder = Encoder.of(model, tiny_decoder)
    assert encoder.depths == (0.5,)
    chosen = samples[40:60]
    expected = encoder.embed(pairs_of(chosen))
    folder = str(encoder.save(tmp_path / "encoder"))
    again = Encoder(folder, 1, tiny_decoder)
    np.testing.assert_allclose(again.embed(pairs_of(chosen)), expected, atol=1e-5)
    with pytest.raises(EncoderError, match="hidden states, and there is no decoder"):
        Encoder(folder, 1).embed(pairs_of(chosen))
    elsewhere = SentenceTransformer(folder, trust_remote_code=True, device="cpu")
    states = mean_states(tiny_decoder, pairs_of(chosen), MAX_TOKENS, (0.5,))
    items = [(*pair, row) for pair, row in zip(pairs_of(chosen), states, strict=True)]
    np.testing.assert_allclose(elsewhere[0](elsewhere[0].preprocess(items))["sentence_embedding"], expected, atol=1e-5)
    with pytest.raises(ValueError, match="50% of its blocks"):
        elsewhere[0].preprocess(pairs_of(chosen))


def test_an_encoder_without_states_is_given_none(hidden, tiny_decoder):
    model, _ = solve(hidden, tiny_decoder, MAX_TOKENS, seed=0)
    assert Encoder.of(model).depths == ()
    Encoder.of(model).embed([("a", "b")])


def test_the_same_sample_is_the_same_in_any_company(tiny_decoder, samples):
    chosen = pairs_of(samples[:12])
    together = mean_states(tiny_decoder, chosen, MAX_TOKENS, (0.5,))
    alone = np.concatenate([mean_states(tiny_decoder, [pair], MAX_TOKENS, (0.5,)) for pair in chosen])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_labels_of_another_decoder_are_held_against_answers_under_it(
    hidden, tiny_decoder, tiny_decoder_dir, samples, tmp_path
):
    present = load_decoder(str(moved(tiny_decoder_dir, tmp_path / "moved")))
    model, _ = solve(hidden, tiny_decoder, MAX_TOKENS, seed=0, depths=(0.5,))
    encoder, chosen = Encoder.of(model, present), samples[40:60]
    block = Block(chosen, chosen, np.zeros((20, 20)))

    def labels(address, fingerprint):
        identity = Identity(kind="spot", teacher=Teacher(decoder_fingerprint=fingerprint), samples=(), sources=())
        return LabelSet(identity, (), None, address, {})

    settings = Settings()
    then = _answers(settings, encoder, block, labels(str(tiny_decoder_dir), tiny_decoder.fingerprint))
    np.testing.assert_allclose(then, Encoder.of(model, tiny_decoder).scores(chosen, chosen), atol=1e-6)
    now = encoder.scores(chosen, chosen)
    assert np.abs(then - now).max() > 1e-3
    np.testing.assert_array_equal(_answers(settings, encoder, block, labels("", present.fingerprint)), now)
    gone = _answers(settings, encoder, block, labels(str(tmp_path / "gone"), "f" * 64))
    np.testing.assert_array_equal(gone, now)

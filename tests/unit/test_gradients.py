"""Hooks against the definition: autograd on a real LoRA adapter, one sample at a time."""

import copy

import numpy as np
import peft
import pytest
import torch
from small import gpt2
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from influcoder.decoder.checkpoint import Decoder, block_names, linear_names
from influcoder.influence.features.gradients import extract_features, extract_views, lora_a
from influcoder.influence.features.projection import CountSketch
from influcoder.influence.features.tokens import tokenize
from influcoder.settings.teacher import TeacherSpec

# peft corrects its own setting for Conv1D, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")

RANK = 3
WHOLE = TeacherSpec(rank=RANK, adapter_seed=5, projection_dim=0, max_tokens=48)
SKETCHED = TeacherSpec(rank=RANK, adapter_seed=5, projection_dim=256, projection_seed=7, max_tokens=48)
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def qwen2(vocabulary):
    sizes = {"intermediate_size": 48, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, initializer_range=0.2, **sizes, **SHAPE))


def gpt_neox(vocabulary):
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=vocabulary, intermediate_size=48, initializer_range=0.2, **SHAPE)
    )


def opt(vocabulary):
    config = OPTConfig(vocab_size=vocabulary, ffn_dim=48, word_embed_proj_dim=24, init_std=0.2, **SHAPE)
    return OPTForCausalLM(config)


@pytest.fixture(
    scope="module", params=[None, gpt2, gpt_neox, opt, qwen2], ids=lambda make: make.__name__ if make else "llama"
)
def decoder(request, decoder_of):
    """Grouped-query attention, Conv1D, parallel residuals with fused projections, projected embeddings, biases."""
    return decoder_of(request.param)


@pytest.fixture(scope="module")
def batch(tiny_decoder, samples):
    """Samples of unlike lengths, one without context and one that is cut among them."""
    chosen = [samples[4], *samples[18:22], samples[70]]
    return [tokenize(tiny_decoder.tokenizer, sample, WHOLE.max_tokens) for sample in chosen]


def own_loss(model, tokens):
    """The model's own loss on one sample without padding."""
    ids = torch.tensor([tokens.ids])
    labels = ids.clone()
    labels[:, : tokens.target_start] = -100
    return model(input_ids=ids, labels=labels).loss


def targets(tokens):
    return len(tokens) - tokens.target_start


def b_and_a_gradients(decoder, tokens, reduction="mean"):
    """Gradients of a fresh adapter's B matrices by the names of their layers, and of its A matrices."""
    config = peft.LoraConfig(
        r=RANK, lora_alpha=RANK, lora_dropout=0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(copy.deepcopy(decoder.model), config)
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in adapted.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    for name, layer in layers.items():
        a = layer.lora_A["default"].weight
        a.data = lora_a(name, a.shape[1], RANK, WHOLE.adapter_seed)
    loss = own_loss(adapted, tokens)
    (loss * targets(tokens) if reduction == "sum" else loss).backward()
    b_side = {name: layers[name].lora_B["default"].weight.grad for name in sorted(layers)}
    a_side = [layers[name].lora_A["default"].weight.grad for name in sorted(layers)]
    return b_side, a_side


def named_gradients(decoder, tokens):
    """Gradients of a fresh adapter's B matrices by the names of their layers."""
    return b_and_a_gradients(decoder, tokens)[0]


def adapter_gradients(decoder, tokens, reduction="mean"):
    """Gradients of a fresh adapter's B matrices, in the order of the layers' names, and of its A matrices."""
    b_side, a_side = b_and_a_gradients(decoder, tokens, reduction)
    return list(b_side), torch.cat([gradient.flatten() for gradient in b_side.values()]).numpy(), a_side


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_features_are_the_gradients_of_an_adapter(decoder, batch):
    features = extract_features(decoder, WHOLE, batch)
    for row, tokens in enumerate(batch):
        names, gradient, a_side = adapter_gradients(decoder, tokens)
        assert names == sorted(linear_names(decoder.model))
        assert all(not side.any() for side in a_side)
        assert relative_error(features.vectors[row], gradient / np.linalg.norm(gradient)) <= 1e-5
        assert features.norms[row] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


def test_sum_is_the_gradient_of_the_summed_loss(tiny_decoder, batch):
    features = extract_features(tiny_decoder, WHOLE.model_copy(update={"reduction": "sum"}), batch)
    for row, tokens in enumerate(batch):
        _, gradient, _ = adapter_gradients(tiny_decoder, tokens, "sum")
        assert relative_error(features.vectors[row], gradient / np.linalg.norm(gradient)) <= 1e-5
        assert features.norms[row] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        assert features.losses[row] == pytest.approx(
            float(own_loss(tiny_decoder.model, tokens)) * targets(tokens), rel=1e-5
        )


def test_last_layers_are_their_part_of_the_whole_gradient(decoder, batch):
    last = extract_features(decoder, WHOLE.model_copy(update={"last_layers": 1}), batch)
    chosen = list(linear_names(decoder.model, 1))
    prefix = block_names(decoder.model)[-1]
    assert 0 < len(chosen) < len(list(linear_names(decoder.model)))
    assert all(name.startswith(f"{prefix}.") for name in chosen)
    for row, tokens in enumerate(batch):
        gradients = named_gradients(decoder, tokens)
        expected = torch.cat([gradients[name].flatten() for name in sorted(chosen)]).numpy()
        assert relative_error(last.vectors[row], expected / np.linalg.norm(expected)) <= 1e-5
        assert last.norms[row] == pytest.approx(np.linalg.norm(expected), rel=1e-5)


def test_all_layers_asked_for_by_number_are_all_within_the_blocks(tiny_decoder, batch):
    all_blocks = WHOLE.model_copy(update={"last_layers": len(block_names(tiny_decoder.model))})
    found, whole = (extract_features(tiny_decoder, spec, batch) for spec in (all_blocks, WHOLE))
    np.testing.assert_allclose(found.vectors, whole.vectors, atol=1e-6)


def test_many_teachers_in_one_pass_are_each_as_if_alone(decoder, batch):
    specs = [SKETCHED, SKETCHED.model_copy(update={"adapter_seed": 9, "rank": 5}), WHOLE]
    for spec, found in zip(specs, extract_views(decoder, [(spec, None) for spec in specs], batch), strict=True):
        alone = extract_features(decoder, spec, batch)
        np.testing.assert_array_equal(found.vectors, alone.vectors)
        np.testing.assert_array_equal(found.losses, alone.losses)


def test_a_model_that_can_not_choose_its_logits_gives_the_same(tiny_decoder, batch, monkeypatch):
    chosen = extract_features(tiny_decoder, WHOLE, batch)
    forward = type(tiny_decoder.model).forward

    def without_choice(self, input_ids, attention_mask, use_cache):
        return forward(self, input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    monkeypatch.setattr(type(tiny_decoder.model), "forward", without_choice)
    np.testing.assert_allclose(extract_features(tiny_decoder, WHOLE, batch).vectors, chosen.vectors, atol=1e-6)


def test_losses_are_the_models_own(decoder, batch):
    expected = [float(own_loss(decoder.model, tokens)) for tokens in batch]
    np.testing.assert_allclose(extract_features(decoder, WHOLE, batch).losses, expected, rtol=1e-5)


@pytest.mark.parametrize("spec", [WHOLE, SKETCHED], ids=["whole", "sketched"])
def test_row_does_not_depend_on_the_batch(decoder, spec, batch):
    together = extract_features(decoder, spec, batch)
    for row, tokens in enumerate(batch):
        alone = extract_features(decoder, spec, [tokens])
        assert np.abs(alone.vectors[0] - together.vectors[row]).max() < 1e-5
        assert alone.norms[0] == pytest.approx(together.norms[row], rel=1e-4)
        assert alone.losses[0] == pytest.approx(together.losses[row], rel=1e-5)


def test_row_does_not_depend_on_the_order(decoder, batch):
    forward, backward = extract_features(decoder, WHOLE, batch), extract_features(decoder, WHOLE, batch[::-1])
    assert np.abs(forward.vectors - backward.vectors[::-1]).max() < 1e-5


def test_row_does_not_depend_on_the_padding(decoder, batch, samples):
    long = tokenize(decoder.tokenizer, samples[-2], 400)
    assert len(long) > max(map(len, batch))
    padded = extract_features(decoder, WHOLE, [*batch, long])
    assert np.abs(padded.vectors[:-1] - extract_features(decoder, WHOLE, batch).vectors).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sketched_features_are_the_sketch_of_the_whole(tiny_decoder, batch, dtype):
    model = copy.deepcopy(tiny_decoder.model).to(dtype)
    decoder = Decoder("tiny", model, tiny_decoder.tokenizer)
    whole, sketched = extract_features(decoder, WHOLE, batch), extract_features(decoder, SKETCHED, batch)
    rows = torch.from_numpy(whole.vectors * whole.norms[:, None])
    expected = torch.zeros(len(batch), SKETCHED.projection_dim)
    for name in sorted(linear_names(tiny_decoder.model)):
        width = tiny_decoder.model.get_submodule(name).out_features * RANK
        layer, rows = rows[:, :width], rows[:, width:]
        CountSketch.of(f"{SKETCHED.projection_seed}:{name}", width, SKETCHED.projection_dim, layer.device).add(
            layer, expected
        )
    assert rows.shape[1] == 0
    assert sketched.vectors.dtype == np.float32
    expected = expected.numpy() / np.linalg.norm(expected.numpy(), axis=1, keepdims=True)
    assert np.abs(sketched.vectors - expected).max() <= 1e-5


def test_features_are_unit_rows(decoder, batch):
    vectors = extract_features(decoder, SKETCHED, batch).vectors
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("change", [{"adapter_seed": 6}, {"projection_seed": 8}, {"reduction": "sum"}], ids=str)
def test_features_depend_on_the_teacher(tiny_decoder, batch, change):
    mine, other = (
        extract_features(tiny_decoder, spec, batch) for spec in (SKETCHED, SKETCHED.model_copy(update=change))
    )
    assert not np.allclose(mine.vectors * mine.norms[:, None], other.vectors * other.norms[:, None], rtol=0.01)


def test_decoder_is_left_as_it_was(decoder, batch):
    before = {name: tensor.clone() for name, tensor in decoder.model.state_dict().items()}
    extract_features(decoder, SKETCHED, batch)
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.model.state_dict().items())
    assert all(parameter.grad is None for parameter in decoder.model.parameters())
    assert not any(module._forward_hooks for module in decoder.model.modules())


def test_hooks_are_removed_after_an_error(tiny_decoder, batch):
    broken = copy.copy(batch[0])
    object.__setattr__(broken, "ids", (10**6,) * len(broken))
    with pytest.raises(IndexError):
        extract_features(tiny_decoder, WHOLE, [broken])
    assert not any(module._forward_hooks for module in tiny_decoder.model.modules())


def test_features_come_under_no_grad_too(tiny_decoder, batch):
    with torch.no_grad():
        quiet = extract_features(tiny_decoder, WHOLE, batch)
    assert np.array_equal(quiet.vectors, extract_features(tiny_decoder, WHOLE, batch).vectors)


def test_lora_a_is_drawn_by_name_and_seed_within_its_bound():
    drawn = [lora_a(*key) for key in [("a", 64, 8, 0), ("b", 64, 8, 0), ("a", 64, 8, 1)]]
    assert torch.equal(drawn[0], lora_a("a", 64, 8, 0))
    assert not any(torch.equal(drawn[0], other) for other in drawn[1:])
    assert all(0.11 < tensor.abs().max() <= 1 / 8 for tensor in drawn)
    assert drawn[0].shape == (8, 64)

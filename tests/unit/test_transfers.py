"""What a GPU has to wait for: how much goes there and comes back, counted on a device that computes nothing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from small import write_encoder
from transfers import DEVICE, Traffic

from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.encoder import Encoder, kernel_solver, model
from influcoder.encoder.fine_tuning import _step
from influcoder.influence.features.adam import AdamState, Moments
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.tokens import tokenize
from influcoder.labelsets import Block
from influcoder.settings.teacher import TeacherSpec

SPEC = TeacherSpec(rank=3, projection_dim=64, max_tokens=48)
# Ids, mask and labels.
BATCH = 3


@pytest.fixture(scope="module")
def away(tiny_decoder):
    """The tiny decoder, on the device."""
    return Decoder("tiny", copy.deepcopy(tiny_decoder.model).to(DEVICE), tiny_decoder.tokenizer)


@pytest.fixture
def state(tiny_decoder):
    layers = {}
    for name in linear_names(tiny_decoder.model):
        outputs, inputs = tiny_decoder.model.get_submodule(name).weight.shape
        layers[name] = Moments(torch.ones(SPEC.rank, inputs), *(torch.ones(outputs, SPEC.rank) for _ in range(2)))
    return AdamState(layers, step=7)


@pytest.fixture
def encoders_away(monkeypatch):
    monkeypatch.setattr(model, "_device", lambda: DEVICE.type)


@pytest.mark.parametrize("method", ["gradient-cosine", "less"])
def test_a_batch_of_labels_goes_there_and_back_once_however_many_layers_there_are(
    away, tiny_decoder, samples, state, method
):
    batch = [tokenize(tiny_decoder.tokenizer, sample, SPEC.max_tokens) for sample in samples[:4]]
    used = state if method == "less" else None

    # The first brings what is kept there: matrices, sketches, an optimiser's state.
    for found in (Traffic(), Traffic()):
        with found:
            extract_features(away, SPEC, batch, used)
    assert len(found.sent) == BATCH
    assert found.fetched == [(4, SPEC.projection_dim * (2 if used else 1) + 1)]
    # transformers asks whether there is padding.
    assert found.numbers <= 1


def test_an_optimiser_state_is_sent_elsewhere_without_what_lies_on_a_device(state):
    name = next(iter(state.layers))
    placed = state.a(name, DEVICE)
    assert state.a(name, DEVICE) is placed
    again = pickle.loads(pickle.dumps(state))
    assert "_placed" not in vars(again)
    assert again.digest == state.digest


def test_a_closed_form_on_a_device_fetches_vectors_alone(tiny_decoder, samples, encoders_away):
    rows = np.random.default_rng(0).standard_normal((30, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    everyone = np.arange(30)
    lessons = kernel_solver.TrainingSamples(samples[:30], rows @ rows.T, everyone, everyone)
    encoder = Encoder.of(kernel_solver.solve(lessons, tiny_decoder, 48, 0)[0])
    assert encoder.model[0].table.device == DEVICE
    with Traffic() as found:
        encoder.embed([encoder.view(samples[0])])
    vectors = (1, encoder.dimensions)
    assert found.fetched == [vectors]
    assert found.numbers == 0


def test_a_step_of_training_waits_for_the_device_once(tmp_path, samples, encoders_away):
    encoder = Encoder(str(write_encoder(tmp_path)), 32)
    optimizer = torch.optim.AdamW(encoder.model.parameters())
    part = Block(samples[:4], samples[4:12], np.ones((4, 8), np.float32))
    with Traffic() as found:
        assert _step(encoder, optimizer, part, 0.1) == 1
    assert found.fetched == []
    # One is the loss; the other is transformers asking whether there is padding.
    assert found.numbers <= 2

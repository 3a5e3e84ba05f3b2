"""A whitened teacher, against second moments that autograd gives sample by sample."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from influcoder.core.errors import IntegrityError, SettingsError
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.moments import measure_whitening, ranks
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.features.whitening import read_whitening
from influcoder.influence.teacher import Teacher
from influcoder.settings.teacher import TeacherSpec

DAMPING = 0.1
# As many directions as any side has.
ALL = TeacherSpec(method="whitened-cosine", projection_dim=2**20, max_tokens=48, damping=DAMPING)
FEW = ALL.model_copy(update={"projection_dim": 512})


def tokens_of(decoder, samples):
    return [tokenize(decoder.tokenizer, sample, ALL.max_tokens) for sample in samples]


def sides(decoder, item):
    """Inputs and output gradients of each layer for one sample, by autograd on the layers' outputs."""
    model, seen = decoder.model, {}
    names = list(linear_names(model))

    def keep(name):
        def hook(_module, inputs, output):
            seen[name] = (inputs[0].detach()[0].double(), output)

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    embedded = model.get_input_embeddings()(torch.tensor([item.ids])).detach().requires_grad_(True)
    logits = model(inputs_embeds=embedded).logits[0, item.target_start - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(item.ids[item.target_start :]))
    deltas = torch.autograd.grad(loss, [seen[name][1] for name in names])
    for hook in hooks:
        hook.remove()
    return {name: (seen[name][0], delta[0].double()) for name, delta in zip(names, deltas, strict=True)}


def inverse(rows):
    moment = torch.cat(rows).T @ torch.cat(rows) / sum(map(len, rows))
    return torch.linalg.inv(moment + DAMPING * moment.trace() / len(moment) * torch.eye(len(moment)).double())


@pytest.fixture(scope="module")
def expected(tiny_decoder, samples):
    """Cosines of the first six samples, from inner products of all pairs of tokens."""
    found = [sides(tiny_decoder, item) for item in tokens_of(tiny_decoder, samples[:20])]
    kernel = torch.zeros(6, 6).double()
    for name in found[0]:
        x, d = (inverse([one[name][side] for one in found[6:]]) for side in (0, 1))
        for row, one in enumerate(found[:6]):
            for column, other in enumerate(found[:6]):
                products = (one[name][1] @ d @ other[name][1].T) * (one[name][0] @ x @ other[name][0].T)
                kernel[row, column] += products.sum()
    norms = kernel.diagonal().sqrt()
    return (kernel / norms[:, None] / norms[None]).numpy()


@pytest.fixture(scope="module")
def whitening(tiny_decoder, samples):
    return measure_whitening(tiny_decoder, ALL, samples[6:20], Batching(96))


def test_it_is_the_inner_product_of_all_pairs_of_tokens_under_both_inverse_moments(
    tiny_decoder, samples, whitening, expected
):
    found = extract_features(tiny_decoder, ALL, tokens_of(tiny_decoder, samples[:6]), whitening).vectors
    np.testing.assert_allclose(found @ found.T, expected, atol=2e-4)


def test_few_directions_are_the_leading_ones(tiny_decoder, samples, whitening):
    few = measure_whitening(tiny_decoder, FEW, samples[6:20], Batching(96))
    inputs, outputs = ranks(FEW, len(whitening.layers))
    assert inputs * outputs * len(whitening.layers) <= FEW.projection_dim
    found = [sides(tiny_decoder, item) for item in tokens_of(tiny_decoder, samples[6:20])]
    for name, kept in few.layers.items():
        for side, directions in ((0, kept.inputs), (1, kept.outputs)):
            rows = torch.cat([one[name][side] for one in found])
            values = torch.linalg.eigvalsh(rows.T @ rows)
            unit = torch.nn.functional.normalize(directions.double(), dim=1)
            assert (rows @ unit.T).square().sum() > 0.9 * values[-len(unit) :].sum()
    vectors = extract_features(tiny_decoder, FEW, tokens_of(tiny_decoder, samples[:6]), few).vectors
    assert vectors.shape == (6, FEW.projection_dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_feature_does_not_depend_on_its_batch_nor_moments_on_theirs(tiny_decoder, samples, whitening):
    items = tokens_of(tiny_decoder, samples[:6])
    together = extract_features(tiny_decoder, ALL, items, whitening).vectors
    alone = np.concatenate([extract_features(tiny_decoder, ALL, [item], whitening).vectors for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    again = measure_whitening(tiny_decoder, ALL, samples[6:20], Batching(10_000, 1))
    other = extract_features(tiny_decoder, ALL, items, again).vectors
    np.testing.assert_allclose(other @ other.T, together @ together.T, atol=1e-3)


def test_what_is_kept_is_read_back_or_refused(whitening, tiny_decoder, samples):
    data = whitening.to_bytes()
    read = read_whitening(data, whitening.reference)
    items = tokens_of(tiny_decoder, samples[:2])
    found = [
        extract_features(tiny_decoder, ALL, items, one).vectors for one in (read, pickle.loads(pickle.dumps(read)))
    ]
    assert np.array_equal(*found)
    with pytest.raises(IntegrityError, match="damaged"):
        read_whitening(data[: len(data) // 2], whitening.reference)


def test_a_layer_that_no_reference_sample_reached_is_left_out(tiny_decoder, samples, whitening):
    name = next(iter(whitening.layers))
    fewer = replace(whitening, layers={key: value for key, value in whitening.layers.items() if key != name})
    items = tokens_of(tiny_decoder, samples[:2])
    assert extract_features(tiny_decoder, ALL, items, fewer).vectors.shape == (2, ALL.projection_dim)


@pytest.mark.parametrize("dimensions", [0, 3])
def test_fewer_dimensions_than_layers_are_refused(tiny_decoder, samples, dimensions):
    with pytest.raises(SettingsError, match=f"does not fit into {dimensions} dimensions"):
        measure_whitening(tiny_decoder, ALL.model_copy(update={"projection_dim": dimensions}), samples[:4], Batching())


def test_older_teachers_keep_their_ids():
    older = Teacher(decoder_fingerprint="f" * 64, spec=TeacherSpec(method="gradient-cosine"))
    assert "whitening" not in older.model_dump_json()
    assert (older.id, older.features_id) == ("6f2a9445890f46a9", "3fa545f9ffbd68e3")


def test_damping_moments_and_method_decide_about_a_feature():
    one = Teacher(decoder_fingerprint="f" * 64, whitening="a", spec=ALL)
    changes = ({"whitening": "b"}, {"spec": ALL.model_copy(update={"damping": 1.0})}, {"spec": FEW})
    assert len({one.features_id, *(one.model_copy(update=change).features_id for change in changes)}) == 4


def test_a_decoder_on_another_device_is_sent_nothing_twice(tiny_decoder, samples, whitening):
    items = tokens_of(tiny_decoder, samples[:2])
    extract_features(Decoder("x", tiny_decoder.model, tiny_decoder.tokenizer), ALL, items, whitening)
    name, device = next(iter(whitening.layers)), tiny_decoder.model.device
    assert whitening.a(name, device) is whitening.a(name, device)

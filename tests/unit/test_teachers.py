"""Teachers beyond the cosine, each against its definition in dense arithmetic or in another library."""

from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch

from influcoder.core.errors import OptimizerStateError, SettingsError, ShapeError
from influcoder.decoder.checkpoint import linear_names
from influcoder.influence.features.adam import AdamState, Moments, load_state
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.gradients import extract_features, lora_a
from influcoder.influence.features.projection import CountSketch
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teachers.scores import exact_influence
from influcoder.influence.teachers.warm_up import warm_up
from influcoder.labelsets.build import same_teacher, teacher_of
from influcoder.labelsets.state import optimizer_state
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings

WHOLE = TeacherSpec(method="less", rank=3, adapter_seed=5, projection_dim=0, max_tokens=48)


@pytest.fixture(scope="module")
def batch(tiny_decoder, samples):
    return [tokenize(tiny_decoder.tokenizer, sample, WHOLE.max_tokens) for sample in samples[18:22]]


@pytest.fixture(scope="module")
def state(tiny_decoder):
    """Moments such as training leaves: first moments of both signs, second ones of several magnitudes."""
    draw = torch.Generator().manual_seed(3)
    layers = {}
    for name in linear_names(tiny_decoder.model):
        layer = tiny_decoder.model.get_submodule(name)
        shape = (layer.out_features, WHOLE.rank)
        layers[name] = Moments(
            lora_a(name, layer.in_features, WHOLE.rank, 17),
            1e-2 * torch.randn(shape, generator=draw),
            10 ** (-4 * torch.rand(shape, generator=draw) - 2),
        )
    return AdamState(layers, step=7)


def adapter_gradients(decoder, state, tokens):
    """The gradient of each B matrix by autograd on a peft adapter with the state's A matrices."""
    names = list(linear_names(decoder.model))
    config = peft.LoraConfig(r=WHOLE.rank, lora_alpha=WHOLE.rank, target_modules=names)
    adapted = peft.get_peft_model(decoder.twin().model, config)
    layers = {name: adapted.get_submodule(f"base_model.model.{name}") for name in names}
    for name, layer in layers.items():
        layer.lora_A["default"].weight.data.copy_(state.layers[name].a)
    ids = torch.tensor([tokens.ids])
    labels = ids.clone()
    labels[:, : tokens.target_start] = -100
    sides = [layer.lora_B["default"].weight for layer in layers.values()]
    found = torch.autograd.grad(adapted.eval()(input_ids=ids, labels=labels).loss, sides)
    return dict(zip(names, found, strict=True))


def adams_own_step(state, name, gradient):
    """What torch.optim.Adam subtracts from a parameter with this gradient, at a learning rate of 1."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradient, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=1.0, betas=(state.beta1, state.beta2), eps=state.eps)
    layer = state.layers[name]
    optimizer.state[parameter] = {
        "step": torch.tensor(float(state.step)),
        "exp_avg": layer.exp_avg.double(),
        "exp_avg_sq": layer.exp_avg_sq.double(),
    }
    parameter.grad = gradient.double()
    optimizer.step()
    return -parameter.detach()


def test_less_is_the_gradient_beside_the_step_that_adam_would_take(tiny_decoder, batch, state):
    found = extract_features(tiny_decoder, WHOLE, batch, state)
    for row, tokens in enumerate(batch):
        gradients = adapter_gradients(tiny_decoder, state, tokens)
        own = torch.cat([gradients[name].flatten() for name in sorted(gradients)]).numpy()
        step = torch.cat([adams_own_step(state, n, gradients[n]).flatten() for n in sorted(gradients)]).numpy()
        left, right = np.split(found.vectors[row], 2)
        np.testing.assert_allclose(left, own / np.linalg.norm(own), atol=1e-5)
        np.testing.assert_allclose(right, step / np.linalg.norm(step), atol=1e-5)
        assert found.norms[row] == pytest.approx(np.linalg.norm(own), rel=1e-5)


def test_less_is_sketched_part_by_part(tiny_decoder, batch, state):
    spec = WHOLE.model_copy(update={"projection_dim": 64})
    whole, sketched = (extract_features(tiny_decoder, each, batch, state).vectors for each in (WHOLE, spec))
    assert sketched.shape[1] == spec.width == 128
    for rows, found in zip(np.split(whole, 2, axis=1), np.split(sketched, 2, axis=1), strict=True):
        expected, rest = torch.zeros(len(batch), 64), torch.from_numpy(rows.copy())
        for name in sorted(linear_names(tiny_decoder.model)):
            width = tiny_decoder.model.get_submodule(name).out_features * WHOLE.rank
            CountSketch.of(f"0:{name}", width, 64, expected.device).add(rest[:, :width], expected)
            rest = rest[:, width:]
        expected = expected / expected.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_less_compares_a_querys_gradient_with_a_candidates_step():
    rows = np.random.default_rng(0).normal(size=(5, 2, 40))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    table = features(rows.reshape(5, 80), np.ones(5))
    found = exact_influence(WHOLE, table.rows([0, 1]), table.rows([2, 3, 4]))
    np.testing.assert_allclose(found, rows[:2, 0] @ rows[2:, 1].T, atol=1e-6)


def test_a_warm_up_is_adamw_on_the_teachers_adapter_and_leaves_the_decoder_alone(tiny_decoder, samples):
    before = {name: tensor.clone() for name, tensor in tiny_decoder.model.state_dict().items()}
    first = warm_up(tiny_decoder, WHOLE, [samples[18]], steps=1, batch=1)
    tokens = tokenize(tiny_decoder.tokenizer, samples[18], WHOLE.max_tokens)
    expected = adapter_gradients(tiny_decoder, first, tokens)
    for name, layer in first.layers.items():
        assert torch.equal(layer.a, lora_a(name, layer.a.shape[1], WHOLE.rank, WHOLE.adapter_seed))
        torch.testing.assert_close(layer.exp_avg, 0.1 * expected[name], rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(layer.exp_avg_sq, 0.001 * expected[name] ** 2, rtol=1e-3, atol=1e-12)
    assert (first.step, first.beta1, first.beta2) == (1, 0.9, 0.999)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_decoder.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tiny_decoder.model.parameters())


def test_a_state_comes_back_from_its_file(tiny_decoder, batch, state, tmp_path):
    read = load_state(state.save(tmp_path / "adam.safetensors"))
    assert read.digest == state.digest
    both = [extract_features(tiny_decoder, WHOLE, batch, each).vectors for each in (state, read)]
    np.testing.assert_array_equal(*both)
    assert [path.name for path in tmp_path.iterdir()] == ["adam.safetensors"]


def test_a_file_that_is_no_state_is_refused(tmp_path):
    for name, content in (("none", None), ("text", b"no tensors"), ("cut", b"\x10\x00")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(OptimizerStateError, match=r"is no optimiser state.*warm-up"):
            load_state(path)


def test_a_state_of_another_adapter_is_refused(tiny_decoder, state):
    state.check(tiny_decoder, WHOLE)
    with pytest.raises(OptimizerStateError, match="has rank 3 .* the teacher's rank is 4"):
        state.check(tiny_decoder, WHOLE.model_copy(update={"rank": 4}))
    fewer = AdamState(dict(list(state.layers.items())[1:]), state.step)
    with pytest.raises(OptimizerStateError, match="lacks layer"):
        fewer.check(tiny_decoder, WHOLE)


def test_less_without_a_state_says_how_to_get_one():
    with pytest.raises(SettingsError, match="warm-up"):
        optimizer_state(load_settings())


def features(vectors, norms):
    none = np.zeros(len(vectors), np.float32)
    hashes = tuple(str(row) for row in range(len(vectors)))
    return FeatureTable(hashes, vectors.astype(np.float32), norms.astype(np.float32), none, none)


@pytest.fixture
def gradients():
    """More reference samples than dimensions, and fewer; lengths over two orders of magnitude."""
    rows = np.random.default_rng(1).normal(size=(40, 12)) * np.geomspace(0.1, 10, 40)[:, None]
    return rows[np.random.default_rng(2).permutation(40)]


@pytest.mark.parametrize("reference", [range(10, 40), range(10, 16)], ids=["more", "fewer"])
@pytest.mark.parametrize("damping", [0.01, 0.1, 10.0])
def test_damped_fisher_is_the_dense_inverse(gradients, reference, damping):
    norms = np.linalg.norm(gradients, axis=1)
    table = features(gradients / norms[:, None], norms)
    spec = TeacherSpec(method="fisher", damping=damping)
    found = exact_influence(spec, table.rows(range(4)), table.rows(range(4, 10)), table.rows(reference))
    some = gradients[list(reference)]
    fisher = some.T @ some / len(some)
    # The mean of the eigenvalues that a Fisher of so many samples can have at all.
    mean = np.trace(fisher) / len(some)
    expected = gradients[:4] @ np.linalg.inv(fisher + damping * mean * np.eye(12)) @ gradients[4:10].T
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_with_much_damping_the_fisher_ranks_like_the_dot_product(gradients):
    norms = np.linalg.norm(gradients, axis=1)
    table = features(gradients / norms[:, None], norms)
    roles = table.rows(range(4)), table.rows(range(4, 20)), table.rows(range(20, 40))
    heavy = exact_influence(TeacherSpec(method="fisher", damping=1e6), *roles)
    dots = exact_influence(TeacherSpec(method="gradient-dot"), *roles)
    assert np.array_equal(np.argsort(heavy, axis=1), np.argsort(dots, axis=1))


def test_a_fisher_without_reference_is_refused(gradients):
    table = features(gradients, np.ones(40))
    with pytest.raises(ShapeError, match="reference samples"):
        exact_influence(TeacherSpec(method="fisher"), table, table)


def test_imported_scores_are_never_computed(tiny_decoder):
    with pytest.raises(SettingsError, match="import-scores"):
        teacher_of(tiny_decoder, TeacherSpec(method="imported"), None)


def test_labels_of_another_teacher_are_refused_by_what_differs():
    labels = SimpleNamespace(id="abc", identity=SimpleNamespace(teacher=SimpleNamespace(spec=TeacherSpec(rank=8))))
    assert same_teacher(labels, TeacherSpec(rank=8)) is labels
    with pytest.raises(SettingsError, match=r"differ in method, rank\."):
        same_teacher(labels, TeacherSpec(method="less"))

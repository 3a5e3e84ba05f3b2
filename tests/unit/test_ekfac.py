"""EK-FAC through kronfluence against its definition: dense factors, one unpadded sample at a time, in float64."""

import copy
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from small import gpt2

from influcoder.core.errors import DecoderError, MissingPackageError, SampleError, SettingsError
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teachers.ekfac import ekfac_influence
from influcoder.influence.teachers.ekfac_task import collate, drawn_labels

DAMPING = 1e-3
SEED = 3


@pytest.fixture(scope="module", params=[None, gpt2], ids=["llama", "gpt2"])
def decoder(request, decoder_of):
    """One with plain linear layers, and one with Conv1D and biases."""
    return decoder_of(request.param)


@pytest.fixture(scope="module")
def tokens(tiny_decoder, samples):
    return [tokenize(tiny_decoder.tokenizer, sample, 28) for sample in samples]


@pytest.fixture(scope="module")
def queries(tokens):
    return tokens[2:6]


@pytest.fixture(scope="module")
def candidates(tokens):
    return tokens[20:30]


@pytest.fixture(scope="module")
def reference(tokens):
    return tokens[30:58]


class Dense:
    """Inputs, output gradients and weight gradients of every layer, a bias as one more input that is always 1."""

    def __init__(self, decoder):
        self.model = copy.deepcopy(decoder.model).double()
        self.names = list(linear_names(self.model))

    def layers(self, loss_of, tokens):
        """For each layer: inputs, shape (length, in), and output gradients, shape (length, out)."""
        kept = {}

        def hook(name):
            def keep(_module, inputs, output):
                kept[name] = (inputs[0], output)

            return keep

        hooks = [self.model.get_submodule(name).register_forward_hook(hook(name)) for name in self.names]
        embeddings = self.model.get_input_embeddings()
        hooks.append(embeddings.register_forward_hook(lambda _m, _i, output: output.requires_grad_(True)))
        logits = self.model(input_ids=torch.tensor([tokens.ids])).logits[0]
        for handle in hooks:
            handle.remove()
        deltas = torch.autograd.grad(loss_of(logits, tokens), [kept[name][1] for name in self.names])
        found = {}
        for name, delta in zip(self.names, deltas, strict=True):
            x = kept[name][0].detach()[0]
            if self.model.get_submodule(name).bias is not None:
                x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
            found[name] = (x, delta[0])
        return found

    def gradients(self, loss_of, tokens):
        return {name: delta.T @ x for name, (x, delta) in self.layers(loss_of, tokens).items()}

    def inverse(self, loss_of, reference, damping):
        """Applies (G + λI)⁻¹ to the gradient of one layer."""
        passes = [self.layers(loss_of, item) for item in reference]
        count = sum(len(item) for item in reference)
        bases, moments = {}, {}
        for name in self.names:
            a = sum(one[name][0].T @ one[name][0] for one in passes) / count
            s = sum(one[name][1].T @ one[name][1] for one in passes) / count
            bases[name] = (torch.linalg.eigh(a)[1], torch.linalg.eigh(s)[1])
            right, left = bases[name]
            rotated = [left.T @ (one[name][1].T @ one[name][0]) @ right for one in passes]
            moments[name] = sum(matrix**2 for matrix in rotated) / len(reference)

        def apply(name, gradient):
            right, left = bases[name]
            strength = 0.1 * moments[name].mean() if damping is None else damping
            return left @ ((left.T @ gradient @ right) / (moments[name] + strength)) @ right.T

        return apply


def loss_of(reduction):
    def loss(logits, tokens):
        labels = torch.tensor(tokens.ids)[tokens.target_start :]
        each = -logits.log_softmax(-1)[tokens.target_start - 1 : -1].gather(1, labels[:, None])
        return each.mean() if reduction == "mean" else each.sum()

    return loss


def fisher_loss_of(reduction):
    def loss(logits, tokens):
        batch = collate([tokens], SEED)
        drawn = drawn_labels(logits[None].detach(), batch["labels"], batch["uniforms"])[0, tokens.target_start :]
        each = -logits.log_softmax(-1)[tokens.target_start - 1 : -1].gather(1, drawn[:, None])
        return each.sum() / (len(drawn) ** 0.5 if reduction == "mean" else 1)

    return loss


def dense_scores(decoder, queries, candidates, reduction, reference, damping, pseudo_loss):
    dense = Dense(decoder)
    apply = dense.inverse(pseudo_loss, reference, damping) if reference else lambda _name, gradient: gradient
    right = [dense.gradients(loss_of(reduction), item) for item in candidates]
    scores = np.zeros((len(queries), len(candidates)))
    for row, item in enumerate(queries):
        left = {name: apply(name, gradient) for name, gradient in dense.gradients(loss_of(reduction), item).items()}
        scores[row] = [sum(float((left[name] * other[name]).sum()) for name in left) for other in right]
    return scores


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    assert min(spearmanr(*rows).statistic for rows in zip(found, expected, strict=True)) > 0.99


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_scores_are_those_of_dense_factors_of_the_true_fisher(decoder, queries, candidates, reference, reduction):
    found = ekfac_influence(decoder, queries, candidates, reference, damping=DAMPING, reduction=reduction, seed=SEED)
    pseudo = fisher_loss_of(reduction)
    close(found, dense_scores(decoder, queries, candidates, reduction, reference, DAMPING, pseudo), 1e-3)


def test_scores_are_those_of_dense_factors_of_the_empirical_fisher(tiny_decoder, queries, candidates, reference):
    found = ekfac_influence(tiny_decoder, queries, candidates, reference, empirical=True)
    close(found, dense_scores(tiny_decoder, queries, candidates, "mean", reference, None, loss_of("mean")), 1e-3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_identity_is_the_dot_product_of_gradients(decoder, queries, candidates, reduction):
    found = ekfac_influence(decoder, queries, candidates, [], strategy="identity", reduction=reduction)
    close(found, dense_scores(decoder, queries, candidates, reduction, [], None, None), 1e-5)


def test_curvature_changes_the_ranking(tiny_decoder, queries, candidates, reference):
    curved = ekfac_influence(tiny_decoder, queries, candidates, reference)
    flat = ekfac_influence(tiny_decoder, queries, candidates, [], strategy="identity")
    assert np.mean([spearmanr(*rows).statistic for rows in zip(curved, flat, strict=True)]) < 0.95


def test_scores_depend_neither_on_order_nor_on_batching(tiny_decoder, queries, candidates, reference):
    scores = ekfac_influence(tiny_decoder, queries, candidates, reference)
    again = ekfac_influence(tiny_decoder, queries[::-1], candidates[::-1], reference[::-1], batch=7)
    close(again[::-1, ::-1], scores, 1e-3)


def test_the_decoder_is_left_as_it_was(decoder, queries, candidates, reference):
    decoder.model.get_parameter(f"{next(linear_names(decoder.model))}.weight").requires_grad_(True)
    before = {name: (p.dtype, p.requires_grad, p.data_ptr(), p.clone()) for name, p in named(decoder.model)}
    modules = dict(decoder.model.named_modules())
    ekfac_influence(decoder, queries[:1], candidates[:2], reference[:8])
    after = {name: (p.dtype, p.requires_grad, p.data_ptr(), p) for name, p in named(decoder.model)}
    assert {name: facts[:3] for name, facts in after.items()} == {name: facts[:3] for name, facts in before.items()}
    assert all(torch.equal(facts[3], before[name][3]) for name, facts in after.items())
    assert dict(decoder.model.named_modules()) == modules
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules.values())
    assert all(parameter.grad is None for parameter in decoder.model.parameters())
    decoder.model.requires_grad_(False)


def named(model):
    return [*model.named_parameters(), *model.named_buffers()]


def test_drawn_labels_follow_the_decoder_and_the_seed(tokens):
    item = tokens[5]
    logits = torch.randn(1, len(item), 6, generator=torch.Generator().manual_seed(0)) * 2
    drawn = []
    for seed in range(3000):
        batch = collate([item], seed)
        drawn.append(drawn_labels(logits, batch["labels"], batch["uniforms"])[0])
    drawn = torch.stack(drawn)
    assert (drawn[:, : item.target_start] == -100).all()
    place = item.target_start + 1
    shares = torch.bincount(drawn[:, place], minlength=6) / len(drawn)
    torch.testing.assert_close(shares, logits[0, place - 1].softmax(-1), atol=0.04, rtol=0)
    again = collate([item, tokens[30]], 7)
    assert torch.equal(again["uniforms"][0, : len(item)], collate([item], 7)["uniforms"][0])


def test_settings_that_mean_nothing_are_refused(tiny_decoder, queries, candidates, reference):
    with pytest.raises(SettingsError, match="kfak"):
        ekfac_influence(tiny_decoder, queries, candidates, reference, strategy="kfak")
    with pytest.raises(SettingsError, match="median"):
        ekfac_influence(tiny_decoder, queries, candidates, reference, reduction="median")
    with pytest.raises(SampleError, match="reference"):
        ekfac_influence(tiny_decoder, queries, candidates, [])
    assert ekfac_influence(tiny_decoder, [], candidates, reference).shape == (0, len(candidates))


def test_a_layer_of_another_kind_is_refused(tiny_decoder, queries, candidates, reference):
    class Wrapped(torch.nn.Linear):
        pass

    model = copy.deepcopy(tiny_decoder.model)
    model.model.layers[0].mlp.up_proj.__class__ = Wrapped
    with pytest.raises(DecoderError, match="up_proj, a Wrapped"):
        ekfac_influence(Decoder("odd", model, tiny_decoder.tokenizer), queries, candidates, reference)


def test_a_missing_package_names_the_extra(tiny_decoder, queries, candidates, reference, monkeypatch):
    monkeypatch.setitem(sys.modules, "kronfluence.arguments", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'influcoder\[ekfac\]'"):
        ekfac_influence(tiny_decoder, queries, candidates, reference)

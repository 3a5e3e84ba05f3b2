import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import softmax

from influcoder.encoder.losses import distillation_loss, listwise_loss, pearson_loss

TEMPERATURE = 0.3


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(2, 4, 9, dtype=torch.float64, generator=generator) * 2 - 1
    return scores.requires_grad_(True), labels


def arrays(pair):
    return [tensor.detach().numpy() for tensor in pair]


def test_pearson_loss_is_scipys(pair):
    rows = zip(*arrays(pair), strict=True)
    expected = np.mean([1 - stats.pearsonr(left, right).statistic for left, right in rows])
    assert float(pearson_loss(*pair).detach()) == pytest.approx(expected)


def test_listwise_loss_is_scipys(pair):
    scores, labels = (softmax(rows / TEMPERATURE, axis=1) for rows in arrays(pair))
    assert float(listwise_loss(*pair, TEMPERATURE).detach()) == pytest.approx(
        stats.entropy(labels, scores, axis=1).mean()
    )


def test_distillation_loss_is_half_of_each(pair):
    halves = (pearson_loss(*pair) + listwise_loss(*pair, TEMPERATURE)) / 2
    assert float(distillation_loss(*pair, TEMPERATURE).detach()) == pytest.approx(float(halves.detach()))


def test_perfect_match_costs_nothing(pair):
    _, labels = pair
    assert float(distillation_loss(labels, labels, TEMPERATURE)) == pytest.approx(0, abs=1e-12)


def test_pearson_loss_cares_for_neither_scale_nor_offset(pair):
    _, labels = pair
    assert float(pearson_loss(3 * labels + 7, labels)) == pytest.approx(0, abs=1e-12)
    assert float(pearson_loss(-labels, labels)) == pytest.approx(2)


def test_listwise_loss_cares_for_scale_but_not_for_offset(pair):
    _, labels = pair
    assert float(listwise_loss(labels + 7, labels, TEMPERATURE)) == pytest.approx(0, abs=1e-12)
    assert float(listwise_loss(3 * labels, labels, TEMPERATURE)) > 0.1


@pytest.mark.parametrize(
    "loss",
    [
        pearson_loss,
        lambda *pair: listwise_loss(*pair, TEMPERATURE),
        lambda *pair: distillation_loss(*pair, TEMPERATURE),
    ],
    ids=["pearson", "listwise", "distillation"],
)
def test_gradients_are_right(pair, loss):
    assert torch.autograd.gradcheck(loss, pair)


def test_constant_labels_give_no_gradient(pair):
    scores, _ = pair
    pearson_loss(scores, torch.full_like(scores, 0.2)).backward()
    assert torch.equal(scores.grad, torch.zeros_like(scores))


def test_a_query_does_not_change_another_ones_gradient(pair):
    scores, labels = pair
    distillation_loss(scores, labels, TEMPERATURE).backward()
    alone = scores.detach()[:1].requires_grad_(True)
    distillation_loss(alone, labels[:1], TEMPERATURE).backward()
    torch.testing.assert_close(alone.grad / len(scores), scores.grad[:1])

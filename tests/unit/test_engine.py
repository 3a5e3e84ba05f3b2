"""What may not change a feature: how samples are batched, ordered and padded, and how many workers there are."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from influcoder.decoder.checkpoint import Decoder
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.gradients import extract_features, extract_views
from influcoder.influence.features.labeller import computed, usable_rows
from influcoder.influence.features.tokens import Tokens, tokenize
from influcoder.influence.teacher import Teacher
from influcoder.influence.teachers.scores import influence
from influcoder.settings.teacher import TeacherSpec

SPEC = TeacherSpec(rank=4, projection_dim=512, max_tokens=64, storage="float32")
WHOLE = SPEC.model_copy(update={"projection_dim": 0})


@pytest.fixture(scope="module")
def chosen(samples):
    """Short and long ones; of the longest some tokens are cut."""
    return samples[::3]


def labelled(decoder, samples, batching):
    """Features in the order of the samples, and why some have none."""
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=SPEC)
    tables, quarantined = [], {}
    for table, bad in computed(decoder, teacher, samples, batching):
        tables.append(table)
        quarantined.update(bad)
    return FeatureTable.gather(tables, [sample.hash for sample in samples]), quarantined


@pytest.fixture(scope="module")
def expected(tiny_decoder, chosen):
    """Each sample alone in its batch."""
    table, quarantined = labelled(tiny_decoder, chosen, Batching(1, 1))
    assert not quarantined
    assert len(table.hashes) == len(chosen)
    assert 0 < np.count_nonzero(table.cuts) < len(chosen)
    return table


@pytest.fixture
def cores(request):
    """The tests run on one thread; workers need one each."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("budget", [64, 200, 10_000])
def test_no_feature_depends_on_the_token_budget(assert_same_features, tiny_decoder, chosen, expected, budget):
    assert_same_features(labelled(tiny_decoder, chosen, Batching(budget, 1))[0], expected)


@pytest.mark.parametrize("cores", [2, 3], indirect=True)
def test_no_feature_depends_on_the_number_of_workers(assert_same_features, tiny_decoder, chosen, expected, cores):
    assert len(Batching(80, cores).share(tiny_decoder, len)[1]) == cores
    assert_same_features(labelled(tiny_decoder, chosen, Batching(80, cores))[0], expected)
    assert not any(module._forward_hooks for module in tiny_decoder.model.modules())


def test_no_feature_depends_on_the_order_of_the_samples(assert_same_features, tiny_decoder, chosen, expected):
    shuffled = [chosen[row] for row in np.random.default_rng(0).permutation(len(chosen))]
    table, _ = labelled(tiny_decoder, shuffled, Batching(200, 1))
    assert table.hashes == tuple(sample.hash for sample in shuffled)
    assert_same_features(table.select(expected.hashes), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_feature_depends_on_the_side_that_a_tokenizer_pads_and_truncates(
    assert_same_features, tiny_decoder, chosen, expected, side
):
    tokenizer = copy.deepcopy(tiny_decoder.tokenizer)
    tokenizer.padding_side = tokenizer.truncation_side = side
    # As its last user may have left it.
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)
    sided = Decoder(tiny_decoder.uri, tiny_decoder.model, tokenizer)
    assert sided.fingerprint == tiny_decoder.fingerprint
    assert_same_features(labelled(sided, chosen, Batching(200, 1))[0], expected)


@pytest.fixture(scope="module")
def halved(tiny_decoder):
    return Decoder("halved", copy.deepcopy(tiny_decoder.model).to(torch.bfloat16), tiny_decoder.tokenizer)


def test_a_decoder_in_half_precision_gives_features_in_full_precision(tiny_decoder, halved, chosen, expected):
    table, quarantined = labelled(halved, chosen, Batching(200, 1))
    assert halved.fingerprint != tiny_decoder.fingerprint
    assert not quarantined
    assert table.vectors.dtype == np.float32
    assert np.isfinite(table.vectors[:]).all()
    assert (table.vectors[:] * expected.vectors[:]).sum(axis=1).min() > 0.99
    scores = [influence(of.vectors[:10], of.vectors[10:]) for of in (table, expected)]
    rhos = [spearmanr(mine, full).statistic for mine, full in zip(*scores, strict=True)]
    assert np.mean(rhos) > 0.95
    np.testing.assert_allclose(table.losses, expected.losses, rtol=0.02)


@pytest.fixture(scope="module")
def batch(tiny_decoder, samples):
    return [tokenize(tiny_decoder.tokenizer, sample, SPEC.max_tokens) for sample in samples[:4]]


def test_features_leave_the_device_once_for_each_specification_of_a_batch(tiny_decoder, batch, monkeypatch):
    moved, plain = [], torch.Tensor.cpu

    def counted(tensor):
        moved.append(tuple(tensor.shape))
        return plain(tensor)

    specs = [SPEC, SPEC.model_copy(update={"adapter_seed": 3}), WHOLE]
    monkeypatch.setattr(torch.Tensor, "cpu", counted)
    found = extract_views(tiny_decoder, [(spec, None) for spec in specs], batch)
    # Each with the losses in its last column.
    assert moved == [(len(batch), features.vectors.shape[1] + 1) for features in found]


def test_nothing_is_asked_of_the_device_before_the_features_are_there(tiny_decoder, batch, monkeypatch):
    """On the meta device there are no numbers: whatever waits for one, fails."""
    away = copy.deepcopy(tiny_decoder.model).to("meta")
    away.set_attn_implementation("eager")
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))
    found = extract_views(Decoder("meta", away, tiny_decoder.tokenizer), [(SPEC, None), (WHOLE, None)], batch)
    assert [features.vectors.shape[0] for features in found] == [len(batch), len(batch)]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sample_without_target_tokens_is_quarantined_and_spoils_no_other(tiny_decoder, samples, batch, reduction):
    spec = SPEC.model_copy(update={"reduction": reduction})
    blank = Tokens(batch[1].ids, len(batch[1]), 0.0)
    features = extract_features(tiny_decoder, spec, [batch[0], blank, batch[2]])
    table, quarantined = usable_rows(samples[:3], [batch[0], blank, batch[2]], features, "float32")
    assert list(quarantined) == [samples[1].hash]
    loss = "nan" if reduction == "mean" else "0.0"
    assert quarantined[samples[1].hash] == f"loss {loss}, gradient norm 0.0"
    alone = [extract_features(tiny_decoder, spec, [tokens]).vectors[0] for tokens in (batch[0], batch[2])]
    assert np.abs(table.vectors - np.stack(alone)).max() <= 1e-5


def with_broken_token(decoder, token):
    """A decoder that answers NaN wherever it reads one token."""
    model = copy.deepcopy(decoder.model)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone(), requires_grad=False)
    model.get_input_embeddings().weight.data[token] = torch.nan
    return Decoder("broken", model, decoder.tokenizer)


@pytest.mark.parametrize("cores", [1, 2], indirect=True)
def test_a_loss_that_is_no_number_is_quarantined_and_spoils_no_other(
    assert_same_features, tiny_decoder, chosen, expected, cores
):
    read = {s.hash: set(tokenize(tiny_decoder.tokenizer, s, SPEC.max_tokens).ids) for s in chosen}
    counts = {token: sum(token in ids for ids in read.values()) for token in set().union(*read.values())}
    token = next(token for token, count in sorted(counts.items()) if count == 3)
    table, quarantined = labelled(with_broken_token(tiny_decoder, token), chosen, Batching(200, cores))
    assert set(quarantined) == {value for value, ids in read.items() if token in ids}
    assert all(reason == "loss nan, gradient norm nan" for reason in quarantined.values())
    assert_same_features(table, expected.select([value for value in expected.hashes if value not in quarantined]))

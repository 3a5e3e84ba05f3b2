"""What is judged: every way to score candidates for queries, by its name.

A new teacher is one line here where the product knows it by a specification, and one small function where it
does not. Scores have the shape (queries, candidates), and larger means that training on the candidate lowers the
query's loss more.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from bench.lds.setting import Setting
from influcoder.influence.features.batching import Batching, in_batches
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.gradients import State, extract_features
from influcoder.influence.features.labeller import usable_rows
from influcoder.influence.features.moments import measure_whitening
from influcoder.influence.features.passes import padded, sample_losses
from influcoder.influence.teachers.ekfac import ekfac_influence
from influcoder.influence.teachers.scores import exact_influence
from influcoder.influence.teachers.warm_up import warm_up
from influcoder.samples import Sample
from influcoder.settings.teacher import TeacherSpec

TOKENS_A_BATCH = 2048

# Teachers of the product: each is judged itself, and an encoder is distilled from each.
SPECS: Mapping[str, TeacherSpec] = {
    "whitened cosine": TeacherSpec(method="whitened-cosine"),
    "gradient cosine": TeacherSpec(method="gradient-cosine"),
    "gradient dot": TeacherSpec(method="gradient-dot"),
    "LESS": TeacherSpec(method="less"),
    "damped Fisher": TeacherSpec(method="fisher"),
}


def by_random(setting: Setting) -> np.ndarray:
    """Nothing at all."""
    return np.random.default_rng(1).normal(size=(len(setting.queries), len(setting.candidates)))


def by_length(setting: Setting) -> np.ndarray:
    """How many tokens the candidate trains on, for every query alike."""
    tokens = setting.tokens(setting.candidates)
    return np.tile([len(item) - item.target_start for item in tokens], (len(setting.queries), 1)).astype(float)


def by_words(setting: Setting) -> np.ndarray:
    """Cosine of TF-IDF vectors of the texts; frequencies are the pool's."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    candidates = vectorizer.fit_transform(sample.text for sample in setting.candidates)
    return (vectorizer.transform(sample.text for sample in setting.queries) @ candidates.T).toarray()


def by_hidden_states(setting: Setting) -> np.ndarray:
    """Cosine of the decoder's last hidden states, averaged over the sample."""
    left, right = (_hidden_states(setting, samples) for samples in (setting.queries, setting.candidates))
    return left @ right.T


def by_every_weight(setting: Setting) -> np.ndarray:
    """Dot product of the gradients of every weight, with no adapter and no sketch."""
    left = np.stack([_whole_gradient(setting, sample) for sample in setting.queries])
    return np.stack([left @ _whole_gradient(setting, sample) for sample in setting.candidates], axis=1)


def by_specification(spec: TeacherSpec) -> Callable[[Setting], np.ndarray]:
    """Exact influence by one of the product's teachers."""

    def scores(setting: Setting) -> np.ndarray:
        table = features(setting, spec, [*setting.queries, *setting.candidates])
        count = len(setting.queries)
        pool = table.rows(range(count, len(table.hashes)))
        return exact_influence(spec, table.rows(range(count)), pool, pool)

    return scores


def by_ekfac(setting: Setting) -> np.ndarray:
    """EK-FAC influence through kronfluence, its curvature taken on the pool."""
    pool = setting.tokens(setting.candidates)
    return ekfac_influence(setting.decoder, setting.tokens(setting.queries), pool, pool, batch=16)


TEACHERS: Mapping[str, Callable[[Setting], np.ndarray]] = {
    "random": by_random,
    "length": by_length,
    "TF-IDF": by_words,
    "hidden states": by_hidden_states,
    **{name: by_specification(spec) for name, spec in SPECS.items()},
    "EK-FAC": by_ekfac,
    "gradient cosine, last block": by_specification(TeacherSpec(last_layers=1)),
    "gradient dot, every weight": by_every_weight,
}


def features(setting: Setting, spec: TeacherSpec, samples: Sequence[Sample]) -> FeatureTable:
    """Influence features of samples, in their order."""
    own, tokens = setting.own(spec), setting.tokens(samples)
    state = state_of(setting, own)

    def work(batch: list[int]) -> FeatureTable:
        chosen = [tokens[row] for row in batch]
        found = extract_features(setting.decoder, own, chosen, state)
        return usable_rows([samples[row] for row in batch], chosen, found, own.storage)[0]

    parts = [table for _, table in in_batches([len(item) for item in tokens], TOKENS_A_BATCH, [work])]
    return FeatureTable.concatenate(parts).select([sample.hash for sample in samples])


def state_of(setting: Setting, spec: TeacherSpec) -> State | None:
    """What Adam has seen after an epoch over what encoders are distilled from, or second moments of some of it."""
    samples = [entry.sample for entry in setting.plan.entries if entry.split == "train"]
    if spec.whitened:
        return measure_whitening(setting.decoder, spec, samples[-spec.reference :], Batching(TOKENS_A_BATCH, 1))
    if spec.method != "less":
        return None
    return warm_up(setting.decoder, spec, samples, steps=len(samples) // 8, batch=8)


def _hidden_states(setting: Setting, samples: Sequence[Sample]) -> np.ndarray:
    ids, mask, _ = padded(setting.tokens(samples), setting.decoder.model.device)
    with torch.inference_mode():
        states = setting.decoder.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=1).numpy()


def _whole_gradient(setting: Setting, sample: Sample) -> np.ndarray:
    model = setting.decoder.model.requires_grad_(True)
    ids, mask, labels = padded(setting.tokens([sample]), model.device)
    loss = sample_losses(model(input_ids=ids, attention_mask=mask).logits, labels, "mean").sum()
    parts = torch.autograd.grad(loss, list(model.parameters()))
    model.requires_grad_(False)
    return torch.cat([part.flatten() for part in parts]).numpy()

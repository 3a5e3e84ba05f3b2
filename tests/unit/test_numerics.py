"""How far arithmetic alone moves a ranking: other batches and another type, against scores by definition."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from influcoder.decoder.load import load_decoder
from influcoder.influence import numerics
from influcoder.influence.features.batching import Batching
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.numerics import numerics_of, recomputed
from influcoder.influence.rounding import in_dtype, rounded_to_bfloat16
from influcoder.settings.teacher import TeacherSpec

SPEC = TeacherSpec(rank=4, projection_dim=512, max_tokens=64, storage="float32")


@pytest.fixture(scope="module")
def chosen(samples):
    return samples[::3]


@pytest.fixture(scope="module")
def own(tiny_decoder, chosen):
    return recomputed(tiny_decoder, SPEC, chosen, Batching(200, 1))


def test_other_batches_hold_a_sample_beside_one_of_another_length(tiny_decoder, chosen, own, monkeypatch):
    seen = []

    def watched(decoder, spec, batch, state):
        seen.append(sorted(len(tokens) for tokens in batch))
        return extract(decoder, spec, batch, state)

    extract = numerics.extract_features
    monkeypatch.setattr(numerics, "extract_features", watched)
    found = recomputed(tiny_decoder, SPEC, chosen, Batching(1, 1), apart=True)
    assert found.hashes == own.hashes
    lengths = sorted(len(tokenize(tiny_decoder.tokenizer, sample, SPEC.max_tokens)) for sample in chosen)
    assert sorted(length for batch in seen for length in batch) == lengths
    assert {len(batch) for batch in seen} <= {1, 2}
    assert sum(len(batch) == 1 for batch in seen) == len(chosen) % 2
    middle = np.median(lengths)
    assert all(batch[0] <= middle <= batch[-1] for batch in seen if len(batch) == 2)
    np.testing.assert_allclose(found.vectors[:], own.vectors[:], atol=1e-5)


def test_a_decoder_in_another_type_is_the_one_that_is_loaded_in_it(tiny_decoder, tiny_decoder_dir, chosen, own):
    cast, loaded = in_dtype(tiny_decoder, "bfloat16"), load_decoder(str(tiny_decoder_dir), "bfloat16")
    assert cast.fingerprint == loaded.fingerprint
    assert {p.dtype for p in cast.model.parameters()} == {torch.bfloat16}
    assert cast.model.lm_head.weight is cast.model.get_input_embeddings().weight
    assert {p.dtype for p in tiny_decoder.model.parameters()} == {torch.float32}
    rows = [recomputed(decoder, SPEC, chosen, Batching(200, 1)).vectors[:] for decoder in (cast, loaded)]
    np.testing.assert_allclose(*rows, atol=1e-6)
    assert 1e-4 < np.abs(rows[0] - own.vectors[:]).max() < 0.5


def test_rounding_to_bfloat16_moves_features_as_bfloat16_itself_does(tiny_decoder, chosen, own):
    rounded = rounded_to_bfloat16(tiny_decoder)
    assert {p.dtype for p in rounded.model.parameters()} == {torch.float32}
    assert not any(module._forward_hooks for module in tiny_decoder.model.modules())
    weights = in_dtype(in_dtype(tiny_decoder, "bfloat16"), "float32")
    decoders = (in_dtype(tiny_decoder, "bfloat16"), rounded, weights)
    halved, *found = (recomputed(d, SPEC, chosen, Batching(200, 1)).vectors[:] for d in decoders)
    moved = [np.linalg.norm(rows - own.vectors[:], axis=1).mean() for rows in (halved, *found)]
    assert moved[1] == pytest.approx(moved[0], rel=0.3)
    assert moved[2] < moved[1], "weights are not all that is rounded"


@pytest.mark.parametrize("cores", [1, 2])
def test_workers_round_too(tiny_decoder, chosen, cores):
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        rows = recomputed(rounded_to_bfloat16(tiny_decoder), SPEC, chosen, Batching(64, cores)).vectors[:]
    finally:
        torch.set_num_threads(before)
    alone = recomputed(rounded_to_bfloat16(tiny_decoder), SPEC, chosen, Batching(64, 1)).vectors[:]
    np.testing.assert_allclose(rows, alone, atol=1e-5)


@pytest.mark.parametrize("method", ["gradient-cosine", "gradient-dot", "fisher"])
def test_numerics_are_those_of_the_teachers_own_scores(tiny_decoder, chosen, own, method):
    spec = SPEC.model_copy(update={"method": method, "reference": 8})
    roles = chosen[:6], chosen[6:18], chosen[18:26] if method == "fisher" else []
    batches = recomputed(tiny_decoder, spec, chosen[:18], Batching(200, 1), apart=True)
    halved = recomputed(in_dtype(tiny_decoder, "bfloat16"), spec, chosen[:18], Batching(200, 1))
    found = numerics_of(spec, "bfloat16", roles, [own, batches, halved])
    cosines = [table.vectors[:6] @ table.vectors[6:18].T for table in (own, batches, halved)]
    assert (found.queries, found.candidates, found.dtype) == (6, 12, "bfloat16")
    assert found.batches_error == pytest.approx(np.abs(cosines[1] - cosines[0]).max(), abs=1e-6)
    assert found.dtypes_error == pytest.approx(np.abs(cosines[2] - cosines[0]).max(), abs=1e-6)
    assert found.batches_error < 1e-4 < found.dtypes_error
    assert found.batches > 0.999
    assert 0.8 < found.dtypes < 1
    scores = [by_definition(method, table, own.rows(range(18, 26))) for table in (own, batches, halved)]
    assert found.dtypes == pytest.approx(
        np.mean([spearmanr(*pair).statistic for pair in zip(scores[0], scores[2], strict=True)]), abs=1e-6
    )


def by_definition(method, table, reference):
    """Scores in dense float64 arithmetic."""
    rows = table.vectors[:].astype(float)
    if method == "gradient-cosine":
        return rows[:6] @ rows[6:18].T
    rows = rows * table.norms[:, None]
    if method == "gradient-dot":
        return rows[:6] @ rows[6:18].T
    known = reference.vectors[:].astype(float) * reference.norms[:, None]
    fisher = known.T @ known / len(known)
    shift = SPEC.damping * np.trace(fisher) / len(known)
    return rows[:6] @ np.linalg.solve(fisher + shift * np.eye(len(fisher)), rows[6:18].T)


def test_a_type_that_there_was_no_memory_for_is_left_out(tiny_decoder, chosen, own):
    found = numerics_of(SPEC, "bfloat16", (chosen[:6], chosen[6:18], []), [own, own])
    assert (found.batches, found.batches_error) == (1.0, 0.0)
    assert found.dtypes is found.dtypes_error is None
    assert "bfloat16" not in str(found)


def test_too_few_samples_have_no_numerics(chosen, own):
    assert numerics_of(SPEC, "bfloat16", (chosen[:1], chosen[6:18], []), [own, own]) is None
    assert numerics_of(SPEC, "bfloat16", (chosen[:6], chosen[6:10], []), [own, own]) is None

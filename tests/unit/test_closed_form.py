"""The encoder in closed form, against scikit-learn, against refitting, and against the decoder's own view."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from deadly import exit_code_of
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.kernel_ridge import KernelRidge
from transformers import dynamic_module_utils

from influcoder.core.errors import EncoderError
from influcoder.encoder import Encoder, distil, lexical
from influcoder.encoder import kernel_solver as closed_form
from influcoder.encoder.distil import recipes_of
from influcoder.encoder.kernel_solver import TrainingSamples, coordinates, solve
from influcoder.encoder.result import Distilled
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import plan_label_set
from influcoder.samples import Corpus, Sample
from influcoder.settings.labels import EncoderSettings, LabelBudget, SplitBudget
from influcoder.settings.teacher import TeacherSpec
from influcoder.statistics.agreement import per_query_spearman

# The package gives the function the same name.
distil_module = sys.modules["influcoder.encoder.distil"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MAX_TOKENS = 24
BUDGET = LabelBudget(
    train=SplitBudget(queries=20, candidates=40),
    selection=SplitBudget(queries=2, candidates=5),
    report=SplitBudget(queries=5, candidates=10),
)


def features_of(samples: list[Sample]) -> np.ndarray:
    """Unit vectors that a sample's target fixes: how long it is, and which letters it has."""
    letters = [[sample.target.lower().count(letter) for letter in "aeiou"] for sample in samples]
    rows = np.column_stack([[len(sample.target) / 20 for sample in samples], letters, np.ones(len(samples))])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def labels_of(samples, decoder, method="gradient-cosine"):
    plan = plan_label_set(Corpus("samples", tuple(samples)), None, BUDGET, seed=0)
    vectors = features_of(plan.samples)
    ones = np.ones(len(vectors), np.float32)
    table = FeatureTable(tuple(sample.hash for sample in plan.samples), vectors, ones, ones, ones * 0)
    teacher = Teacher(decoder_fingerprint=decoder.fingerprint, spec=TeacherSpec(method=method, max_tokens=MAX_TOKENS))
    return assemble(plan, teacher, "tiny", Labelled(table, {}, len(vectors)))


@pytest.fixture(scope="module")
def lessons(samples):
    chosen = samples[:60]
    features = features_of(chosen)
    labels = features @ features.T
    np.fill_diagonal(labels, np.nan)
    return TrainingSamples(chosen, labels, np.arange(20), np.arange(20, 60))


@pytest.fixture(scope="module")
def solved(lessons, tiny_decoder):
    return solve(lessons, tiny_decoder, MAX_TOKENS, seed=0)


def embed(model, samples) -> np.ndarray:
    return Encoder.of(model).embed([(sample.context, sample.target) for sample in samples])


@given(TEXT, TEXT.filter(str.strip), st.integers(2, 40))
def test_the_window_is_the_decoders(context, target, max_tokens):
    tokenizer = test_the_window_is_the_decoders.tokenizer
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, target)]
    seen = tokenize(tokenizer, Sample("a", context, target), max_tokens)
    before, after = lexical.window(*ids, max_tokens)
    assert tuple(after) == seen.ids[seen.target_start :]
    if ids[0]:
        assert tuple(before) == seen.ids[: seen.target_start]


@pytest.fixture(autouse=True)
def _tokenizer(tiny_decoder):
    test_the_window_is_the_decoders.tokenizer = tiny_decoder.tokenizer


def test_coordinates_are_those_of_the_gradients():
    random = np.random.default_rng(0)
    features = random.standard_normal((50, 6)) * np.array([3, 2, 2, 2, 2, 2])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = features @ features.T
    hidden = labels.copy()
    np.fill_diagonal(hidden, np.nan)
    found = coordinates(hidden, np.arange(10))
    assert found.shape == (50, 6)
    # Ten queries span all six dimensions, so nothing is lost.
    np.testing.assert_allclose(found @ found.T, labels, atol=1e-9)


def test_few_directions_are_kept_where_few_carry_the_labels():
    random = np.random.default_rng(0)
    features = random.standard_normal((80, 70)) * np.array([1.0] * 2 + [1e-3] * 68)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert coordinates(features @ features.T, np.arange(80)).shape[1] == 2
    spread = random.standard_normal((80, 70))
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    assert coordinates(spread @ spread.T, np.arange(80)).shape[1] == closed_form.MOST_DIRECTIONS


def test_n_grams_are_scikit_learns_tf_idf(samples):
    pairs = [(sample.context, sample.target) for sample in samples]
    hashing = HashingVectorizer(
        analyzer="char", ngram_range=lexical.GRAMS, n_features=lexical.BUCKETS, norm=None, alternate_sign=False
    )
    expected = TfidfTransformer(sublinear_tf=True).fit_transform(hashing.transform([target for _, target in pairs]))
    found = lexical.n_grams(pairs, lexical.inverse_frequencies(lexical.counts(pairs)))
    assert abs(found - expected).max() < 1e-12


def test_the_solution_is_scikit_learns_kernel_ridge(lessons, tiny_decoder, solved, samples):
    model, attempts = solved
    new = samples[60:90]

    def inputs(chosen):
        pairs = [(sample.context, sample.target) for sample in chosen]
        table = closed_form._table(tiny_decoder)
        dense = lexical.dense_features(tiny_decoder.tokenizer.backend_tokenizer, table, pairs, MAX_TOKENS)
        grams = lexical.n_grams(pairs, model.idf.numpy()).toarray()
        scaled = (dense - model.mean.numpy()) * model.scale.numpy()
        return np.concatenate([scaled, np.sqrt(float(model.bandwidth)) * grams], axis=1)

    known, unknown = inputs(lessons.samples), inputs(new)
    targets = coordinates(lessons.labels, lessons.queries)
    ridge = KernelRidge(alpha=attempts[0].penalty, kernel="rbf", gamma=1.0).fit(known, targets - targets.mean(0))
    np.testing.assert_allclose(embed(model, new), ridge.predict(unknown) + targets.mean(0), atol=2e-4)


def test_leaving_out_is_solving_again_without(lessons, solved):
    best = solved[1][0]
    targets = coordinates(lessons.labels, lessons.queries)
    distances = np.random.default_rng(0).random((60, 60)) * 3
    distances = distances + distances.T
    np.fill_diagonal(distances, 0)
    kernel, centred = np.exp(-best.bandwidth * distances), targets - targets.mean(0)
    left_out = np.zeros_like(targets)
    for row in range(60):
        rest = np.delete(np.arange(60), row)
        solution = np.linalg.solve(kernel[np.ix_(rest, rest)] + best.penalty * np.eye(59), centred[rest])
        left_out[row] = kernel[row, rest] @ solution + targets.mean(0)
    scores = left_out[lessons.queries] @ left_out[lessons.candidates].T
    expected = per_query_spearman(scores, lessons.labels[np.ix_(lessons.queries, lessons.candidates)]).mean()
    found = closed_form._attempt(lessons, distances, targets, best.bandwidth, best.penalty)
    assert found.left_out == pytest.approx(expected, abs=1e-6)


def test_the_best_attempt_is_kept_and_every_choice_was_tried(solved):
    attempts = solved[1]
    assert len(attempts) == len(closed_form.BANDWIDTHS) * len(closed_form.PENALTIES)
    assert attempts[0].left_out == max(attempt.left_out for attempt in attempts)


def test_vectors_depend_on_nothing_else_in_the_batch(solved, samples):
    model, _ = solved
    together = embed(model, samples[:40])
    np.testing.assert_allclose(embed(model, samples[:40][::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(embed(model, samples[:1]), together[:1], atol=1e-5)


def test_the_same_labels_give_the_same_encoder(lessons, tiny_decoder, solved, samples):
    again, _ = solve(lessons, tiny_decoder, MAX_TOKENS, seed=1)
    np.testing.assert_array_equal(embed(again, samples[:20]), embed(solved[0], samples[:20]))


def test_a_folder_loads_with_and_without_this_package(solved, samples, tmp_path):
    encoder = Encoder.of(solved[0])
    views = [encoder.view(sample) for sample in samples[:5]]
    folder = encoder.save(tmp_path / "encoder")
    np.testing.assert_array_equal(Encoder(str(folder), 64).embed(views), encoder.embed(views))

    def embed_without_this_package():
        for name in [name for name in sys.modules if name.partition(".")[0] == "influcoder"]:
            sys.modules[name] = None
        dynamic_module_utils.HF_MODULES_CACHE = str(tmp_path / "modules")
        model = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
        assert type(model[0]).__module__.startswith("transformers_modules.")
        np.save(tmp_path / "found.npy", model.encode(views))

    assert exit_code_of(embed_without_this_package) == 0
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), encoder.embed(views), atol=1e-5)


def test_code_in_a_folder_is_not_run(solved, tmp_path):
    folder = Encoder.of(solved[0]).save(tmp_path / "encoder")
    (folder / "lexical.py").write_text("raise SystemExit('ran')")
    assert Encoder(str(folder), 64).dimensions == solved[0].get_embedding_dimension()


def test_a_damaged_folder_is_said_to_be_one(solved, tmp_path):
    folder = Encoder.of(solved[0]).save(tmp_path / "encoder")
    (folder / lexical.WEIGHTS).write_bytes((folder / lexical.WEIGHTS).read_bytes()[:100])
    with pytest.raises(EncoderError, match="can't be loaded"):
        Encoder(str(folder), 64)
    (folder / "modules.json").write_text("[{")
    with pytest.raises(EncoderError, match="can't be loaded"):
        Encoder(str(folder), 64)


def test_an_empty_context_and_odd_targets_have_vectors(solved):
    odd = [
        Sample(str(n), context, target) for n, (context, target) in enumerate([("", "a"), ("", "\u3042"), (" ", ".")])
    ]
    assert np.isfinite(embed(solved[0], odd)).all()


def test_more_labels_than_can_be_solved_for_are_drawn_from(monkeypatch, lessons, tiny_decoder, caplog):
    monkeypatch.setattr(closed_form, "MOST_CENTRES", 40)
    model, _ = solve(lessons, tiny_decoder, MAX_TOKENS, seed=0)
    assert len(model.centres) == 40
    assert "40 of 60 labelled samples" in caplog.text


def test_it_learns_what_the_labels_hold(samples, tiny_decoder):
    labels = labels_of(samples, tiny_decoder)
    said = {}
    settings = EncoderSettings(recipe="kernel")
    found = distil(None, labels, settings, tiny_decoder, (), lambda _n, values: said.update(values))
    block = labels.evidence("report")
    rho = per_query_spearman(found.encoder.scores(block.queries, block.candidates), block.labels)
    assert np.nanmean(rho) > 0.6
    assert said["closed_form.rho"] == found.selection > 0.3
    shuffled = block.labels.copy()
    np.random.default_rng(0).shuffle(shuffled.T)
    assert abs(np.nanmean(per_query_spearman(found.encoder.scores(block.queries, block.candidates), shuffled))) < 0.3


def test_labels_of_another_decoder_are_refused(samples, tiny_decoder, decoder_of):
    labels = labels_of(samples, tiny_decoder)
    other = type(tiny_decoder)("other", tiny_decoder.model, tiny_decoder.tokenizer)
    other.__dict__["fingerprint"] = "0" * 64
    with pytest.raises(EncoderError, match="the labels are those of"):
        distil(None, labels, EncoderSettings(recipe="kernel"), other)
    with pytest.raises(EncoderError, match="needs the decoder"):
        distil(None, labels, EncoderSettings(recipe="kernel"), None)


@pytest.mark.parametrize(
    ("method", "recipe", "expected"),
    [
        ("gradient-cosine", "auto", ("kernel", "fine-tune")),
        ("gradient-cosine", "kernel", ("kernel",)),
        ("gradient-cosine", "fine-tune", ("fine-tune",)),
        ("gradient-dot", "auto", ("fine-tune",)),
    ],
)
def test_the_recipe_is_what_the_labels_allow(samples, tiny_decoder, method, recipe, expected):
    labels = labels_of(samples, tiny_decoder, method)
    assert recipes_of(labels, EncoderSettings(recipe=recipe)) == expected


def test_a_recipe_that_the_labels_do_not_allow_is_refused(samples, tiny_decoder):
    with pytest.raises(EncoderError, match="no closed form"):
        recipes_of(labels_of(samples, tiny_decoder, "gradient-dot"), EncoderSettings(recipe="kernel"))


def test_surface_counts_what_it_says():
    found = lexical.surface("Ab 1\n,2")
    assert found[:3] == [np.log1p(7), np.log1p(3), np.log1p(1)]
    np.testing.assert_allclose(found[3:], [2 / 7, 1 / 7, 1 / 7, 2 / 7, 5 / 3])
    assert lexical.surface("") == [0] * lexical.SURFACE


def test_tokens_count_by_their_embeddings(tiny_decoder):
    table = torch.randn(len(tiny_decoder.tokenizer), 4, generator=torch.Generator().manual_seed(0)).numpy()
    tokenizer = tiny_decoder.tokenizer.backend_tokenizer
    found = lexical.dense_features(tokenizer, table, [("the moon", "a rocket")], 100)
    for side, text in enumerate(("the moon", "a rocket")):
        ids = tiny_decoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        start = 2 * lexical.SURFACE + 4 * side
        np.testing.assert_allclose(found[0, start : start + 4], table[ids].mean(0), rtol=1e-5)


def test_the_selection_split_chooses_the_recipe(monkeypatch, samples, tiny_decoder):
    labels = labels_of(samples, tiny_decoder)
    for rho, start in ((-0.5, "solved in closed form"), (1.0, "tuned")):
        tuned = Distilled(None, "tuned", "by hand", rho)
        monkeypatch.setattr(distil_module, "fine_tune", lambda *_given, tuned=tuned: tuned)
        found = distil(SimpleNamespace(in_closed_form=False), labels, EncoderSettings(), tiny_decoder)
        assert found.start == start
        assert f"selection ρ {found.selection:.3f}; preferred to what was" in found.how


def test_fine_tuning_needs_a_text_encoder(samples, tiny_decoder, solved):
    labels, settings = labels_of(samples, tiny_decoder), EncoderSettings(recipe="fine-tune")
    for start in (None, Encoder.of(solved[0])):
        with pytest.raises(EncoderError, match="needs a text encoder"):
            distil(start, labels, settings, tiny_decoder)


def test_what_is_always_the_same_sets_nothing_apart(lessons, tiny_decoder):
    alike = [Sample(sample.id, "Say: ", sample.target) for sample in lessons.samples]
    labels = features_of(alike) @ features_of(alike).T
    np.fill_diagonal(labels, np.nan)
    model, _ = solve(
        TrainingSamples(alike, labels, lessons.queries, lessons.candidates), tiny_decoder, MAX_TOKENS, seed=0
    )
    one, other = (embed(model, [Sample("a", context, "Yes, it is.")]) for context in ("Say: ", "12\n\n?!"))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - model.bias.numpy()).max() > 1e-3


def split_in_two(labels):
    """The label set as two: one that keeps half of the train split and all the rest, and one of the other half."""
    train = [row for row, entry in enumerate(labels.entries) if entry.split == "train"]
    rest = [row for row, entry in enumerate(labels.entries) if entry.split != "train"]
    halves = ([*train[::2], *rest], train[1::2])
    return [replace(labels, entries=tuple(labels.entries[r] for r in rows), features=labels.features.rows(rows))
            for rows in halves]  # fmt: skip


def test_labels_in_parts_give_the_encoder_that_they_give_at_once(samples, tiny_decoder):
    labels = labels_of(samples, tiny_decoder)
    settings = EncoderSettings(recipe="kernel")
    now, earlier = split_in_two(labels)
    together = distil(None, now, settings, tiny_decoder, [earlier])
    assert "earlier samples" in together.start
    at_once, alone = (distil(None, part, settings, tiny_decoder) for part in (labels, now))
    block = labels.evidence("report")
    expected = at_once.encoder.scores(block.queries, block.candidates)
    np.testing.assert_allclose(together.encoder.scores(block.queries, block.candidates), expected, atol=1e-4)
    assert not np.allclose(alone.encoder.scores(block.queries, block.candidates), expected, atol=1e-2)
    # What both hold is learnt once.
    doubled = distil(None, labels, settings, tiny_decoder, [earlier, labels])
    np.testing.assert_allclose(doubled.encoder.scores(block.queries, block.candidates), expected, atol=1e-4)


def test_labels_of_another_teacher_are_not_learnt_from(samples, tiny_decoder):
    labels = labels_of(samples, tiny_decoder)
    other = replace(labels, identity=labels.identity.model_copy(update={"teacher": Teacher(decoder_fingerprint="b")}))
    with pytest.raises(EncoderError, match="of another teacher"):
        distil(None, labels, EncoderSettings(recipe="kernel"), tiny_decoder, [other])

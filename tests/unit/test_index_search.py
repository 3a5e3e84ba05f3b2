"""Segments of an index against exact search by numpy: both ends, any shape, and what their files survive."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.core.errors import IntegrityError, ShapeError
from influcoder.index import search
from influcoder.index.search import Searcher, make_segment, segment_rows


def clustered(rows, dimensions, seed=0):
    """Vectors as encoders give them: in clusters, of unlike lengths, most of their variance in few directions."""
    draw = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(dimensions))
    centres = draw.standard_normal((40, dimensions)) * spectrum
    vectors = centres[draw.integers(0, 40, rows)] + 0.3 * draw.standard_normal((rows, dimensions)) * spectrum
    return (vectors * draw.uniform(0.1, 0.5, (rows, 1))).astype(np.float16)


def exact(vectors, queries):
    return queries.astype(np.float32) @ vectors.astype(np.float32).T


@given(
    rows=st.integers(1, 60),
    dimensions=st.integers(1, 20),
    k=st.integers(1, 70),
    seed=st.integers(0, 10_000),
)
def test_a_small_segment_is_searched_exactly(tmp_path_factory, rows, dimensions, k, seed):
    vectors = clustered(rows, dimensions, seed)
    path = tmp_path_factory.mktemp("segment") / "a.faiss"
    made = make_segment(vectors, path)
    assert (made.lists, made.probes, made.recall) == (1, 1, 1.0)
    queries = clustered(3, dimensions, seed + 1).astype(np.float32)
    scores, found = Searcher(path, made.probes).best(queries, k)
    truth = exact(vectors, queries)
    assert found.shape == scores.shape == (3, min(k, rows))
    np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :k], atol=2e-6)
    np.testing.assert_allclose(np.take_along_axis(truth, found, 1), scores, atol=2e-6)
    assert all(len(set(row)) == len(row) for row in found.tolist())


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    vectors = clustered(12_000, 24)
    path = tmp_path_factory.mktemp("segment") / "a.faiss"
    return vectors, path, make_segment(vectors, path)


@pytest.mark.parametrize("sign", [1, -1], ids=["most", "least"])
def test_a_divided_segment_finds_what_it_says_it_does(divided, sign):
    vectors, path, made = divided
    assert made.lists == 110
    assert made.probes < made.lists
    assert made.recall >= search.LEAST_RECALL
    queries = sign * clustered(50, 24, seed=5).astype(np.float32)
    found = Searcher(path, made.probes).best(queries, 100)[1]
    best = np.argsort(-exact(vectors, queries), axis=1)[:, :100]
    shares = [len(set(a) & set(b)) / 100 for a, b in zip(found.tolist(), best.tolist(), strict=True)]
    assert np.mean(shares) >= 0.97


def test_more_than_a_hundred_are_searched_exactly(divided):
    vectors, path, made = divided
    queries = clustered(4, 24, seed=6).astype(np.float32)
    scores, found = Searcher(path, made.probes).best(queries, 700)
    truth = exact(vectors, queries)
    np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :700], atol=2e-6)
    assert (found >= 0).all()


def test_lists_that_hold_too_few_are_no_end(tmp_path):
    vectors = np.concatenate([np.tile([[1.0, 0]], (11_000, 1)), np.tile([[0, 1.0]], (3, 1))]).astype(np.float16)
    path = tmp_path / "a.faiss"
    make_segment(vectors, path)
    scores, found = Searcher(path, 1).best(np.array([[0.0, 1.0]]), 50)
    assert sorted(found[0, :3].tolist()) == [11_000, 11_001, 11_002]
    assert scores.shape == (1, 50)
    assert (found >= 0).all()


def test_every_vector_comes_back_bit_for_bit(divided):
    vectors, path, made = divided
    again = np.zeros_like(vectors)
    for rows, part in Searcher(path, made.probes).vectors():
        again[rows] = part
    np.testing.assert_array_equal(again.view(np.uint16), vectors.view(np.uint16))


def test_an_answer_does_not_depend_on_its_company(divided):
    _, path, made = divided
    searcher = Searcher(path, made.probes)
    queries = clustered(5, 24, seed=8).astype(np.float32)
    together = searcher.best(queries, 10)[1]
    alone = np.concatenate([searcher.best(query[None], 10)[1] for query in queries])
    np.testing.assert_array_equal(together, alone)


def test_the_file_of_a_segment_is_the_same_again(divided, tmp_path):
    vectors, path, _ = divided
    make_segment(vectors, tmp_path / "b.faiss")
    assert (tmp_path / "b.faiss").read_bytes() == path.read_bytes()


def test_vectors_of_another_length_are_refused(divided):
    _, path, made = divided
    with pytest.raises(ShapeError, match="24 dimensions was asked with shape"):
        Searcher(path, made.probes).best(np.zeros((1, 25)), 3)


@pytest.mark.parametrize("content", [b"", b"IxF", b"no index at all" * 9])
def test_a_file_that_is_no_segment_is_refused(tmp_path, content):
    (tmp_path / "a.faiss").write_bytes(content)
    with pytest.raises(IntegrityError, match="no segment"):
        Searcher(tmp_path / "a.faiss", 1)


def test_a_segment_takes_the_same_memory_whatever_the_dimensions():
    assert {segment_rows(dimensions) * dimensions * 2 // 2**20 for dimensions in (16, 48, 384, 1024)} <= {63, 64}


def test_one_strong_direction_and_unlike_lengths_leave_no_list_empty(tmp_path):
    draw = np.random.default_rng(3)
    vectors = 0.05 * draw.standard_normal((12_000, 24))
    vectors[:, 0] = 0.3 + 0.1 * draw.standard_normal(12_000)
    vectors = (vectors * draw.uniform(0.5, 1, (12_000, 1))).astype(np.float16)
    made = make_segment(vectors, tmp_path / "a.faiss")
    sizes = [len(rows) for rows, _ in Searcher(tmp_path / "a.faiss", made.probes).vectors()]
    assert len(sizes) == made.lists
    assert max(sizes) < 12_000 / 10
    assert made.probes <= made.lists // 2

"""The closed form in NumPy alone gives the vectors of the one that torch runs."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from influcoder.core.errors import EncoderError
from influcoder.encoder import Encoder
from influcoder.encoder.kernel_numpy import BareEncoder, is_closed_form
from influcoder.encoder.kernel_solver import TrainingSamples, solve

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def pair(samples, tiny_decoder, tmp_path_factory):
    chosen = samples[:40]
    features = np.random.default_rng(1).standard_normal((40, 5))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = features @ features.T
    np.fill_diagonal(labels, np.nan)
    kernel, _ = solve(TrainingSamples(chosen, labels, np.arange(15), np.arange(15, 40)), tiny_decoder, 24, seed=0)
    folder = Encoder.of(kernel).save(tmp_path_factory.mktemp("closed") / "form")
    return SimpleNamespace(folder=folder, whole=Encoder(str(folder), 24), bare=BareEncoder(folder))


def test_it_gives_the_vectors_of_any_sample(pair, samples):
    views = [pair.bare.view(sample) for sample in samples]
    assert views == [pair.whole.view(sample) for sample in samples]
    found, expected = pair.bare.embed(views), pair.whole.embed(views)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1, "the vectors differ enough to tell"


@given(TEXT, TEXT)
def test_it_counts_any_text_alike(context, target):
    pair = test_it_counts_any_text_alike.pair
    np.testing.assert_allclose(pair.bare.embed([(context, target)]), pair.whole.embed([(context, target)]), atol=1e-5)


@pytest.fixture(autouse=True)
def _pair(pair):
    test_it_counts_any_text_alike.pair = pair


def test_it_knows_its_kind(pair, tmp_path):
    assert is_closed_form(pair.folder)
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    assert not is_closed_form(tmp_path)


@pytest.fixture
def older(pair, tmp_path):
    """A function: the same closed form as it was saved when decoders' hidden states could be an input."""

    def make(*depths):
        folder = shutil.copytree(pair.folder, tmp_path / "older")
        weights = folder / "lexical.safetensors"
        save_file(load_file(weights) | {"depths": np.array(depths, np.float32)}, weights)
        return folder

    return make


def test_an_older_one_that_looks_at_text_alone_gives_the_same_vectors(pair, older):
    folder, views = older(), [("some context", "a target"), ("", "another one")]
    np.testing.assert_array_equal(Encoder(str(folder), 24).embed(views), pair.whole.embed(views))
    np.testing.assert_array_equal(BareEncoder(folder).embed(views), pair.bare.embed(views))


@pytest.mark.parametrize("kind", [BareEncoder, lambda folder: Encoder(str(folder), 24)])
def test_an_older_one_that_looks_at_hidden_states_is_refused(older, kind):
    with pytest.raises(EncoderError, match="looks at hidden states, which are no longer an input; train again"):
        kind(older(0.2, 0.6))


def test_it_needs_no_torch(pair):
    code = (
        "import sys; from pathlib import Path; from influcoder.encoder.kernel_numpy import BareEncoder; "
        f"BareEncoder(Path({str(pair.folder)!r})).embed([('a', 'b')]); "
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

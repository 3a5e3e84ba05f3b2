"""Text encoders in eight bits: near the whole ones, made once, and never where it would do harm."""

import sys

import numpy as np
import pytest
import torch
from small import write_encoder

from influcoder.core.errors import EncoderError
from influcoder.encoder import Encoder
from influcoder.encoder.eight_bit import EightBit, put_in_eight_bits

TEXTS = ["short", *("a ship leaves the harbour with the tide " * n for n in range(1, 8))]


def written(folder, seed):
    """A BERT that is large enough for rounding to average out."""
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return str(write_encoder(folder, seed=seed, initializer_range=0.2, **shape))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return written(tmp_path_factory.mktemp("first"), 0)


def test_vectors_are_near_those_of_whole_numbers_and_the_file_is_made_once(address, tmp_path):
    whole, small = Encoder(address, 64), Encoder(address, 64)
    put_in_eight_bits(small.model, tmp_path)
    assert isinstance(small.model[0].auto_model, EightBit)
    expected, found = whole.embed(TEXTS), small.embed(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosines = (expected * found).sum(1)
    assert cosines.min() > 0.9
    assert cosines.max() < 1 - 1e-7, "nothing was rounded"
    (file,) = tmp_path.iterdir()
    made = file.stat().st_mtime_ns
    again = Encoder(address, 64)
    put_in_eight_bits(again.model, tmp_path)
    assert file.stat().st_mtime_ns == made
    np.testing.assert_array_equal(again.embed(TEXTS), found)


def test_other_weights_are_another_file(address, tmp_path):
    for uri in (address, written(tmp_path, 1)):
        put_in_eight_bits(Encoder(uri, 64).model, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_without_onnx_runtime_the_error_says_what_to_install(address, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EncoderError, match=r"pip install 'influcoder\[onnx\]'"):
        put_in_eight_bits(Encoder(address, 64).model, tmp_path)


def test_what_can_t_be_exported_says_so_and_leaves_no_file(address, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such operator\nmore")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(EncoderError, match=r"no such operator\W+Set encoder.precision"):
        put_in_eight_bits(Encoder(address, 64).model, tmp_path)
    assert list(tmp_path.iterdir()) == []

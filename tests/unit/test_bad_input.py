"""Damaged or half-given input: a clear error, or the part that can be used, never a wrong answer."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from influcoder.agreement import agreement
from influcoder.decoder import Decoder, load_decoder
from influcoder.errors import DecoderError, SampleError, SettingsError
from influcoder.samples import read_corpus
from influcoder.settings import load_settings
from monitoring.decision import Judgement, judge_drift
from monitoring.gate import judge_challenger


@pytest.fixture
def copied(tiny_decoder_dir, tmp_path):
    return shutil.copytree(tiny_decoder_dir, tmp_path / "copy")


def test_checkpoint_that_lacks_a_weight_is_refused(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(DecoderError, match="q_proj"):
        load_decoder(str(copied))


def test_truncated_weights_are_refused(copied):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DecoderError, match="can't be loaded"):
        load_decoder(str(copied))


def test_attention_that_is_not_installed_is_refused(tiny_decoder_dir):
    with pytest.raises(DecoderError, match="can't be loaded"):
        load_decoder(str(tiny_decoder_dir), attention="flash_attention_2")


def test_module_of_a_missing_package_is_refused():
    with pytest.raises(DecoderError, match="no installed package"):
        load_decoder("package:no_such.module")


def test_unknown_device_is_refused(tiny_decoder_dir):
    with pytest.raises(DecoderError):
        load_decoder(str(tiny_decoder_dir), device="nonsense")


def test_fingerprint_takes_scalar_buffers(tiny_decoder):
    layer = torch.nn.Module()
    layer.register_buffer("scale", torch.tensor(1.0))
    assert Decoder("tiny", layer, tiny_decoder.tokenizer).fingerprint


def test_judgement_without_evidence_can_be_kept_and_read():
    labels = np.random.default_rng(0).normal(size=(30, 20))
    judgement = judge_drift(agreement(np.ones((30, 20)), labels), agreement(labels, labels), 0.05, 15)
    again = Judgement.model_validate_json(judgement.model_dump_json())
    assert again.verdict == judgement.verdict


def test_challenger_that_ranks_two_queries_of_sixty_does_not_pass():
    labels = np.random.default_rng(0).normal(size=(60, 40))
    scores = np.where(np.arange(60)[:, None] < 2, labels, 1.0)
    chance = agreement(np.random.default_rng(1).normal(size=labels.shape), labels)
    assert not judge_challenger(agreement(scores, labels), chance, None, 0.02).passed


def test_every_figure_rests_on_the_same_queries():
    labels = np.random.default_rng(0).normal(size=(20, 30))
    scores = np.where(np.arange(20)[:, None] < 5, labels, 1.0)
    assert {figure.queries for figure in agreement(scores, labels).figures().values()} == {5}


def test_corrupt_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"target": [f"answer {number}" for number in range(500)]}).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36
    path.write_bytes(data)
    with pytest.raises(SampleError, match="can't be read|no Parquet file"):
        read_corpus(str(path))


def test_half_a_surrogate_pair_is_refused_with_its_line(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"target": "a"}\n{"target": "\\ud83d broken"}\n')
    with pytest.raises(SampleError, match="line 2"):
        read_corpus(str(tmp_path / "a.jsonl"))


def test_line_of_endless_brackets_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" * 100_000)
    with pytest.raises(SampleError, match="line 1"):
        read_corpus(str(tmp_path / "a.jsonl"))


def test_derived_ids_tell_texts_apart(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"target": "a", "text": "one"}\n{"target": "a", "text": "two"}\n')
    assert len(read_corpus(str(tmp_path / "a.jsonl"))) == 2


def test_half_a_budget_keeps_the_other_half(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUCODER_LABELS__BUDGET__TRAIN__QUERIES", "5")
    assert load_settings().labels.budget.train.candidates == 900


def test_variable_that_can_not_be_parsed_is_named_and_not_the_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUCODER_STORE", "not json")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "influcoder.toml can't be read" not in str(caught.value)

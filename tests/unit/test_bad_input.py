"""Damaged or half-given input: a clear error, or the part that can be used, never a wrong answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from influcoder.core.errors import DecoderError, SampleError, SettingsError
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.gradients import extract_features
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.features.tokens import tokenize
from influcoder.influence.teacher import Teacher
from influcoder.labelsets.build import decoder_for
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import Entry, Plan
from influcoder.samples import Sample, read_corpus
from influcoder.settings.loop import DriftSettings
from influcoder.settings.teacher import TeacherSpec
from influcoder.settings.tree import load_settings
from influcoder.statistics.agreement import agreement
from monitoring.checks.decision import judge_drift
from monitoring.checks.findings import Judgement
from monitoring.checks.sequential_test import Observation
from monitoring.loop.gate import judge_challenger


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
    with pytest.raises(DecoderError, match="can't be loaded: .*nonsense"):
        load_decoder(str(tiny_decoder_dir), device="nonsense")


def test_fingerprint_takes_scalar_buffers(tiny_decoder):
    def scaled(by):
        layer = torch.nn.Module()
        layer.register_buffer("scale", torch.tensor(by))
        return Decoder("tiny", layer, tiny_decoder.tokenizer).fingerprint

    assert scaled(1.0) == scaled(1.0) != scaled(2.0)


def test_judgement_without_evidence_can_be_kept_and_read():
    labels = np.random.default_rng(0).normal(size=(30, 20))
    looks = [Observation.of(agreement(scores, labels)) for scores in (labels, np.ones((30, 20)))]
    judgement = judge_drift(looks[0], looks[1:], DriftSettings())
    again = Judgement.model_validate_json(judgement.model_dump_json())
    assert again.model_dump_json() == judgement.model_dump_json()


def test_challenger_that_ranks_two_queries_of_sixty_does_not_pass():
    labels = np.random.default_rng(0).normal(size=(60, 40))
    scores = np.where(np.arange(60)[:, None] < 2, labels, 1.0)
    chance = agreement(np.random.default_rng(1).normal(size=labels.shape), labels)
    assert not judge_challenger(agreement(scores, labels), chance, None, 0.02, 2).passed


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
    with pytest.raises(SampleError, match="a.parquet is no Parquet file"):
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
    assert "store" in str(caught.value).lower()
    assert "influcoder.toml can't be read" not in str(caught.value)


def write_in_place(path, at=-4000):
    """Other bytes in the same file, as a training run does that saves over its last checkpoint."""
    with path.open("r+b") as file:
        file.seek(at, 2)
        file.write(bytes(range(64)) * 30)


def features_of(decoder, samples):
    spec = TeacherSpec(rank=2, projection_dim=128, max_tokens=64)
    return extract_features(decoder, spec, [tokenize(decoder.tokenizer, sample, 64) for sample in samples[:4]])


def test_files_that_change_after_loading_change_no_feature_and_are_noticed(copied, samples):
    decoder = load_decoder(str(copied), device="cpu")
    before = features_of(decoder, samples)
    assert not decoder.files_changed
    write_in_place(copied / "model.safetensors")
    assert decoder.files_changed
    np.testing.assert_array_equal(features_of(decoder, samples).vectors, before.vectors)
    assert np.abs(features_of(load_decoder(str(copied), device="cpu"), samples).vectors - before.vectors).max() > 1e-3


@pytest.mark.parametrize(
    "change", [lambda file: file.unlink(), lambda file: file.write_bytes(b"")], ids=["gone", "cut"]
)
def test_files_that_vanish_or_are_cut_after_loading_are_noticed(copied, samples, change):
    decoder = load_decoder(str(copied), device="cpu")
    before = features_of(decoder, samples)
    change(copied / "model.safetensors")
    assert decoder.files_changed
    np.testing.assert_array_equal(features_of(decoder, samples).vectors, before.vectors)


def test_files_that_change_while_they_are_read_are_refused(copied, monkeypatch):
    read = AutoModelForCausalLM.from_pretrained

    def meanwhile(*arguments, **keywords):
        found = read(*arguments, **keywords)
        write_in_place(copied / "model.safetensors")
        return found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", meanwhile)
    with pytest.raises(DecoderError, match="was written to while it was read"):
        load_decoder(str(copied))


@pytest.fixture
def gpt2_dir(tiny_decoder, tmp_path):
    """Learned positions: what lies beyond them is an index error within torch."""
    config = GPT2Config(vocab_size=len(tiny_decoder.tokenizer), n_positions=40, n_embd=16, n_layer=1, n_head=2)
    return Decoder("gpt2", GPT2LMHeadModel(config), tiny_decoder.tokenizer).save(tmp_path / "gpt2")


@pytest.mark.parametrize(("kind", "positions"), [("learned", 40), ("rotary", 512)])
def test_a_teacher_that_shows_more_than_a_decoder_reads_is_refused(
    kind, positions, tiny_decoder_dir, gpt2_dir, tmp_path, monkeypatch, samples
):
    monkeypatch.chdir(tmp_path)
    settings = load_settings(decoder=str(gpt2_dir if kind == "learned" else tiny_decoder_dir))
    most = TeacherSpec(rank=2, projection_dim=64, max_tokens=positions)
    with pytest.raises(
        SettingsError, match=rf"reads {positions} tokens at most.*Set teacher.max_tokens to {positions}"
    ):
        decoder_for(settings, most.model_copy(update={"max_tokens": positions + 1}))
    decoder = decoder_for(settings, most)
    long = tokenize(decoder.tokenizer, Sample("long", "", "lantern " * 600), positions)
    assert len(long) == positions
    assert np.isfinite(extract_features(decoder, most, [long]).vectors).all()


def test_a_split_whose_every_query_is_quarantined_is_a_clear_error(samples):
    roles = [("query", samples[:2]), ("candidate", samples[2:7])]
    plan = Plan("spot", tuple(Entry(s, role, "report") for role, of in roles for s in of), (("here", "0"),))
    kept = tuple(sample.hash for sample in samples[2:7])
    table = FeatureTable(kept, np.ones((5, 3), np.float32), *np.ones((3, 5), np.float32))
    bad = {sample.hash: "loss nan, gradient norm nan" for sample in samples[:2]}
    with pytest.raises(SampleError, match=f"no query of the report split.*{samples[0].id}.*loss nan"):
        assemble(plan, Teacher(decoder_fingerprint="f" * 64), "tiny", Labelled(table, bad, 5))

import copy
import json

import pytest
import torch

from influcoder.core.errors import DecoderError
from influcoder.decoder.checkpoint import Decoder, linear_names
from influcoder.decoder.load import load_decoder


@pytest.fixture(scope="module")
def loaded(tiny_decoder_dir):
    return load_decoder(str(tiny_decoder_dir), device="cpu")


def with_model(decoder, change):
    model = copy.deepcopy(decoder.model)
    change(model)
    return Decoder(decoder.uri, model, decoder.tokenizer)


def test_fingerprint_survives_saving_and_loading(tiny_decoder, loaded):
    assert loaded.fingerprint == tiny_decoder.fingerprint
    assert len(loaded.fingerprint) == 64


def test_fingerprint_does_not_depend_on_the_path(loaded, copied):
    assert load_decoder(str(copied), device="cpu").fingerprint == loaded.fingerprint


def test_fingerprint_survives_a_second_round(loaded, tmp_path):
    again = load_decoder(str(loaded.save(tmp_path / "again")), device="cpu")
    assert again.fingerprint == loaded.fingerprint


def test_fingerprint_does_not_depend_on_the_attention_implementation(loaded, copied):
    assert load_decoder(str(copied), attention="eager", device="cpu").fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight", "model.norm.weight"]
)
def test_fingerprint_changes_with_one_weight(tiny_decoder, name):
    def nudge(model):
        weights = model.get_parameter(name).data.view(-1)
        weights[-1] = torch.nextafter(weights[-1], torch.tensor(9.0))

    assert with_model(tiny_decoder, nudge).fingerprint != tiny_decoder.fingerprint


def test_fingerprint_tells_which_layer_a_weight_stands_in(tiny_decoder):
    def exchange(model):
        first, second = (model.model.layers[number].self_attn.q_proj.weight.data for number in (0, 1))
        held = first.clone()
        first.copy_(second)
        second.copy_(held)

    assert with_model(tiny_decoder, exchange).fingerprint != tiny_decoder.fingerprint


def test_fingerprint_does_not_change_without_a_change(tiny_decoder):
    assert with_model(tiny_decoder, lambda model: None).fingerprint == tiny_decoder.fingerprint


def test_fingerprint_changes_with_the_merges_of_the_tokenizer(tiny_decoder, tokenizer_of):
    other = tokenizer_of(["Entirely different sentences make different merges."] * 3)
    assert Decoder("tiny", tiny_decoder.model, other).fingerprint != tiny_decoder.fingerprint


def test_fingerprint_changes_with_a_special_token(tiny_decoder):
    other = copy.deepcopy(tiny_decoder.tokenizer)
    other.eos_token = other.pad_token
    assert Decoder("tiny", tiny_decoder.model, other).fingerprint != tiny_decoder.fingerprint


def test_fingerprint_changes_with_an_added_token(tiny_decoder):
    other = copy.deepcopy(tiny_decoder.tokenizer)
    other.add_tokens(["glacier"])
    assert Decoder("tiny", tiny_decoder.model, other).fingerprint != tiny_decoder.fingerprint


def test_fingerprint_does_not_change_by_use(tiny_decoder):
    used = copy.deepcopy(tiny_decoder.tokenizer)
    used(["a", "a longer text"], padding=True, truncation=True, max_length=4, return_tensors="pt")
    decoder = Decoder("tiny", tiny_decoder.model, used)
    assert used.backend_tokenizer.truncation
    assert decoder.fingerprint == tiny_decoder.fingerprint


def test_loaded_decoder_says_the_same(tiny_decoder, loaded, samples):
    for sample in samples[:5]:
        assert loaded.tokenizer(sample.text)["input_ids"] == tiny_decoder.tokenizer(sample.text)["input_ids"]
    ids = torch.tensor([tiny_decoder.tokenizer(samples[0].text)["input_ids"]])
    torch.testing.assert_close(loaded.model(ids).logits, tiny_decoder.model(ids).logits)
    assert loaded.generate(samples[0].context, 8) == tiny_decoder.generate(samples[0].context, 8)


def test_loaded_decoder_is_frozen_and_in_evaluation_mode(loaded):
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_dtype_and_attention_are_as_asked(tiny_decoder_dir):
    decoder = load_decoder(str(tiny_decoder_dir), "bfloat16", "eager", "cpu")
    assert {parameter.dtype for parameter in decoder.model.parameters()} == {torch.bfloat16}
    assert decoder.model.config._attn_implementation == "eager"


def test_linear_layers_are_all_but_the_head(tiny_decoder):
    names = list(linear_names(tiny_decoder.model))
    layer = [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    assert sorted(names) == sorted(f"model.layers.{number}.{name}" for number in (0, 1) for name in layer)


@pytest.mark.parametrize("uri", ["nowhere", "nowhere.gguf", ""])
def test_what_is_no_checkpoint_is_refused(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DecoderError, match="is no decoder"):
        load_decoder(uri)


@pytest.mark.parametrize("package", ["no_such_package", "json"])
def test_package_without_a_decoder_is_refused(package):
    with pytest.raises(DecoderError, match="no installed package of that name carries a .gguf file"):
        load_decoder(f"package:{package}")


def test_unknown_dtype_is_refused(tiny_decoder_dir):
    with pytest.raises(DecoderError, match="'float8' is no decoder dtype.*float32, bfloat16, float16"):
        load_decoder(str(tiny_decoder_dir), dtype="float8")


def test_unknown_attention_is_refused(tiny_decoder_dir):
    with pytest.raises(DecoderError, match="can't be loaded"):
        load_decoder(str(tiny_decoder_dir), attention="no-such-attention")


@pytest.mark.parametrize("config", ["{broken", json.dumps({"model_type": "no-such-model"})])
def test_broken_config_is_refused(copied, config):
    (copied / "config.json").write_text(config)
    with pytest.raises(DecoderError, match="can't be loaded"):
        load_decoder(str(copied))


def test_missing_weights_file_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(DecoderError, match="can't be loaded"):
        load_decoder(str(copied))


def test_twin_shares_every_weight_and_no_module(tiny_decoder):
    twin = tiny_decoder.twin()
    for kind in ("parameters", "buffers"):
        pairs = list(zip(*(getattr(decoder.model, kind)() for decoder in (tiny_decoder, twin)), strict=True))
        assert pairs
        assert all(own.data_ptr() == other.data_ptr() for own, other in pairs)
    assert not {id(module) for module in tiny_decoder.model.modules()} & {id(module) for module in twin.model.modules()}
    assert twin.fingerprint == tiny_decoder.fingerprint
    assert not twin.model.training


def test_tied_embeddings_stay_tied_in_a_twin_and_in_private_memory(tiny_decoder, loaded):
    for model in (tiny_decoder.twin().model, loaded.model, loaded.twin().model):
        assert model.config.tie_word_embeddings
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_hooks_of_a_twin_are_its_own(tiny_decoder):
    twin, heard = tiny_decoder.twin(), []
    hooks = [
        decoder.model.lm_head.register_forward_hook(lambda *_, name=name: heard.append(name))
        for name, decoder in (("own", tiny_decoder), ("twin", twin))
    ]
    ids = torch.tensor([[1, 2, 3]])
    tiny_decoder.model(ids)
    assert heard == ["own"]
    twin.model(ids)
    assert heard == ["own", "twin"]
    for hook in hooks:
        hook.remove()

"""Checkpoints and data sets that bring code, name code or hide it in a pickle: none of it runs, and nobody is asked."""

import io
import json
import shutil
import sys
from types import SimpleNamespace

import gguf
import pytest
import torch
from small import write_encoder
from transformers import AutoConfig, BloomConfig, BloomForCausalLM

from influcoder.core.errors import DecoderError, EncoderError, SampleError
from influcoder.decoder.checkpoint import Decoder
from influcoder.decoder.load import load_decoder
from influcoder.encoder.model import Encoder
from influcoder.samples import read_corpus
from influcoder.serving.pyfunc_model import EncoderModel

PLANTED = """open({mark!r}, "w").close()
from transformers import BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig): model_type = "mine"
class Model(LlamaForCausalLM): config_class = Config
class Module(BertModel): pass
"""
MODEL_CODE = {name: f"m.{kind}" for name, kind in [("AutoConfig", "Config"), ("AutoModelForCausalLM", "Model")]}
OWN = {"model_type": "mine", "auto_map": MODEL_CODE}
TOKENIZER_CODE = {"AutoTokenizer": ["m.PreTrainedTokenizerFast", None]}
REFUSED = "wants .* to be run. No code of a checkpoint is ever run. Convert it"


def encoder_of(uri):
    return Encoder(str(uri), 32)


class Yes(io.StringIO):
    """Standard input where somebody says yes to everything, which is not to be read."""

    was_read = False

    def readline(self, *_size):
        self.was_read = True
        return "y\n"

    read = readline


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch):
    """The file that planted code leaves; it is missing after every test, and nobody was asked."""
    monkeypatch.setattr(sys, "stdin", Yes())
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "code-was-run"
    yield mark
    assert not mark.exists()
    assert not sys.stdin.was_read


@pytest.fixture
def plant(mark):
    """A function that puts the code into a folder, and changes some of its JSON files."""

    def change(folder, **files):
        (folder / "m.py").write_text(PLANTED.format(mark=str(mark)))
        for stem, more in files.items():
            path = folder / f"{stem}.json"
            path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **more}))
        return folder

    return change


@pytest.fixture
def pickled(mark):
    """A function that puts a pickle in the place of a folder's weights that runs what it likes when it is read."""

    class Runs:
        def __reduce__(self):
            return open, (str(mark), "w")

    def change(folder):
        (folder / "model.safetensors").unlink()
        torch.save({"weights": Runs()}, folder / "pytorch_model.bin")
        return folder

    return change


@pytest.fixture
def encoder_dir(tmp_path):
    return write_encoder(tmp_path)


def test_the_plant_runs_where_it_is_trusted(copied, plant, mark):
    """Or the tests below would say nothing."""
    plant(copied, config=OWN)
    AutoConfig.from_pretrained(str(copied), trust_remote_code=True)
    assert mark.exists()
    mark.unlink()


@pytest.mark.parametrize("uri", ["{}", "s3://bucket/decoder", "models:/decoder/1"])
def test_a_decoder_of_an_architecture_of_its_own_is_refused(copied, plant, monkeypatch, uri):
    plant(copied, config=OWN, tokenizer_config={"auto_map": TOKENIZER_CODE})
    monkeypatch.setattr("influcoder.decoder.sources.fetch", lambda _uri: copied)
    with pytest.raises(DecoderError, match=REFUSED):
        load_decoder(uri.format(copied), device="cpu")


def test_a_tokenizer_of_its_own_is_refused(tiny_decoder, plant, tmp_path):
    config = BloomConfig(vocab_size=len(tiny_decoder.tokenizer), hidden_size=16, n_layer=1, n_head=2)
    folder = Decoder("bloom", BloomForCausalLM(config), tiny_decoder.tokenizer).save(tmp_path / "bloom")
    plant(folder, tokenizer_config={"tokenizer_class": "Mine", "auto_map": TOKENIZER_CODE})
    with pytest.raises(DecoderError, match=REFUSED):
        load_decoder(str(folder), device="cpu")


def test_a_decoder_that_transformers_has_too_is_read_by_the_code_of_transformers(tiny_decoder, copied, plant):
    plant(copied, config={"auto_map": MODEL_CODE}, tokenizer_config={"auto_map": TOKENIZER_CODE})
    (copied / "custom_generate").mkdir()
    shutil.copy(copied / "m.py", copied / "custom_generate/generate.py")
    found = load_decoder(str(copied), device="cpu")
    assert found.fingerprint == tiny_decoder.fingerprint
    assert found.generate("Where is the river?", 4) == tiny_decoder.generate("Where is the river?", 4)


def test_a_tokenizer_beside_a_gguf_file_is_no_exception(plant, tmp_path, monkeypatch):
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "falcon")
    writer.add_block_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setenv("INFLUCODER_CACHE", str(tmp_path / "cache"))
    plant(tmp_path, tokenizer_config={"tokenizer_class": "Mine", "auto_map": TOKENIZER_CODE})
    with pytest.raises(DecoderError, match=REFUSED):
        load_decoder(str(tmp_path / "tiny.gguf"), device="cpu")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() or ".part" in path.name] == []


@pytest.mark.parametrize("package", ["planted_package", "planted_package.inner"])
@pytest.mark.parametrize(
    ("load", "error"), [(load_decoder, DecoderError), (lambda uri: Encoder(uri, 32), EncoderError)]
)
def test_a_package_is_not_imported(package, load, error, plant, tmp_path, monkeypatch):
    home = tmp_path / "planted_package"
    home.mkdir()
    plant(home).joinpath("m.py").rename(home / "__init__.py")
    (home / "inner.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match="package:planted_package"):
        load(f"package:{package}")
    assert "planted_package" not in sys.modules


def test_pickled_weights_of_a_decoder_are_not_run(copied, pickled):
    with pytest.raises(DecoderError, match=r"a pickle of more than tensors. Save its weights in safetensors"):
        load_decoder(str(pickled(copied)), device="cpu")


def test_pickled_weights_of_tensors_are_read(tiny_decoder, copied):
    (copied / "model.safetensors").unlink()
    torch.save(tiny_decoder.model.state_dict(), copied / "pytorch_model.bin")
    assert load_decoder(str(copied), device="cpu").fingerprint == tiny_decoder.fingerprint


def test_a_way_to_answer_that_is_code_of_a_hub_is_refused(copied, plant):
    plant(copied, generation_config={"penalty_alpha": 0.6, "top_k": 4})
    decoder = load_decoder(str(copied), device="cpu")
    with pytest.raises(DecoderError, match="can't answer without code of a hub. Keep the token ids"):
        decoder.generate("Where is the river?", 4)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("kind", ["m.Module", "influcoder.core.errors.EncoderError"])
def test_an_encoder_with_a_module_of_its_own_is_refused(encoder_dir, plant, place, kind):
    modules = json.loads((encoder_dir / "modules.json").read_text())
    modules.insert(place, {"idx": 0, "name": "own", "path": "", "type": kind})
    plant(encoder_dir)
    (encoder_dir / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=f"wants {kind} to be run. No code"):
        encoder_of(encoder_dir)


def test_an_encoder_in_a_package_is_no_exception(encoder_dir, plant, tmp_path, monkeypatch):
    home = tmp_path / "planted_model"
    shutil.copytree(
        plant(encoder_dir, config={"model_type": "mine", "auto_map": {"AutoConfig": "m.Config"}}), home / "model"
    )
    shutil.copy(encoder_dir / "m.py", home / "__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EncoderError, match=REFUSED):
        encoder_of("package:planted_model")


def test_a_module_inside_a_router_is_no_exception(encoder_dir, plant):
    kinds = {"types": {"own": "m.Module"}, "structure": {"query": ["own"]}, "parameters": {}}
    plant(encoder_dir, router_config=kinds)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.router.Router"}]
    (encoder_dir / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=REFUSED):
        encoder_of(encoder_dir)


def test_settings_of_an_encoder_trust_nobody(encoder_dir, plant):
    trust = {name: {"trust_remote_code": True} for name in ("model_args", "tokenizer_args", "config_args")}
    plant(
        encoder_dir,
        config={"model_type": "mine", "auto_map": {"AutoConfig": "m.Config", "AutoModel": "m.Module"}},
        tokenizer_config={"auto_map": TOKENIZER_CODE},
        sentence_bert_config=trust,
    )
    with pytest.raises(EncoderError, match=REFUSED):
        encoder_of(encoder_dir)


def test_pickled_weights_of_an_encoder_are_not_run(encoder_dir, pickled, plant):
    plant(pickled(encoder_dir), sentence_bert_config={"model_args": {"weights_only": False}})
    with pytest.raises(EncoderError, match="a pickle of more than tensors"):
        encoder_of(encoder_dir)


def test_an_encoder_that_names_code_beside_is_read_and_served_without_it(encoder_dir, plant, tmp_path):
    plant(
        encoder_dir,
        config={"auto_map": {"AutoConfig": "m.Config", "AutoModel": "m.Module"}},
        tokenizer_config={"auto_map": TOKENIZER_CODE},
    )
    encoder = encoder_of(encoder_dir)
    saved = encoder.save(tmp_path / "saved")
    # What is saved may still name the code, and somebody may put it there again.
    plant(saved, config={"auto_map": {"AutoConfig": "m.Config", "AutoModel": "m.Module"}})
    served = EncoderModel()
    served.load_context(SimpleNamespace(artifacts={"encoder": str(saved)}, model_config={}))
    text = "anchor and sail"
    assert served.encoder.encode(text, normalize_embeddings=True) == pytest.approx(encoder.embed([text])[0], abs=1e-6)


def test_a_script_of_a_data_set_is_not_run(plant, tmp_path):
    folder = tmp_path / "planted"
    folder.mkdir()
    plant(folder).joinpath("m.py").rename(folder / "planted.py")
    with pytest.raises(SampleError, match=r"scripts are no longer supported.* Save it as Parquet"):
        read_corpus(f"hf:{folder}")

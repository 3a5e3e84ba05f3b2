"""New decoder checkpoints in a directory, on S3 and in MLflow, and past encoders on newer labels, on real servers."""

import json
import urllib.request

import pytest

from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore
from monitoring.checks.backfill import backfills
from monitoring.checks.record import load_check
from monitoring.loop.decoder_versions import decoders

STORY = """
import io, json, os, shutil, sys
from pathlib import Path
import mlflow, torch
from rich.console import Console
from flows.backfill import backfill
from flows.label import label
from flows.promote import promote
from flows.train import train
from flows.watch import watch
from influcoder.cli.versions import table
from influcoder.core.files import cache_folder
from influcoder.decoder.load import load_decoder
from influcoder.core.errors import DecoderError, RegistryError
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

first, folder = sys.argv[1], Path(sys.argv[2])
settings = load_settings()
bucket = ObjectStore(settings.store.model_copy(update={"prefix": "checkpoints"}))

def upload(source, name):
    for path in Path(source).iterdir():
        bucket.put(f"{name}/{path.name}", path.read_bytes())
    return f"s3://influcoder/checkpoints/{name}"

def refusal(uri):
    try:
        return f"not refused: {watch(uri)}"
    except (DecoderError, RegistryError) as error:
        return str(error)

found = {"promoted": promote(train(label())), "first": watch()}
copy = shutil.copytree(first, folder / "copy")
found["copy"] = watch(str(copy))
remote = upload(first, "one")
bucket.put("one/pytorch_model.bin", b"a pickle")
bucket.put("one/modeling.py", b"raise SystemExit('remote code')")
found["same on S3"] = watch(remote)

decoder = load_decoder(first)
with torch.no_grad():
    torch.manual_seed(0)
    for parameter in decoder.model.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
moved = decoder.save(folder / "moved")
upload(moved, "one")
found["moved"], found["again"] = watch(remote), watch(remote)
found["moved elsewhere"] = watch(str(moved))
os.utime(moved / "config.json")
found["touched"] = watch(str(moved))
decoder.model.generation_config.pad_token_id = None
mlflow.set_experiment("decoders")
with mlflow.start_run():
    parts = {"model": decoder.model, "tokenizer": decoder.tokenizer}
    info = mlflow.transformers.log_model(
        parts, name="decoder", task="text-generation", registered_model_name="a-decoder", pip_requirements=["torch"]
    )
mlflow.MlflowClient().set_registered_model_alias("a-decoder", "live", info.registered_model_version)
found["in MLflow"] = watch("models:/a-decoder@live")
found["refusals"] = [refusal(uri) for uri in ("models:/a-decoder/7", "s3://influcoder/checkpoints/none")]
bucket.put("code/config.json", b"{}")
bucket.put("code/pytorch_model.bin", b"a pickle")
found["refusals"].append(refusal("s3://influcoder/checkpoints/code"))
found["fetched"] = sorted(path.name for path in (cache_folder() / "decoders").glob("*/*"))
with (folder / "table").open("w") as file:
    Console(file=file, width=160).print(table(str(moved)))

train(start="base")
found["backfilled"] = [backfill(), backfill(chart=True)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def story(forks, evidently, tiny_decoder_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/watch")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "watch")
        patch.setenv("INFLUCODER_EVIDENTLY_URL", evidently)
        patch.setenv("INFLUCODER_CACHE", str(folder / "cache"))
        done = forks.python("-c", STORY, tiny_decoder_dir, folder)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1]) | {"table": (folder / "table").read_text()}


@pytest.fixture
def store(story):
    return ObjectStore(load_settings().store)


def test_the_same_content_under_another_name_is_no_new_decoder(story, store, tiny_decoder):
    assert story["promoted"]
    assert story["first"] is story["copy"] is story["same on S3"] is None
    known = decoders(store)
    assert len(known) == 2
    addresses = list(known[tiny_decoder.fingerprint].uris)
    assert addresses[0] == load_settings().decoder
    assert addresses[1].endswith("/copy")
    assert addresses[2] == "s3://influcoder/checkpoints/one"


def test_new_content_at_the_same_address_is_checked_once_whatever_it_is_called(story, store, tiny_decoder):
    check = load_check(store, story["moved"])
    assert check.encoder_version == "1"
    assert check.decoder != tiny_decoder.fingerprint
    assert check.decoder_uri == "s3://influcoder/checkpoints/one"
    assert story["again"] is story["moved elsewhere"] is story["touched"] is story["in MLflow"] is None
    assert len(decoders(store)[check.decoder].uris) == 3


def test_neither_pickles_nor_code_are_fetched(story):
    assert "model.safetensors" in story["fetched"]
    assert not [name for name in story["fetched"] if name.endswith((".bin", ".py", ".pt")) or ".part-" in name]
    unknown, empty, pickled = story["refusals"]
    assert "MLflow gives no models:/a-decoder/7" in unknown
    assert "there is nothing at s3://influcoder/checkpoints/none" in empty
    assert "no config.json with weights in safetensors" in pickled


def test_encoders_are_listed_by_decoder(story):
    assert "champion" in story["table"]
    assert "no: it is of another decoder" in story["table"]


def test_past_encoders_are_measured_on_newer_labels_once(story, store):
    records = backfills(store, "watch")
    assert story["backfilled"] == [len(records), 0]
    # Version 1 was checked on one of the two spot label sets, and the gate used the other.
    assert [record.encoder_version for record in records] == ["1", "2", "2"]
    assert len({record.spot_label_set for record in records}) == 2
    assert all(record.backfill and 0 < record.figures["rho"]["value"] < 1 for record in records)


def test_the_chart_is_rebuilt_from_the_store_alone(story, evidently):
    url = evidently
    projects = {p["name"]: p["id"] for p in json.load(urllib.request.urlopen(f"{url}/api/v2/projects"))}
    counts = {
        name: len(json.load(urllib.request.urlopen(f"{url}/api/projects/{found}/reports")))
        for name, found in projects.items()
    }
    assert counts == {"Influcoder: agreement of the champion": 1, "Influcoder: past encoders on newer labels": 3}

"""Indexes and answers from them, through flows and commands, on a real store and a real MLflow."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from influcoder.attribution.audit import Audit
from influcoder.index import Index, manifests
from influcoder.registry.journal import Action, entries
from influcoder.registry.mlflow_registry import Registry
from influcoder.samples import query_log as asked
from influcoder.samples import read_corpus
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

COMMAND = Path(sys.executable).parent / "influcoder"
STORY = """
import json, os, sys, tempfile
from pathlib import Path
import pandas as pd
from flows.index import index
from flows.label import label
from flows.train import train
from influcoder.serving.answers import attribute_one
from influcoder.serving.champion import ServedChampion
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore

settings = load_settings()
store, registry = ObjectStore(settings.store), Registry(settings.mlflow)
found = {"unborn": index()}
version = train(label())
os.environ |= {"INFLUCODER_ENCODER__RECIPE": "fine-tune", "INFLUCODER_ENCODER__EPOCHS": "1"}
tuned = train()
os.environ["INFLUCODER_ENCODER__RECIPE"] = "kernel"
champion = registry.promote(registry.version(version), {})


def built(corpus, again=False):
    made = ServedChampion(load_settings(corpus=corpus)).update_index(again)
    return [made.manifest.id, made.embedded]


def answered():
    return attribute_one("", "rocket moon comet", 3, least=2).provenance.index.id


found |= {"version": version, "flow": index(), "looked": built(settings.corpus)}
found["again"] = built(settings.corpus, again=True)
lines = Path(settings.corpus).read_text()
grown = Path(tempfile.mkdtemp(), "grown.jsonl")
grown.write_text(lines + "\\n" + json.dumps({"id": "new", "target": "anchor harbour rocket"}))
found["grown"] = built(str(grown))
store.put("pools/pool.jsonl", lines.encode())
table = pd.read_json(settings.corpus, lines=True, dtype=str).to_parquet(index=False)
store.put("pools/pool.parquet", table)
found["object"], found["table"] = built(store.uri("pools/pool.jsonl")), built(store.uri("pools/pool.parquet"))
found["before"] = answered()
registry.promote(registry.version(tuned), {})
found["other"] = answered()
found["other looked"] = built(settings.corpus)
registry.promote(registry.version(version), {})
found["back"] = answered()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def story(forks, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFLUCODER_STORE__PREFIX", "tests/index")
        patch.setenv("INFLUCODER_MLFLOW__MODEL", "indexed")
        patch.setenv("INFLUCODER_CACHE", str(tmp_path_factory.mktemp("cache")))
        done = forks.python("-c", STORY)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def store(story):
    return ObjectStore(load_settings().store)


@pytest.fixture(scope="module")
def run(forks):
    return forks.influcoder


def test_an_index_says_what_it_came_from(story, store):
    assert story["unborn"] == "", "a schedule finds nothing to do where there is no champion"
    manifest = Index.open(store, story["flow"]).manifest
    version = Registry(load_settings().mlflow).version(story["version"])
    corpus = read_corpus(load_settings().corpus)
    assert manifest.rows == len(corpus)
    assert manifest.duplicates == corpus.duplicates
    assert manifest.identity.corpus == corpus.digest
    assert manifest.identity.embedder.files == version.tags["encoder.sha256"]
    assert manifest.origin.encoder_version == version.version
    assert (manifest.origin.label_set, manifest.origin.decoder) == (version.label_set_id, version.decoder_fingerprint)
    assert manifest.origin.teacher == version.tags["teacher.id"]
    assert sum(part.rows for part in manifest.shards) == sum(part.rows for part in manifest.segments) == manifest.rows


def test_the_same_content_is_the_same_index_wherever_it_lies(story):
    assert story["looked"] == story["again"] == story["object"] == story["table"] == [story["flow"], 0]


def test_a_sample_more_is_an_embedding_more(story, store):
    grown, embedded = story["grown"]
    assert embedded == 1
    assert grown != story["flow"]
    assert len(Index.open(store, grown)) == len(Index.open(store, story["flow"])) + 1


def test_a_champion_that_comes_back_finds_its_index(story):
    assert story["before"] == story["back"] == story["flow"]
    assert story["other"] != story["flow"]
    assert story["other looked"] == [story["other"], 0], "an answer built what was missing"


def test_objects_come_before_their_manifest_and_stay(story, store):
    kept = {found.id for found in manifests(store)}
    assert kept == {story["flow"], story["grown"][0], story["other"]}
    for found in manifests(store):
        keys = set(store.keys(f"indexes/{found.id}/"))
        names = [f"{part.sha256}.faiss" for part in found.segments] + [
            f"{part.sha256}.parquet" for part in found.shards
        ]
        assert keys == {f"indexes/{found.id}/{name}" for name in [*names, "manifest.json"]}


def test_a_file_of_outputs_is_answered_into_a_table(story, run, store, tmp_path):
    outputs = [
        {"id": "sky", "context": "Tell a story: ", "target": "comet rocket moon gravity probe"},
        {"id": "bread", "prompt": "What is in it?", "answer": "flour butter oven dough"},
        {"context": "Tell a story: ", "target": "anchor harbour sail"},
    ]
    (tmp_path / "outputs.jsonl").write_text("\n".join(map(json.dumps, outputs)))
    before = sum(len(batch.questions) for batch in asked.read(store))
    given = ("attribute", "--file", str(tmp_path / "outputs.jsonl"), "--out", str(tmp_path / "found.parquet"))
    done = run(*given, "--k", "5", "--least", "3", "--verify", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    found = pd.read_parquet(tmp_path / "found.parquet")
    assert found.groupby("output", sort=False).size().tolist() == [8, 8, 8]
    assert found["output"].unique()[:2].tolist() == ["sky", "bread"]
    sky = found[found["output"] == "sky"]
    assert sky["end"].tolist() == ["most"] * 5 + ["least"] * 3
    rows = len(Index.open(store, story["flow"]))
    assert sky["rank"].tolist() == [1, 2, 3, 4, 5, rows, rows - 1, rows - 2]
    assert sky["score"].iloc[:5].is_monotonic_decreasing
    assert sky["score"].iloc[5:].is_monotonic_increasing
    assert sky["score"].min() == sky["score"].iloc[5]
    assert sky["exact"].notna().tolist() == [True, True, False, False, False, True, True, False]
    assert found["exact"].dropna().between(-1.001, 1.001).all()
    assert sky["source"].iloc[0] == "orbit"
    version = Registry(load_settings().mlflow).version("champion")
    behind = found[["encoder", "label_set", "decoder", "index"]].drop_duplicates().to_dict("records")
    assert behind == [
        {
            "encoder": version.version,
            "label_set": version.label_set_id,
            "decoder": version.decoder_fingerprint,
            "index": story["flow"],
        }
    ]
    assert found["agreement"].iloc[0] == pytest.approx(float(version.tags["agreement.rho"]))
    assert sum(len(batch.questions) for batch in asked.read(store)) == before + 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.parquet", "outputs.jsonl"]


def test_commands_list_indexes_and_show_both_ends(story, run):
    listed = run("indexes")
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in (story["flow"], story["grown"][0], story["other"]))
    shown = run("attribute", "--answer", "rocket moon comet", "--k", "3", "--least", "2", "--private")
    assert shown.returncode == 0, shown.stderr
    assert story["flow"] in " ".join(shown.stdout.split())
    refused = run("attribute", "--answer", "x", "--file", "y.jsonl")
    assert refused.returncode == 1
    assert "or else --file" in refused.stderr


def test_one_answer_from_an_index_needs_no_torch(story):
    words = ("attribute", "--answer", "rocket moon comet", "--k", "2", "--private", "--json")
    code = f"import sys; from influcoder.cli.app import app; app({words!r}, standalone_mode=False)"
    given = ("-c", f"{code}; print([name in sys.modules for name in ('torch', 'mlflow', 'numpy')])")
    done = subprocess.run([sys.executable, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *rows, imported = done.stdout.splitlines()
    assert imported == "[False, False, True]"
    assert [json.loads(row)["index"] for row in rows] == [story["flow"]] * 2


def test_regions_that_drive_some_queries(story, run, tmp_path):
    queries = [
        {"target": "rocket moon comet gravity probe", "source": "sky"},
        {"target": "satellite capsule antenna radar", "source": "sky"},
        {"target": "flour butter oven dough", "source": "bread"},
        {"target": "whisk spoon sugar kettle", "source": "bread"},
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    folder = tmp_path / "found"
    given = ("regions", "--queries", str(tmp_path / "queries.jsonl"), "--points", "200", "--no-map")
    done = run(*given, "--out", str(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((folder / "regions.json").read_text())
    version = Registry(load_settings().mlflow).version("champion")
    assert (record["encoder"], record["index"], record["by"]) == (version.version, story["flow"], "source")
    assert (record["decoder"], record["label_set"]) == (version.decoder_fingerprint, version.label_set_id)
    lift = {(row["region"], row["queries"]): row["lift"]["value"] for row in record["shares"]}
    assert lift["orbit", "sky"] > 1 > lift["orbit", "bread"]
    assert lift["kitchen", "bread"] > 1 > lift["kitchen", "sky"]
    run_id = done.stdout.split()[-1].rpartition("/")[2]
    logged = {item.path for item in mlflow.MlflowClient().list_artifacts(run_id)}
    assert logged == {path.name for path in folder.iterdir()} == {"regions.json", "shares.png", "lifts.png"}
    again = run(*given, "--out", str(folder))
    assert again.returncode == 1
    assert "is there already" in again.stderr


def test_an_audit_is_recorded_and_a_changed_report_is_found_out(story, run, store, tmp_path):
    folder = tmp_path / "audit"
    given = ("audit", "--prompt", "Tell a story", "--answer", "comet rocket moon gravity probe", "--out", str(folder))
    done = run(*given, "--k", "4", "--least", "2", "--verify", "3", "--controls", "5")
    assert done.returncode == 0, done.stderr[-3000:]
    record = Audit.model_validate_json((folder / "record.json").read_bytes())
    version = Registry(load_settings().mlflow).version("champion")
    chain = {link.what: link.id for link in record.chain}
    assert chain["index"] == story["flow"]
    assert (chain["encoder version"], chain["label set"]) == (version.version, version.label_set_id)
    assert (chain["decoder"], chain["teacher"]) == (version.decoder_fingerprint, version.tags["teacher.id"])
    assert [point.exact is not None for point in record.most] == [True, True, True, False]
    assert len(record.controls) == 5
    assert record.rulers[-1].rho == pytest.approx(float(version.tags["agreement.rho"]))
    (entry,) = [entry for entry in entries(store, "indexed") if entry.action is Action.AUDITED]
    assert entry.version == version.version
    for name, digest in entry.digests.items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert store.get(f"audits/{record.id}/{name}") == data
        known = run("audit", "--check", str(folder / name))
        assert known.returncode == 0, known.stderr
        assert f"journal entry {entry.number}" in known.stdout
    page = folder / "report.html"
    page.write_bytes(page.read_bytes().replace(b"comet", b"comeT", 1))
    changed = run("audit", "--check", str(page))
    assert changed.returncode == 1
    assert "the journal knows no report" in changed.stderr
    again = run(*given)
    assert again.returncode == 1
    assert "is there already" in again.stderr


@pytest.fixture(scope="module")
def address(story, forks):
    """The address of a server that a command started."""
    reading, writing = os.pipe()
    process = forks.begin("-m", "influcoder.cli", "serve", "--port", "0", streams=(0, writing, 2))
    os.close(writing)
    with open(reading) as said:
        line = said.readline()
        assert line.startswith("http://127.0.0.1:"), line
        yield line.split()[0]
        process.send_signal(signal.SIGTERM)
        process.wait()


def test_a_server_answers_like_the_commands(story, run, store, address):
    state = httpx.get(f"{address}/api/state", timeout=60).raise_for_status().json()
    version = Registry(load_settings().mlflow).version("champion")
    assert (state["encoder"], state["index"], state["decoder"]) == (
        version.version,
        story["flow"],
        version.decoder_fingerprint,
    )
    assert state["badge"] == "never checked"
    texts = ["rocket moon comet", "flour butter oven", "anchor harbour sail"]
    before = sum(len(batch.questions) for batch in asked.read(store))
    body = {"outputs": [{"answer": text} for text in texts[:2]], "k": 3, "least": 1, "private": True}
    found = httpx.post(f"{address}/api/attribute", json=body, timeout=60).raise_for_status().json()
    shown = run("attribute", "--answer", texts[0], "--k", "3", "--least", "1", "--private", "--json")
    assert found["answers"][0]["rows"] == [json.loads(line) for line in shown.stdout.splitlines()]
    assert len(found["answers"]) == 2
    samples = [{"target": text} for text in texts]
    embedded = httpx.post(f"{address}/api/embed", json={"samples": samples}, timeout=60).raise_for_status().json()
    vectors = np.array(embedded["vectors"])
    body = {"queries": samples[:1], "candidates": samples}
    scored = httpx.post(f"{address}/api/score", json=body, timeout=60).raise_for_status().json()
    assert embedded["warnings"] == scored["warnings"] == found["warnings"] == state["warnings"]
    np.testing.assert_allclose(scored["scores"], np.clip(vectors[:1] @ vectors.T, -1, 1), atol=1e-5)
    assert sum(len(batch.questions) for batch in asked.read(store)) == before


def test_a_server_refuses_what_is_too_much_or_makes_no_sense(address):
    sample = {"target": "comet"}
    for path, body, status in (
        ("attribute", {"outputs": [{"prompt": " ", "answer": ""}]}, 422),
        ("attribute", {"outputs": []}, 422),
        ("attribute", {"outputs": [{"answer": "x" * 50_001}]}, 422),
        ("attribute", {"outputs": [{"answer": "x"}], "k": 101}, 422),
        ("embed", {"samples": [sample] * 257}, 422),
        ("embed", {"samples": [{"target": " "}]}, 422),
        ("score", {"queries": [sample], "candidates": [sample], "other": 1}, 422),
        ("embed", {"samples": [{"target": "x" * (9 * 2**20)}]}, 413),
    ):
        answer = httpx.post(f"{address}/api/{path}", json=body, timeout=60)
        assert answer.status_code == status, (path, str(body)[:80], answer.text[:200])
    assert httpx.get(f"{address}/api/health", timeout=60).json() == {"status": "up"}
    page = httpx.get(address, timeout=60)
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_many_clients_at_once_get_their_own_answers(address):
    words = [
        "rocket moon",
        "flour butter",
        "anchor sail",
        "oven dough",
        "comet probe",
        "tide keel",
        "radar",
        "sugar",
    ] * 2

    def ask(text):
        body = {"outputs": [{"answer": text}], "k": 2, "private": True}
        return httpx.post(f"{address}/api/attribute", json=body, timeout=120).raise_for_status().json()

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, words))
    assert [item["answers"][0]["answer"] for item in found] == words
    assert found[:8] == found[8:]


@pytest.fixture(scope="module")
def packaged(story, run):
    """The URI of the model that a command made of encoder and index."""
    first, second = run("index", "--package"), run("index", "--package")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    client = mlflow.MlflowClient()
    (version,) = client.search_model_versions("name = 'indexed-answers'")
    assert client.get_model_version_by_alias("indexed-answers", "champion").version == version.version
    champion = Registry(load_settings().mlflow).version("champion")
    assert version.tags == {
        "encoder.version": champion.version,
        "index.id": story["flow"],
        "corpus.uri": load_settings().corpus,
        "decoder.fingerprint": champion.decoder_fingerprint,
        "labelset.id": champion.label_set_id,
    }
    return "models:/indexed-answers@champion"


def test_a_packed_model_needs_what_it_asks_for_and_no_more(story, packaged, tmp_path):
    script = Path(__file__).with_name("alone.py")
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, script, packaged], env=given, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert "/src/influcoder/" not in found["package"]
    assert [row["end"] for row in found["samples"]] == ["most"] * 3 + ["least"] * 2


@pytest.fixture(scope="module")
def endpoint(packaged, tmp_path_factory):
    """The address of `mlflow models serve`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    command = [COMMAND.with_name("mlflow"), "models", "serve", "-m", packaged, "-p", str(port), "--env-manager=local"]
    environment = os.environ | {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            for _ in range(120):
                time.sleep(1)
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"http://127.0.0.1:{port}/ping", timeout=5).raise_for_status()
                    break
            else:
                raise AssertionError((folder / "log").read_text()[-3000:])
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def test_mlflow_serves_the_same_answers(story, address, endpoint):
    def ask(records, **params):
        body = {"dataframe_records": records, "params": params}
        return httpx.post(endpoint, json=body, timeout=60).raise_for_status().json()["predictions"]

    outputs = [{"target": "rocket moon comet"}, {"target": "flour butter oven"}]
    body = {"outputs": [{"answer": row["target"]} for row in outputs], "k": 3, "least": 1, "private": True}
    expected = httpx.post(f"{address}/api/attribute", json=body, timeout=60).raise_for_status().json()["answers"]
    for mine, theirs in zip(ask(outputs, method="attribute", k=3, least=1), expected, strict=True):
        rows = [row["id"] for row in mine["samples"]], [row["id"] for row in theirs["rows"]]
        assert rows[0] == rows[1]
        scores = [[row["score"] for row in part] for part in (mine["samples"], theirs["rows"])]
        np.testing.assert_allclose(*scores, atol=1e-4)
    vectors = np.array([row["vector"] for row in ask(outputs)])
    (alone,) = ask(outputs[:1], method="embed")
    np.testing.assert_allclose(alone["vector"], vectors[0], atol=1e-5)
    pairs = [{**outputs[0], "candidate": row["target"], "candidate_context": ""} for row in outputs]
    scores = [row["score"] for row in ask(pairs, method="score")]
    np.testing.assert_allclose(scores, np.clip(vectors @ vectors[0], -1, 1), atol=1e-5)


def test_mlflow_refuses_what_is_too_much_or_makes_no_sense(endpoint):
    row = {"target": "comet"}
    for records, params, words in (
        ([row], {"method": "explain"}, "no method 'explain'"),
        ([row] * 257, {"method": "attribute"}, "too many"),
        ([row], {"method": "attribute", "k": 101}, "between 0 and 100"),
        ([row], {"method": "attribute", "k": "many"}, "k"),
        ([row], {"method": "score"}, "no column 'candidate'"),
        ([{"target": " "}], {}, "is empty"),
        ([{"target": "x" * 50_001}], {}, "50000 characters"),
        ([{"context": "comet"}], {}, "target"),
        ([{"target": 5}], {}, "is no text"),
    ):
        answer = httpx.post(endpoint, json={"dataframe_records": records, "params": params}, timeout=60)
        assert answer.status_code == 400, (params, answer.text[-300:])
        assert words in answer.text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
def test_the_page_shows_badge_and_lineage(story, address, tmp_path):
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--virtual-time-budget=8000",
    ]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path}", "--dump-dom", address]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert ">never checked<" in page
    assert story["flow"] in page

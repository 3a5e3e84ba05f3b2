"""Decoders of a hub: the real client and transformers against a server on loopback that speaks the hub's protocol."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from huggingface_hub import constants
from moved import moved

from influcoder.core.errors import DecoderError, EncoderError
from influcoder.decoder.addresses import stamp_of
from influcoder.decoder.load import load_decoder
from influcoder.encoder import Encoder


class Hub:
    """Models by name, their commits by branch and by hash, each a folder."""

    def __init__(self):
        self.models, self.asked, hub = {}, [], self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                hub.asked.append(self.path)
                status, headers, body = hub.answer(unquote(self.path.split("?")[0]))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *given):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self, name, folder):
        """A commit, which the branch `main` names from then on; its hash."""
        commits = self.models.setdefault(name, {})
        sha = hashlib.sha1(f"{name} {len(commits)}".encode()).hexdigest()
        commits[sha] = commits["main"] = (sha, folder)
        return sha

    def answer(self, path):
        missing = 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        is_api = path.startswith("/api/models/")
        name = next((name for name in self.models if f"/{name}" in path), None)
        if name is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        rest = path.split(f"/{name}", 1)[1].strip("/").split("/")
        if is_api and rest[0] == "tree":
            return missing
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in self.models[name]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        sha, folder = self.models[name][revision]
        if is_api:
            files = [{"rfilename": file.name} for file in folder.iterdir()]
            return (
                200,
                {"Content-Type": "application/json"},
                json.dumps(
                    {"id": name, "sha": sha, "private": False, "tags": [], "downloads": 0, "siblings": files}
                ).encode(),
            )
        file = folder / "/".join(rest[2:])
        if not file.is_file():
            return missing[0], {**missing[1], "X-Repo-Commit": sha}, b""
        data = file.read_bytes()
        return 200, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": sha}, data

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def story(tiny_decoder_dir, tmp_path_factory):
    """What was found at some addresses before and after a new commit."""
    folder, hub = tmp_path_factory.mktemp("hub"), Hub()
    pickled = shutil.copytree(tiny_decoder_dir, folder / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    coded = shutil.copytree(tiny_decoder_dir, folder / "coded")
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "m.Config", "AutoModelForCausalLM": "m.Model"}}
    (coded / "config.json").write_text(json.dumps(own))
    (coded / "m.py").write_text("raise SystemExit('code of a hub was run')")
    old = hub.push("lab/tiny", tiny_decoder_dir)
    hub.push("lab/pickled", pickled)
    hub.push("lab/coded", coded)
    encoder = folder / "encoder"
    encoder.mkdir()
    (encoder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "m.Module"}]))
    shutil.copy(coded / "m.py", encoder)
    hub.push("lab/encoder", encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        try:
            before = look("hf:lab/tiny", "hf:lab/pickled", "hf:lab/none", "hf:lab/tiny@nowhere", "hf:lab/coded")
            other = moved(tiny_decoder_dir, folder / "moved")
            new = hub.push("lab/tiny", other)
            refused = refusal_of("hf:lab/encoder")
            after = look("hf:lab/tiny", f"hf:lab/tiny@{old}", f"hf:lab/tiny@{new}", "hf:lab/tiny@main")
        finally:
            hub.stop()
    return (
        [*before, refused],
        after,
        hub.asked,
        [load_decoder(str(path)).fingerprint for path in (tiny_decoder_dir, other)],
    )


def refusal_of(uri):
    """Why an encoder is refused."""
    with pytest.raises(EncoderError) as caught:
        Encoder(uri, 32)
    return str(caught.value)


def look(*uris):
    """Of each address the sign and the fingerprint, or why there is none."""
    found = []
    for uri in uris:
        try:
            fingerprint = load_decoder(uri).fingerprint
            found.append((stamp_of(uri), fingerprint))
        except DecoderError as error:
            found.append(str(error))
    return found


def test_a_model_of_a_hub_is_the_same_decoder_as_its_files(story):
    (found, *_), _, _, (old, _) = story
    assert found[1] == old


def test_a_new_commit_is_noticed_and_an_old_one_can_still_be_named(story):
    before, (main, first, second, named), _, (old, new) = story
    assert main == second == named
    assert first == before[0]
    assert (first[1], main[1]) == (old, new)
    assert first[0] != main[0]


def test_pickles_are_not_read(story):
    (_, refused, *_), _, asked, _ = story
    assert "safetensors" in refused
    assert not [path for path in asked if path.endswith("pytorch_model.bin") and "resolve" in path]


def test_what_is_not_there_is_said_to_be_missing(story):
    (_, _, model, revision, *_), _, _, _ = story
    assert "'hf:lab/none' can't be loaded" in model
    assert "'hf:lab/tiny@nowhere' can't be loaded" in revision


def test_code_is_not_fetched(story):
    (*_, decoder, encoder), _, asked, _ = story
    assert "decoder 'hf:lab/coded' can't be loaded: it wants code that it brings or names to be run" in decoder
    assert "encoder 'hf:lab/encoder' can't be loaded: it wants code that it brings or names to be run" in encoder
    assert any("lab/coded" in path and path.endswith("config.json") for path in asked)
    assert not [path for path in asked if path.endswith(".py")]

"""What a model that MLflow serves says of its scores, from a registry that is really there or really is not."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest

from influcoder.serving import pyfunc_model as served_model
from influcoder.serving.pyfunc_model import Trust


@pytest.fixture
def registry():
    """An HTTP server that answers each question with what `says` holds: a status, and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            waits.wait(30)
            status, body = says[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *given):
            pass

    says, asked, waits = [(200, version())], [], threading.Event()
    waits.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{server.server_address[1]}")
        yield says, asked, waits
        mlflow.set_tracking_uri(before)
    waits.set()
    server.shutdown()
    server.server_close()


def version(**tags):
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    return {"model_version": {"name": "encoder", "version": "3", "tags": listed}}


def test_scores_are_marked_while_the_registry_says_so(registry):
    says, asked, _ = registry
    trust = Trust("encoder", fresh=0.0)
    assert trust.warning() == ""
    says[0] = (200, version(trust="degraded"))
    assert "scores of encoder are degraded" in trust.warning()
    says[0] = (200, version(trust="restored"))
    assert trust.warning() == ""
    assert len(asked) == 3


def test_the_registry_is_asked_once_a_minute(registry):
    _, asked, _ = registry
    trust = Trust("encoder")
    assert [trust.warning() for _ in range(5)] == [""] * 5
    assert len(asked) == 1


def test_no_champion_is_nothing_against_the_scores(registry):
    says, _, _ = registry
    says[0] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no alias champion"})
    assert Trust("encoder").warning() == ""


def test_a_registry_that_refuses_leaves_a_doubt(registry):
    says, _, _ = registry
    says[0] = (403, {"error_code": "PERMISSION_DENIED", "message": "not yours"})
    assert "nobody knows whether these scores may be trusted: PERMISSION_DENIED" in Trust("encoder").warning()


def test_a_slow_registry_holds_no_answer_up_and_is_heard_later(registry, monkeypatch):
    says, asked, waits = registry
    waits.clear()
    says[0] = (200, version(trust="degraded"))
    monkeypatch.setattr(served_model, "PATIENCE", 0.05)
    trust = Trust("encoder")
    assert "has not answered yet" in trust.warning()
    assert "has not answered yet" in trust.warning()
    assert len(asked) <= 1
    waits.set()
    for _ in range(200):
        if "degraded" in trust.warning():
            return
        threading.Event().wait(0.05)
    pytest.fail(trust.warning())


def test_a_registry_that_is_away_leaves_a_doubt(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
    try:
        assert "nobody knows whether these scores may be trusted" in Trust("encoder").warning()
    finally:
        mlflow.set_tracking_uri(before)


def test_without_a_registry_nothing_is_said(tmp_path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/none.db")
    try:
        assert Trust("encoder").warning() == ""
        assert not (tmp_path / "none.db").exists()
    finally:
        mlflow.set_tracking_uri(before)

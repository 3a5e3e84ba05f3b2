"""The object store against a real S3 server."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError, StoreError
from influcoder.settings.servers import StoreSettings
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import READERS, ObjectStore


@pytest.fixture
def store(stack, request):
    return ObjectStore(load_settings().store.model_copy(update={"prefix": f"tests/{request.node.name}"}))


def test_what_is_kept_once_is_left_alone(store):
    assert store.keep("a", b"first")
    assert not store.keep("a", b"second")
    assert store.get("a") == b"first"


def test_swap_moves_only_what_was_read(store):
    store.swap("pointer", b"1", None)
    _, version = store.read("pointer")
    store.swap("pointer", b"2", version)
    with pytest.raises(ChangedMeanwhileError):
        store.swap("pointer", b"3", version)
    with pytest.raises(ChangedMeanwhileError):
        store.swap("pointer", b"4", None)
    assert store.get("pointer") == b"2"


def test_keys_are_relative_to_the_prefix(store):
    for name in ("x/1", "x/2", "y/1"):
        store.put(name, b"")
    assert list(store.keys("x/")) == ["x/1", "x/2"]


def test_what_is_old_is_told_by_the_clock_of_the_store(store):
    store.put("log/1", b"")
    time.sleep(2.1)
    store.put("log/2", b"")
    assert store.older("log/", 2) == ["log/1"]
    assert store.older("log/", 3600) == []
    assert set(store.older("log/", 0)) == {"log/1", "log/2"}


def test_range_and_absence(store):
    store.put("bytes", b"0123456789")
    assert store.get_range("bytes", 2, 3) == b"234"
    assert store.read_if_there("absent") == (None, None)
    with pytest.raises(IntegrityError, match="is not there"):
        store.get("absent")


def test_what_may_be_missing_is_read_by_one_request(store):
    asked = []
    store._client.meta.events.register("before-send.s3", lambda request, **_: asked.append(request.method))
    store.put("there", b"1")
    for key, expected in {"there": b"1", "absent": None}.items():
        asked.clear()
        assert store.read_if_there(key)[0] == expected
        assert asked == ["GET"]


def test_a_pointer_that_was_deleted_meanwhile_is_not_moved(store):
    version = store.swap("pointer", b"1", None)
    store.delete("pointer")
    with pytest.raises(ChangedMeanwhileError):
        store.swap("pointer", b"2", version)


def test_there_is_a_connection_for_each_reader(store, caplog):
    store.put("a", b"1")
    with ThreadPoolExecutor(READERS) as pool, caplog.at_level("WARNING", "urllib3"):
        assert set(pool.map(store.get, ["a"] * 40 * READERS)) == {b"1"}
    assert "pool is full" not in caplog.text


def test_missing_bucket_is_one_clear_line(store):
    settings = load_settings().store.model_copy(update={"bucket": "no-such-bucket"})
    with pytest.raises(StoreError, match=r"bucket 'no-such-bucket' does not exist"):
        ObjectStore(settings).get("a")


def test_wrong_credentials_are_refused(store):
    settings = load_settings().store.model_copy(update={"access_key": None, "secret_key": None})
    wrong = StoreSettings(**{**settings.model_dump(), "access_key": "influcoder", "secret_key": "wrong"})
    with pytest.raises(StoreError):
        ObjectStore(wrong).get("a")


def test_server_that_is_down_is_one_clear_line():
    settings = StoreSettings(endpoint="http://127.0.0.1:9", access_key="a", secret_key="b")
    with pytest.raises(StoreError, match="does not answer"):
        ObjectStore(settings).get("a")

"""Where decoder checkpoints come from: how to tell cheaply that one changed, and how to bring it here.

Of a checkpoint far away only weights in safetensors, the configuration and the tokenizer are fetched: no pickle, and
no code, is ever on this machine.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from influcoder.addresses import cache_folder, local_files
from influcoder.errors import DecoderError, IntegrityError, RegistryError
from influcoder.settings import load_settings
from influcoder.store import ObjectStore

logger = logging.getLogger(__name__)
_CONFIG = ("config.json", "generation_config.json")
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
# A decoder in use, the one before it and two that are compared: each may be gigabytes.
COPIES = 4
_PART = ".part-"
_STALE_SECONDS = 24 * 3600
_MARK = ("tokenizer.json", "tokenizer_config.json")


def stamp_of(uri: str) -> str:
    """A cheap sign of what is at an address now: it differs where the content may, and no weights are read for it.

    Raises:
        DecoderError: there is no checkpoint.
        StoreError: the object store is out of reach.
        RegistryError: MLflow is out of reach, or knows no such model.
    """
    if uri.startswith("s3://"):
        return _digest(_objects(uri)[1])
    if uri.startswith("models:/"):
        return _digest(_model(uri)[:2])
    return _digest(_revision(uri) if uri.startswith("hf:") else local_files(uri))


def fetch(uri: str) -> Path:
    """A checkpoint of an object store or of MLflow as a directory in the cache folder; fetched once, whole or not.

    Raises:
        DecoderError: there is no checkpoint in safetensors, or it was written to while it was read.
        IntegrityError: what arrived is not what is stored.
    """
    stamp = stamp_of(uri)
    folder = cache_folder() / "decoders" / _digest((uri, stamp))[:20]
    if folder.is_dir():
        # The least used copies are the ones that go.
        os.utime(folder)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}{_PART}", dir=folder.parent))
    try:
        logger.info("fetching %s, once", uri)
        (_from_store if uri.startswith("s3://") else _from_mlflow)(uri, part)
        if stamp_of(uri) != stamp:
            raise DecoderError(f"decoder {uri!r} was written to while it was read.", "Run again when it is complete.")
        part.rename(folder)
    except OSError:
        # Another process was quicker, or the disk is full; what the other wrote is the same.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    prune(folder.parent, COPIES)
    return folder


def fetch_object(uri: str, folder: Path) -> Path:
    """One object, `s3://BUCKET/KEY`, as a file of its name in a folder.

    Raises:
        IntegrityError: there is no such object, or what arrived is not what is stored.
    """
    store, key, size, tag = _object(uri)
    path = folder / PurePosixPath(key).name
    _bring(store, key, path, size, tag)
    return path


def object_sign(uri: str) -> tuple[int, str]:
    """Size and entity tag of one object; both differ where its content does."""
    return _object(uri)[2:]


def _object(uri: str) -> tuple[ObjectStore, str, int, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    store = ObjectStore(load_settings().store.model_copy(update={"bucket": bucket, "prefix": ""}))
    found = next((item for item in store.listing(key) if item[0] == key), None)
    if found is None:
        raise IntegrityError(f"there is nothing at {uri}.", "Check bucket and key.")
    return store, *found


def prune(folder: Path, copies: int) -> None:
    """Keep the copies of decoders that were used last, and none that a killed process began a day ago.

    Args:
        folder: holds the copies.
        copies: how many stay.
    """
    found = {path: path.stat().st_mtime for path in folder.iterdir() if path.is_dir()}
    whole = sorted((path for path in found if _PART not in path.name), key=lambda path: found[path], reverse=True)
    stale = [path for path, used in found.items() if _PART in path.name and time.time() - used > _STALE_SECONDS]
    for path in (*whole[copies:], *stale):
        logger.info("deleting %s, a copy of a decoder that was not used lately", path)
        shutil.rmtree(path, ignore_errors=True)


def parts_of(uri: str, paths: Sequence[str]) -> list[str]:
    """Those of many paths that make up a checkpoint: one folder's configuration and weights, and a tokenizer.

    Raises:
        DecoderError: there is no configuration with weights in safetensors beside it, or no tokenizer.
    """
    files = [PurePosixPath(path) for path in paths]
    weighty = {file.parent for file in files if _is(file, _WEIGHTS)}
    homes = sorted(file.parent for file in files if file.name == _CONFIG[0] and file.parent in weighty)
    if not homes:
        raise DecoderError(f"{uri!r} is no decoder: there is no config.json with weights in safetensors beside it.")
    home = homes[0]
    marked = sorted({file.parent for file in files if file.name in _MARK}, key=lambda folder: (folder != home, folder))
    if not marked:
        raise DecoderError(f"{uri!r} is no decoder: it has no tokenizer.")
    weights = [str(file) for file in files if file.parent == home and _is(file, (*_CONFIG, *_WEIGHTS))]
    return weights + [str(file) for file in files if file.parent == marked[0] and _is(file, _TOKENIZER)]


def _from_store(uri: str, folder: Path) -> None:
    store, found = _objects(uri)
    known = {key: (size, tag) for key, size, tag in found}
    for key in parts_of(uri, list(known)):
        _bring(store, key, folder / PurePosixPath(key).name, *known[key])


def _bring(store: ObjectStore, key: str, path: Path, size: int, tag: str) -> None:
    store.fetch(key, path)
    # The tag of an object that was written in one piece is its MD5; of others the size has to do.
    if path.stat().st_size != size or (len(tag) == 32 and _md5(path) != tag):
        raise IntegrityError(f"{store.uri(key)} did not arrive as it is stored.", "Run the same command again.")


def _from_mlflow(uri: str, folder: Path) -> None:
    import mlflow

    root = _model(uri)[1]
    for path in parts_of(uri, _listed(lambda below: mlflow.artifacts.list_artifacts(artifact_uri=root + below), "")):
        mlflow.artifacts.download_artifacts(artifact_uri=f"{root}/{path}", dst_path=str(folder))


def _listed(look: Callable[[str], Sequence[Any]], below: str) -> list[str]:
    found: list[str] = []
    for item in look(below):
        name = PurePosixPath(item.path).name
        place = f"{below}/{name}"
        found += _listed(look, place) if item.is_dir else [place.lstrip("/")]
    return found


def _objects(uri: str) -> tuple[ObjectStore, list[tuple[str, int, str]]]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    store = ObjectStore(load_settings().store.model_copy(update={"bucket": bucket, "prefix": prefix}))
    found = store.listing("")
    if not found:
        raise DecoderError(f"there is nothing at {uri}.", "Name the prefix that holds config.json.")
    return store, found


def _model(uri: str) -> tuple[str, str]:
    """Number of a model version, and where MLflow keeps its files; a version never changes."""
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(load_settings().mlflow.tracking_uri)
    client, name = mlflow.MlflowClient(), uri.removeprefix("models:/")
    try:
        if "@" in name:
            version = client.get_model_version_by_alias(*name.split("@", 1))
        else:
            version = client.get_model_version(*name.rsplit("/", 1))
        root = client.get_model_version_download_uri(version.name, version.version)
    except (MlflowException, TypeError) as error:
        raise RegistryError(
            f"MLflow gives no {uri}: {error}", "Name models:/NAME/VERSION or models:/NAME@ALIAS."
        ) from error
    return f"{version.name}/{version.version}", root.rstrip("/")


def _revision(uri: str) -> str:
    from huggingface_hub import HfApi

    name, _, revision = uri[3:].partition("@")
    try:
        return str(HfApi().model_info(name, revision=revision or None).sha)
    except Exception as error:
        # The client lets errors of its HTTP library through.
        raise DecoderError(f"the hub gives no revision of {uri!r}: {error}") from error


def _is(file: PurePosixPath, patterns: Sequence[str]) -> bool:
    return any(file.match(pattern) for pattern in patterns)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

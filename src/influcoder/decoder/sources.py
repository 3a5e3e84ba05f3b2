"""Where decoder checkpoints come from: how to tell cheaply that one changed, and how to bring it here.

Of a checkpoint far away only weights in safetensors, the configuration and the tokenizer are fetched: no pickle, and
no code, is ever on this machine.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from influcoder.core.errors import DecoderError
from influcoder.core.files import cache_folder, prune, whole
from influcoder.settings.tree import load_settings
from influcoder.storage.download import bring
from influcoder.storage.mlflow_models import fetch_model_file, model_address, model_files
from influcoder.storage.object_store import ObjectStore

logger = logging.getLogger(__name__)
_CONFIG = ("config.json", "generation_config.json")
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*", "vocab*", "merges.txt")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
# A decoder in use, the one before it and two that are compared: each may be gigabytes.
COPIES = 4
_MARK = ("tokenizer.json", "tokenizer_config.json")


def remote_stamp(uri: str) -> str:
    """A cheap sign of what is at an address of an object store or of MLflow now; no weights are read for it.

    Raises:
        DecoderError: there is no checkpoint.
        StoreError: the object store is out of reach.
        RegistryError: MLflow is out of reach, or knows no such model.
    """
    return digest(_objects(uri)[1] if uri.startswith("s3://") else model_address(uri))


def fetch(uri: str) -> Path:
    """A checkpoint of an object store or of MLflow as a directory in the cache folder; fetched once, whole or not.

    Raises:
        DecoderError: there is no checkpoint in safetensors, or it was written to while it was read.
        IntegrityError: what arrived is not what is stored.
    """
    stamp = remote_stamp(uri)
    folder = cache_folder() / "decoders" / digest((uri, stamp))[:20]
    if folder.is_dir():
        # The least used copies are the ones that go.
        os.utime(folder)
        return folder
    logger.info("fetching %s, once", uri)
    with whole(folder, shared=True) as part:
        part.mkdir()
        (_from_store if uri.startswith("s3://") else _from_mlflow)(uri, part)
        if remote_stamp(uri) != stamp:
            raise DecoderError(f"decoder {uri!r} was written to while it was read.", "Run again when it is complete.")
    prune(folder.parent, COPIES)
    return folder


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
        bring(store, key, folder / PurePosixPath(key).name, *known[key])


def _from_mlflow(uri: str, folder: Path) -> None:
    _, root = model_address(uri)
    for path in parts_of(uri, model_files(root)):
        fetch_model_file(root, path, folder)


def _objects(uri: str) -> tuple[ObjectStore, list[tuple[str, int, str]]]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    store = ObjectStore(load_settings().store.model_copy(update={"bucket": bucket, "prefix": prefix}))
    found = store.listing("")
    if not found:
        raise DecoderError(f"there is nothing at {uri}.", "Name the prefix that holds config.json.")
    return store, found


def _is(file: PurePosixPath, patterns: Sequence[str]) -> bool:
    return any(file.match(pattern) for pattern in patterns)


def digest(content: object) -> str:
    """SHA-256 of what JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

"""Single objects of a bucket that is not ours, as files."""

import hashlib
from pathlib import Path, PurePosixPath

from influcoder.core.errors import IntegrityError
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore


def fetch_object(uri: str, folder: Path) -> Path:
    """One object, `s3://BUCKET/KEY`, as a file of its name in a folder.

    Raises:
        IntegrityError: there is no such object, or what arrived is not what is stored.
    """
    store, key, size, tag = _object(uri)
    path = folder / PurePosixPath(key).name
    bring(store, key, path, size, tag)
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


def bring(store: ObjectStore, key: str, path: Path, size: int, tag: str) -> None:
    """Fetch an object into a file, and compare it with the size and the entity tag that the store lists.

    Raises:
        IntegrityError: what arrived is not what is stored.
    """
    store.fetch(key, path)
    # The tag of an object that was written in one piece is its MD5; of others the size has to do.
    if path.stat().st_size != size or (len(tag) == 32 and _md5(path) != tag):
        raise IntegrityError(f"{store.uri(key)} did not arrive as it is stored.", "Run the same command again.")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()

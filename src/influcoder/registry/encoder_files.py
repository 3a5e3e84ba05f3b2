"""Encoder files that were fetched once, kept on this machine under the digest of their content."""

import os
import shutil
import tempfile
from pathlib import Path

from influcoder.core.files import FILES, PART, cache_folder, files_hash, prune, whole
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import Registry

# The champion, the one before it and two that are compared.
COPIES = 4


def kept_files(registry: Registry, version: EncoderVersion) -> Path | None:
    """The sentence-transformers directory of a version, fetched where it is not there; its content is verified.

    Returns:
        None where the registry does not say what the content is.
    Raises:
        IntegrityError: what was fetched is not what was registered.
    """
    digest = version.tags.get(FILES)
    if not digest:
        return None
    folder = cache_folder() / "encoders" / digest[:20]
    if folder.is_dir() and files_hash(folder) == digest:
        # The least used copies are the ones that go.
        os.utime(folder)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}{PART}", dir=folder.parent) as below:
        fetched = registry.download(version, Path(below))
        with whole(folder, shared=True) as part:
            fetched.rename(part)
    prune(folder.parent, COPIES)
    return folder

"""Encoder files that were fetched once, kept on this machine under the digest of their content."""

import os
import shutil
import tempfile
from pathlib import Path

from influcoder.core.files import PART, cache_folder, files_hash, prune, whole
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import Registry

# The champion, the one before it and two that are compared.
COPIES = 4


def encoder_files(registry: Registry, version: EncoderVersion) -> Path:
    """The sentence-transformers directory of a version, fetched where it is not there; its content is verified.

    Raises:
        IntegrityError: what was fetched is not what was registered.
    """
    copies, known = cache_folder() / "encoders", version.files_digest
    if known and _is_whole(copies / known[:20], known):
        # The least used copies are the ones that go.
        os.utime(copies / known[:20])
        return copies / known[:20]
    copies.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{(known or 'unknown')[:20]}{PART}", dir=copies) as below:
        fetched = registry.download(version, Path(below))
        digest = known or files_hash(fetched)
        folder = copies / digest[:20]
        if not _is_whole(folder, digest):
            shutil.rmtree(folder, ignore_errors=True)
            with whole(folder, shared=True) as part:
                fetched.rename(part)
    prune(copies, COPIES)
    return folder


def _is_whole(folder: Path, digest: str) -> bool:
    return folder.is_dir() and files_hash(folder) == digest

"""Fingerprints of local decoders that were loaded on this machine, so that nobody loads one to know it again."""

import hashlib
import json
import os
from pathlib import Path

from influcoder.addresses import cache_folder, local_files
from influcoder.errors import DecoderError


def note(uri: str, fingerprint: str) -> None:
    """Note what the files at a local address were when they were loaded in float32."""
    path = _path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".part-{os.getpid()}")
        part.write_text(fingerprint)
        part.replace(path)


def noted(uri: str) -> str | None:
    """The fingerprint of the decoder at a local address; None where these files were not loaded on this machine."""
    path = _path(uri)
    return path.read_text() if path is not None and path.is_file() else None


def _path(uri: str) -> Path | None:
    if uri.startswith(("hf:", "s3://", "models:/")):
        return None
    try:
        # Names count: another folder with files of these sizes and times is another decoder.
        sign = [(str(Path(name).resolve()), *rest) for name, *rest in local_files(uri)]
    except DecoderError:
        return None
    name = hashlib.sha256(json.dumps(sign).encode()).hexdigest()
    return cache_folder() / "fingerprints" / name[:20] if sign else None

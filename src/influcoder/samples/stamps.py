"""A cheap sign of what a corpus holds now: it differs where the content may, and no sample is read for it."""

import hashlib
import json
from pathlib import Path

from influcoder.core.errors import InflucoderError
from influcoder.samples.documentation import sources_of


def corpus_stamp(uri: str) -> str | None:
    """The sign; None where there is none to be had, such as from a hub that does not answer."""
    try:
        return hashlib.sha256(json.dumps(_signs(uri)).encode()).hexdigest()[:20]
    except (InflucoderError, OSError):
        return None


def corpus_address(uri: str) -> str:
    """The URI, in full where it is a path."""
    return uri if ":" in uri else str(Path(uri).resolve())


def _signs(uri: str) -> object:
    if uri.startswith("docs:"):
        return [_seen(path) for path in sources_of(uri[5:])]
    if uri.startswith("hf:"):
        return _revision(uri[3:])
    if uri.startswith("s3://"):
        from influcoder.storage.download import object_sign

        return object_sign(uri)
    return _seen(Path(uri))


def _seen(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _revision(name: str) -> str:
    from huggingface_hub import HfApi

    dataset, _, revision = name.partition("#")[0].partition("@")
    try:
        return str(HfApi().dataset_info(dataset, revision=revision or None, timeout=10).sha)
    except Exception as error:
        # The client lets errors of its HTTP library through.
        raise OSError(str(error)) from error

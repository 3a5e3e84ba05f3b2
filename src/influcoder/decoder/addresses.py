"""Where decoder checkpoints lie, and what their files look like from outside; nothing of them is loaded."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from influcoder.core.errors import DecoderError
from influcoder.core.files import files_in, seen

_FAR = ("s3://", "models:/")


def local_files(uri: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of the files that a local decoder is made of."""
    address = Address.of(uri)
    file = address.keywords.get("gguf_file")
    return (seen(Path(address.name, file)),) if file else files_in(Path(address.name))


def stamp_of(uri: str) -> str:
    """A cheap sign of what is at an address now: it differs where the content may, and no weights are read for it.

    Raises:
        DecoderError: there is no checkpoint.
        StoreError: the object store is out of reach.
        RegistryError: MLflow is out of reach, or knows no such model.
    """
    from influcoder.decoder.sources import digest, remote_stamp

    if uri.startswith(_FAR):
        return remote_stamp(uri)
    return digest(_revision(uri) if uri.startswith("hf:") else local_files(uri))


@dataclass(frozen=True)
class Address:
    """What transformers is given: a directory or a name on a hub, and keywords."""

    name: str
    keywords: dict[str, Any]

    @classmethod
    def of(cls, uri: str) -> "Address":
        """Where a URI points.

        Raises:
            DecoderError: there is no checkpoint.
        """
        if uri.startswith(_FAR):
            from influcoder.decoder.sources import fetch

            return cls(str(fetch(uri)), {})
        if uri.startswith("hf:"):
            name, _, revision = uri[3:].partition("@")
            return cls(name, {"revision": revision} if revision else {})
        path = _packaged_gguf(uri[8:]) if uri.startswith("package:") else Path(uri)
        if path.suffix == ".gguf" and path.is_file():
            return cls(str(path.parent), {"gguf_file": path.name})
        if (path / "config.json").is_file():
            return cls(str(path), {})
        raise DecoderError(
            f"{uri!r} is no decoder: there is no config.json and no .gguf file.",
            "Name a checkpoint directory, a .gguf file, package:NAME, hf:NAME, s3://BUCKET/PREFIX or models:/NAME/1.",
        )


def _packaged_gguf(package: str) -> Path:
    try:
        # The parents of a dotted name would be imported.
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ModuleNotFoundError:
        spec = None
    folder = Path(spec.origin).parent if spec and spec.origin else None
    found = sorted(folder.glob("*.gguf")) if folder else []
    if not found:
        raise DecoderError(f"package:{package}: no installed package of that name carries a .gguf file.")
    return found[0]


def _revision(uri: str) -> str:
    from huggingface_hub import HfApi

    name, _, revision = uri[3:].partition("@")
    try:
        return str(HfApi().model_info(name, revision=revision or None).sha)
    except Exception as error:
        # The client lets errors of its HTTP library through.
        raise DecoderError(f"the hub gives no revision of {uri!r}: {error}") from error

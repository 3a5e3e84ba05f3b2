"""Where decoder checkpoints lie, and what their files look like from outside; nothing of them is loaded."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from influcoder.errors import DecoderError


def files_in(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of the files of a folder."""
    return tuple(seen(path) for path in sorted(folder.glob("*")) if path.is_file()) if folder.is_dir() else ()


def local_files(uri: str) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of change of the files that a local decoder is made of."""
    address = Address.of(uri)
    file = address.keywords.get("gguf_file")
    return (seen(Path(address.name, file)),) if file else files_in(Path(address.name))


def seen(path: Path) -> tuple[str, int, int]:
    """Name, size and time of change of a file; both are -1 where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return str(path), -1, -1
    return str(path), found.st_size, found.st_mtime_ns


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
        if uri.startswith(("s3://", "models:/")):
            from influcoder.sources import fetch

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


def cache_folder() -> Path:
    """Where things are kept that can be made again: `$INFLUCODER_CACHE`, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("INFLUCODER_CACHE") or Path(home, "influcoder"))

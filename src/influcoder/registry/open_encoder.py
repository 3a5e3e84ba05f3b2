"""An encoder version of the registry, ready to embed."""

import tempfile
import weakref
from pathlib import Path

from influcoder.encoder import Encoder
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import Settings


def open_encoder(registry: Registry, version: EncoderVersion, settings: Settings) -> Encoder:
    """Fetch an encoder version and open it; its files are verified, and go when the encoder does.

    Args:
        registry: where the version is.
        version: which.
        settings: say how much of a text a text encoder sees.
    Raises:
        IntegrityError: its files are not those that were registered.
    """
    folder = tempfile.TemporaryDirectory(prefix="influcoder-encoder-")
    encoder = encoder_at(registry.download(version, Path(folder.name)), version, settings)
    weakref.finalize(encoder, folder.cleanup)
    return encoder


def encoder_at(folder: Path, version: EncoderVersion, settings: Settings) -> Encoder:
    """Open an encoder version whose files are in a folder, which must outlive it."""
    encoder = Encoder(str(folder), settings.encoder.max_tokens)
    encoder.uri = f"encoder version {version.version}"
    return encoder

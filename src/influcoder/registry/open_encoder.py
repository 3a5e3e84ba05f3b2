"""An encoder version of the registry, ready to embed."""

from pathlib import Path

from influcoder.encoder import Encoder
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import Settings


def open_encoder(registry: Registry, version: EncoderVersion, folder: Path, settings: Settings) -> Encoder:
    """Fetch an encoder version as it answers.

    Args:
        registry: where the version is.
        version: which.
        folder: where its files go; it must outlive the encoder.
        settings: say how much of a text a text encoder sees.
    """
    encoder = Encoder(str(registry.download(version, folder)), settings.encoder.max_tokens)
    encoder.uri = f"encoder version {version.version}"
    return encoder

"""An encoder version of the registry, ready to embed."""

from pathlib import Path

from influcoder.core.files import cache_folder
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
        settings: name the precision and the length limit of text encoders.
    """
    encoder = Encoder(str(registry.download(version, folder)), settings.encoder.max_tokens)
    encoder.uri = f"encoder version {version.version}"
    if settings.encoder.precision == "int8" and not encoder.in_closed_form:
        from influcoder.encoder.eight_bit import put_in_eight_bits

        put_in_eight_bits(encoder.model, cache_folder() / "eight-bit")
        encoder.precision = "int8"
    return encoder

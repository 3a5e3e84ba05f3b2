"""Encoders: loaded, distilled from a label set, embedded with."""

from typing import TYPE_CHECKING

from influcoder.lazy import lazily

if TYPE_CHECKING:
    from influcoder.encoder.distil import distil
    from influcoder.encoder.distilled import Distilled
    from influcoder.encoder.model import Encoder

__all__ = ["Distilled", "Encoder", "distil"]

__getattr__ = lazily(__name__, distil="distil", distilled="Distilled", model="Encoder")

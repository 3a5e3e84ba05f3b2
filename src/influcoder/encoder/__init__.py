"""Encoders: loaded, distilled from a label set, embedded with."""

from typing import TYPE_CHECKING

from influcoder.core.lazy import lazily

if TYPE_CHECKING:
    from influcoder.encoder.distil import distil
    from influcoder.encoder.model import Encoder
    from influcoder.encoder.result import Distilled

__all__ = ["Distilled", "Encoder", "distil"]

__getattr__ = lazily(__name__, distil="distil", model="Encoder", result="Distilled")

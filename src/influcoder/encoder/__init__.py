"""Encoders: loaded, distilled from a label set, embedded with."""

from influcoder.encoder.distil import distil
from influcoder.encoder.distilled import Distilled
from influcoder.encoder.model import Encoder

__all__ = ["Distilled", "Encoder", "distil"]

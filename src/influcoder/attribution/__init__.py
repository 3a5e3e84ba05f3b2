"""What people do with a champion: say which samples made a model say what it says."""

from influcoder.attribution.attribute import Attribution, attribute, verify

__all__ = ["Attribution", "attribute", "verify"]

"""What people do with a champion: say which samples made a model say what it says."""

from influcoder.attribution.attribute import (
    Attribution,
    Ranking,
    attribute,
    attribute_by,
    attribute_from,
    ranked,
    verify,
)

__all__ = ["Attribution", "Ranking", "attribute", "attribute_by", "attribute_from", "ranked", "verify"]

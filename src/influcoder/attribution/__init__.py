"""What people do with a champion: say which samples made a model say what it says."""

from typing import TYPE_CHECKING

from influcoder.lazy import lazily

if TYPE_CHECKING:
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

__getattr__ = lazily(__name__, attribute="Attribution Ranking attribute attribute_by attribute_from ranked verify")

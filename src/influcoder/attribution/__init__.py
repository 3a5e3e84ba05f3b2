"""What people do with a champion: say which samples made a model say what it says."""

from typing import TYPE_CHECKING

from influcoder.core.lazy import lazily

if TYPE_CHECKING:
    from influcoder.attribution.ranking import (
        Attribution,
        Ranking,
        attribute,
        attribute_by,
        attribute_from,
        ranked,
        verify,
    )

__all__ = ["Attribution", "Ranking", "attribute", "attribute_by", "attribute_from", "ranked", "verify"]

__getattr__ = lazily(__name__, ranking="Attribution Ranking attribute attribute_by attribute_from ranked verify")

"""What every section of the settings is made of."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Settings that belong together: no unknown name is let through, and none changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keep_other_defaults(cls, given: Any) -> Any:
        """A part of a section that is given in part keeps the section's own defaults for the rest."""
        if not isinstance(given, Mapping):
            return given
        fields = {name: field.default for name, field in cls.model_fields.items() if name in given}
        parts = {name: d.model_dump() for name, d in fields.items() if isinstance(d, BaseModel)}
        return {n: {**parts[n], **v} if n in parts and isinstance(v, Mapping) else v for n, v in given.items()}

"""The unit of everything: one text, of which the loss is taken on the target alone."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from influcoder.core.errors import SampleError

# The source of samples that are no part of a corpus: what the encoder was asked.
ASKED = "asked:"


@dataclass(frozen=True)
class Sample:
    """A training sample, or an output that somebody wants explained.

    Args:
        id: a name that is unique in its corpus.
        context: what the decoder is given; no loss is taken on it.
        target: what the decoder says; the loss is taken on it.
        text: what the encoder sees; context and target on two lines unless given.
        source: where it comes from (a module, a data set, a task).
        metadata: anything else that the user wants to find again.
    Raises:
        SampleError: the target is blank, so there is nothing to explain.
    """

    id: str
    context: str
    target: str
    text: str = ""
    source: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise SampleError(f"sample {self.id!r} has an empty target.", "Give it a target, or drop it.")
        if not self.text:
            object.__setattr__(self, "text", f"{self.context}\n{self.target}".strip())

    @cached_property
    def hash(self) -> str:
        """SHA-256 of context, target and text, as hex: the identity of the content, whatever its id."""
        content = json.dumps([self.context, self.target, self.text], ensure_ascii=False)
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def content_id(context: str, target: str, text: str = "") -> str:
    """A short id for samples that come without one: 16 hex digits of SHA-256 over context, NUL, target.

    A text that is not the one derived from both counts too, after another NUL.
    """
    content = f"{context}\0{target}" + (f"\0{text}" if text else "")
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]

"""Label sets: planned, validated, published once, and read with their checksums verified."""

from typing import TYPE_CHECKING

from influcoder.core.lazy import lazily

if TYPE_CHECKING:
    from influcoder.labelsets.labelset import Block, LabelSet
    from influcoder.labelsets.manifest import Manifest, latest
    from influcoder.labelsets.plan import Plan, plan_label_set, plan_spot
    from influcoder.labelsets.publish import load_label_set, publish

__all__ = [
    "Block",
    "LabelSet",
    "Manifest",
    "Plan",
    "latest",
    "load_label_set",
    "plan_label_set",
    "plan_spot",
    "publish",
]

__getattr__ = lazily(
    __name__,
    labelset="Block LabelSet",
    manifest="Manifest latest",
    plan="Plan plan_label_set plan_spot",
    publish="load_label_set publish",
)

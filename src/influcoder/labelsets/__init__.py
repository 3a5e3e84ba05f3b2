"""Label sets: planned, validated, published once, and read with their checksums verified."""

from influcoder.labelsets.labelset import Block, LabelSet
from influcoder.labelsets.manifest import Manifest
from influcoder.labelsets.plan import Plan, plan_label_set, plan_spot
from influcoder.labelsets.publish import latest, load_label_set, publish

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

"""Which split a sample belongs to is a function of its content alone.

So a sample never changes sides between label set versions: what one encoder was trained on can't turn
up in the evidence against another one.
"""

from collections.abc import Iterable

from influcoder.samples.sample import Sample

SPLITS = ("train", "selection", "report")
_UPPER_BOUNDS = {"train": 70, "selection": 80, "report": 100}


def split_of(sample: Sample) -> str:
    """The split of a sample: 70 % train, 10 % selection, 20 % report, by the first bits of its hash."""
    bucket = int(sample.hash[:8], 16) % 100
    return next(name for name, bound in _UPPER_BOUNDS.items() if bucket < bound)


def in_split(samples: Iterable[Sample], split: str) -> list[Sample]:
    """The samples that belong to one split, in their order."""
    return [sample for sample in samples if split_of(sample) == split]

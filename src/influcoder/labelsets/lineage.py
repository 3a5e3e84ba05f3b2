"""Label sets that a label set continues."""

from collections.abc import Iterator

from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.manifest import Manifest, load_manifest
from influcoder.labelsets.publish import load_label_set
from influcoder.store import ObjectStore

# More than a closed form learns from at once.
MOST_SAMPLES = 6000


def line(store: ObjectStore, label_set: str | None) -> Iterator[Manifest]:
    """A label set and all that it continues, the latest first.

    Raises:
        IntegrityError: one of them is not there, or is damaged.
    """
    while label_set:
        manifest = load_manifest(store, label_set)
        yield manifest
        label_set = manifest.identity.parent


def parents(store: ObjectStore, labels: LabelSet) -> Iterator[LabelSet]:
    """The label sets that this one continues, the latest first, as far as they are of the same teacher.

    Raises:
        IntegrityError: one of them is not there, or is damaged.
    """
    seen = len(labels.entries)
    for manifest in line(store, labels.identity.parent):
        if seen >= MOST_SAMPLES or manifest.identity.teacher != labels.identity.teacher:
            return
        yield load_label_set(store, manifest.id)
        seen += len(manifest.identity.samples)

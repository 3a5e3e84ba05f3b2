"""Label sets that a label set continues."""

from collections.abc import Iterator

from influcoder.labelsets.labelset import LabelSet
from influcoder.labelsets.publish import load_label_set, load_manifest
from influcoder.store import ObjectStore

# More than a closed form learns from at once.
MOST_SAMPLES = 6000


def parents(store: ObjectStore, labels: LabelSet) -> Iterator[LabelSet]:
    """The label sets that this one continues, the latest first, as far as they are of the same teacher.

    Raises:
        IntegrityError: one of them is not there, or is damaged.
    """
    seen, parent = len(labels.entries), labels.identity.parent
    while parent and seen < MOST_SAMPLES:
        manifest = load_manifest(store, parent)
        if manifest.identity.teacher != labels.identity.teacher:
            return
        yield load_label_set(store, parent)
        seen, parent = seen + len(manifest.identity.samples), manifest.identity.parent

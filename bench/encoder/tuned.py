"""The product's own fine-tuning on the bench's labels: all pairs of a batch, stopped early."""

import numpy as np

from bench.encoder.setting import Setting
from bench.lds.setting import bench_folder, key, write
from influcoder.encoder import Encoder, distil
from influcoder.influence.features.cache import FeatureTable
from influcoder.influence.features.labeller import Labelled
from influcoder.influence.teacher import Teacher
from influcoder.labelsets import LabelSet, Plan
from influcoder.labelsets.labelset import assemble
from influcoder.labelsets.plan import Entry
from influcoder.settings.labels import EncoderSettings


def tuned(setting: Setting, window: int, seed: int) -> np.ndarray:
    """Vectors of all samples by a fine-tuned encoder; what was trained before is read."""
    settings = EncoderSettings(recipe="fine-tune", max_tokens=window, seed=seed)
    # Neither is a matter of fine-tuning.
    facts = settings.model_dump()
    path = bench_folder() / "encoders" / "tuned" / f"{key(setting.hashes, setting.teacher, facts)}.npy"
    if not path.is_file():
        found = distil(Encoder(settings.base, window), labels(setting), settings)
        vectors = found.encoder.embed(setting.texts)
        write(path, lambda file: np.save(file, vectors))
    return np.load(path)


def labels(setting: Setting) -> LabelSet:
    """The train and selection blocks as a label set of one corpus."""
    entries, rows = [], []
    for split in ("train", "selection"):
        block = setting.blocks[split]
        for role, places in (("query", block.queries), ("candidate", block.candidates)):
            entries += [Entry(setting.samples[place], role, split) for place in places]
            rows += places.tolist()
    ones = np.ones(len(rows), np.float32)
    table = FeatureTable(tuple(setting.hashes[row] for row in rows), setting.own[rows], ones, ones, 0 * ones)
    plan = Plan("training", tuple(entries), (("bench", "bench"),))
    return assemble(plan, Teacher(decoder_fingerprint="bench"), "bench", Labelled(table, {}, len(rows)))

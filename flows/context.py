"""Where a flow or a command works: the settings, and the servers that they name."""

from dataclasses import dataclass
from typing import Any

from influcoder.registry.champions import Champions
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import Settings, load_settings
from influcoder.storage.object_store import ObjectStore


@dataclass(frozen=True)
class Place:
    """Settings, store and registry that belong together.

    Args:
        settings: as they were when the work began.
        store: the bucket that they name.
        registry: the MLflow server that they name.
    """

    settings: Settings
    store: ObjectStore
    registry: Registry

    @property
    def champions(self) -> Champions:
        """Who is champion here: the journal, and the alias that follows it."""
        return Champions(self.store, self.registry)


def load_place(**overrides: Any) -> Place:
    """The place that the settings name now; nothing is connected to yet.

    Args:
        overrides: settings that win over environment and file; None says nothing.
    Raises:
        SettingsError: see `load_settings`.
    """
    settings = load_settings(**overrides)
    return Place(settings, ObjectStore(settings.store), Registry(settings.mlflow))

"""The journal for a terminal, and the alias brought in line with it."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from influcoder.core.provenance import person
from influcoder.registry.champions import Champions
from influcoder.registry.journal import Entry, entries
from influcoder.registry.mlflow_registry import Registry
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore


def read() -> list[Entry]:
    """All entries, verified; MLflow is not asked."""
    settings = load_settings()
    return entries(ObjectStore(settings.store), settings.mlflow.model)


def champions() -> Champions:
    """Journal and alias of the settings."""
    settings = load_settings()
    return Champions(ObjectStore(settings.store), Registry(settings.mlflow))


def mend(adopt: bool, reason: str) -> str:
    """Let the journal follow the alias, or the alias the journal; a sentence about it."""
    if adopt:
        return f"entry {(entry := champions().adopt(person(), reason)).number}: version {entry.version} is adopted"
    entry = champions().repair(person(), reason)
    return f"the alias points to version {entry.version}, as entry {entry.number} says"


def table(found: Sequence[Entry]) -> Table:
    """The entries as a table, oldest first."""
    grid = Table(title="Journal", title_justify="left")
    for name in ("number", "time", "actor", "action", "version", "prior", "reason"):
        grid.add_column(name, justify="right" if name in ("number", "version", "prior") else "left", overflow="fold")
    for entry in found:
        place = (str(entry.number), entry.created, escape(entry.actor), entry.action)
        grid.add_row(*place, entry.version, entry.prior or "none", escape(entry.reason))
    return grid

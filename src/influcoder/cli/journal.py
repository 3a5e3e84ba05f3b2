"""The journal for a terminal, and the alias brought in line with it."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from flows.context import load_place
from influcoder.core.provenance import person
from influcoder.registry.journal import Entry, entries


def read() -> list[Entry]:
    """All entries, verified; MLflow is not asked."""
    place = load_place()
    return entries(place.store, place.registry.model)


def mend(adopt: bool, reason: str) -> str:
    """Let the journal follow the alias, or the alias the journal; a sentence about it."""
    champions = load_place().champions
    if adopt:
        return f"entry {(entry := champions.adopt(person(), reason)).number}: version {entry.version} is adopted"
    entry = champions.repair(person(), reason)
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

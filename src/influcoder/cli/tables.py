"""Tables that several commands print."""

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from influcoder.labelsets.estimate import estimate
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what is to be said of each, a line a name."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def plan_table(decoder: str | None, corpus: str | None) -> Table:
    """Samples, what is cached, expected time and bytes."""
    settings = load_settings(decoder=decoder or None, corpus=corpus or None)
    found = estimate(settings, ObjectStore(settings.store))
    rate = f"{found.tokens_per_second:.0f} tokens a second, measured now"
    rows = [
        ("decoder", f"{settings.decoder}, fingerprint {found.fingerprint[:12]}"),
        ("corpus", settings.corpus),
        ("samples", f"{found.samples}"),
        ("cached", f"{found.cached}, the probe's among them"),
        ("to label", f"{found.samples - found.cached}, {found.tokens} tokens"),
        ("cut by the length limit", f"{found.cut_share:.0%} of the tokens (teacher.max_tokens)"),
        ("expected time", f"{_duration(found.seconds)}, at {rate}" if found.tokens else "none"),
        ("expected size", f"{found.feature_bytes / 1e6:.1f} MB of features, {found.bytes_per_sample} bytes a sample"),
    ]
    return facts("influcoder label would take", rows)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


# Where nobody looks at a terminal (a file, a pipe), 80 columns would break every table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table: an object, or one a line")]


def print_json(row: Any) -> None:
    """One JSON value on a line of its own; what is no number there, such as NaN, is null."""
    print(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and value - value != 0 else value

"""Tables that several commands print."""

import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what is to be said of each, a line a name."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


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

"""Where commands print to."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

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

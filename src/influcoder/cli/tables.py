"""Tables that several commands print."""

from collections.abc import Iterable

from rich.table import Table


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what is to be said of each, a line a name."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table

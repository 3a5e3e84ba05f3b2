"""Tables that several commands print."""

from collections.abc import Iterable, Mapping

from rich.table import Table


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what is to be said of each, a line a name."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def agreement_words(tags: Mapping[str, str]) -> str:
    """A version's agreement at training between its floor and its ceiling; what its tags do not say is unknown."""
    floor = "floor unknown"
    if "agreement.floor" in tags:
        lift = f"{tags['agreement.lift']} [{tags['agreement.lift.lo']}, {tags['agreement.lift.hi']}]"
        floor = f"floor {tags['agreement.floor']} ({tags['agreement.floor.of']}), lift {lift}"
    interval = f"{tags['agreement.rho']} [{tags['agreement.lo']}, {tags['agreement.hi']}]"
    return f"{interval}, {floor}, ceiling {tags.get('labels.ceiling', 'unknown')}"

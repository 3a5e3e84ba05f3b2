"""What the encoder was asked, and why it ceased to be right."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from influcoder.cli.tables import AsJson, console
from influcoder.core.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from influcoder.samples.query_log import Batch


def asked(
    as_json: AsJson = False,
    purge: Annotated[bool, typer.Option("--purge", help="delete the log, or what lies before --before")] = False,
    expire: Annotated[bool, typer.Option("--expire", help="delete what is older than asked.keep_days")] = False,
    before: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="a UTC day, for --purge")] = None,
) -> None:
    """Say what the encoder was asked, by day, or delete the log; spot labels are drawn from it.

    Examples: `influcoder asked`, `influcoder asked --purge --before 2026-11-01`
    """
    if as_json + purge + expire > 1 or (before and not purge):
        raise SettingsError("--json, --purge and --expire exclude each other.", "--before belongs to --purge.")
    from flows.context import load_place
    from influcoder.samples import query_log as log

    place = load_place()
    store, settings = place.store, place.settings.asked
    if purge or expire:
        gone = log.expire(store, settings) if expire else log.purge(store, before.date() if before else None)
        console.print(f"{gone} objects of the log are deleted; what label sets hold already stays in them")
    elif as_json:
        for line in log.rows(list(log.read(store))):
            print(line)
    else:
        console.print(_table(list(log.read(store)), settings.log))


def cause(check_id: Annotated[str, typer.Argument(help="id of a check")]) -> None:
    """Say why agreement fell in a check: the decoder moved, the data moved, both, the labels are noisy, or unclear.

    Example: `influcoder cause 0f3a…`
    """
    from flows.cause import cause as flow

    console.print(f"cause: {flow(check_id)}")


def _table(found: "list[Batch]", kept: bool) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from influcoder.samples.query_log import day_of

    days: dict[date, list[Batch]] = {}
    for batch in found:
        days.setdefault(day_of(batch.key), []).append(batch)
    table = Table(title="What the encoder was asked", title_justify="left")
    for name in ("day", "questions", "unreadable", "the last of them"):
        table.add_column(name, justify="right" if name in ("questions", "unreadable") else "left")
    for day, batches in days.items():
        questions = [question for batch in batches for question in batch.questions]
        last = " ".join(questions[-1].text.split()) if questions else ""
        unreadable = sum(bool(batch.damaged) for batch in batches)
        table.add_row(str(day), str(len(questions)), str(unreadable), escape(last[:80]))
    table.caption = "delete it with: influcoder asked --purge" if kept else "asked.log is off: nothing is written"
    return table

"""Commands about alerts: try the channels, see the outbox, deliver what waits."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from influcoder.cli.tables import console
from influcoder.core.errors import AlertError, SettingsError

if TYPE_CHECKING:
    from influcoder.settings.alerts import AlertSettings

app = typer.Typer(no_args_is_help=True, help="Who hears of what goes wrong. Example: `influcoder alerts test`")


@app.command()
def test() -> None:
    """Send a test message to every channel and say which ones took it.

    Example: `INFLUCODER_ALERTS__CHANNELS='["mailto://user:password@example.org"]' influcoder alerts test`
    """
    from monitoring.alerts.alert import OutboxEntry
    from monitoring.alerts.channels import send
    from monitoring.alerts.compose import test_message
    from monitoring.alerts.policy import Message
    from monitoring.alerts.render import render

    settings = _with_channels()
    message = render(Message((OutboxEntry(alert=test_message(), channels=()),)))
    failed = []
    for channel in settings.channels:
        error = send(channel, message, "info")
        console.print(f"{channel.name}: {escape(error) if error else 'the message was taken'}")
        failed += [channel.name] if error else []
    if failed:
        raise AlertError(f"the test did not reach {', '.join(failed)}.", "Mend alerts.channels in the settings.")


@app.command("list")
def show(
    waiting: Annotated[bool, typer.Option("--waiting", help="only what has not reached every channel")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of a table")] = False,
) -> None:
    """Show every alert in the outbox, oldest first, and how far it got.

    Examples: `influcoder alerts list`, `influcoder alerts list --waiting`
    """
    from flows.context import load_place
    from monitoring.alerts.outbox import ways

    listed = [way for way in ways(load_place().store) if way.waits_for or not waiting]
    if as_json:
        for way in listed:
            channels = {name: d.outcome if d else "waiting" for name, d in way.deliveries.items()}
            row = way.entry.alert.model_dump(mode="json")
            print(json.dumps({"id": way.entry.id, "alert": row, "channels": channels}, ensure_ascii=False))
        return
    grid = Table(title="Alerts", title_justify="left")
    for name in ("id", "raised", "kind", "what", "delivered to", "waits for", "given up on"):
        grid.add_column(name, overflow="fold")
    for way in listed:
        alert = way.entry.alert
        open_or_lost = {*way.waits_for, *way.lost_on}
        arrived = [name for name in way.deliveries if name not in open_or_lost]
        places = (", ".join(names) or "-" for names in (arrived, way.waits_for, way.lost_on))
        grid.add_row(alert.id, alert.created, alert.kind, escape(alert.title), *places)
    console.print(grid)


@app.command()
def deliver() -> None:
    """Look whether a check is overdue or an approval waits, and deliver; it needs neither Prefect nor a worker.

    Example, for the crontab of a machine that watches the worker: `*/15 * * * * influcoder alerts deliver`
    """
    from flows.context import load_place
    from monitoring.alerts.channels import channels_for
    from monitoring.alerts.deliver import deliver as work
    from monitoring.alerts.deliver import utc_now
    from monitoring.alerts.outbox import Outbox
    from monitoring.alerts.reminders import overdue, unanswered

    place, settings = load_place(), _with_channels()
    store, model, now = place.store, place.registry.model, utc_now()
    late = overdue(settings, store, model, now)
    for alert in (*([late] if late else []), *unanswered(store, model, now)):
        Outbox(store).post(alert, channels_for(alert.kind, settings))
    done = work(settings, store)
    for channel in settings.channels:
        arrived, gone = done.delivered.get(channel.name, []), done.given_up.get(channel.name, [])
        error = done.failed.get(channel.name, "")
        words = [f"{len(arrived)} messages delivered", f"{len(gone)} alerts given up" if gone else "", escape(error)]
        console.print(f"{channel.name}: {'; '.join(word for word in words if word)}")
    if done.failed or done.given_up:
        raise AlertError("not every channel took its messages.", "What was not given up is tried again.")


def _with_channels() -> "AlertSettings":
    from influcoder.settings.tree import load_settings

    settings = load_settings().alerts
    if not settings.channels:
        raise SettingsError(
            "no channel is set, so nobody hears of anything.",
            'Put Apprise URLs into the settings: [alerts] channels = ["mailto://…"]',
        )
    return settings

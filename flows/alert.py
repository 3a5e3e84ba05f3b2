"""Alerts: one call for flows that have something to tell, and the flow that delivers what is still in the outbox."""

import logging

from prefect import flow
from prefect.runtime import flow_run

from flows.context import Place, load_place
from influcoder.core.errors import AlertError
from monitoring.alerts.alert import Alert
from monitoring.alerts.channels import channels_for
from monitoring.alerts.deliver import deliver, utc_now
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.reminders import overdue as late
from monitoring.alerts.reminders import unanswered

log = logging.getLogger("influcoder.alerts")


def notify(place: Place, alert: Alert) -> None:
    """Tell people; whatever comes of it, nothing is raised and the flow goes on.

    The alert is written into the outbox, then delivered for as long as `alerts.patience_seconds` allow. What is not
    delivered by then, the deployment `alert` delivers. The same occurrence is told once, however often it is notified.

    Args:
        place: its settings name the channels, its store holds the outbox.
        alert: what to tell, see `monitoring.alerts.compose`; a link to the flow run is added.
    """
    settings = place.settings.alerts
    try:
        linked = alert.with_links({"Prefect run": flow_run.ui_url}) if flow_run.ui_url else alert
        Outbox(place.store).post(linked, channels_for(alert.kind, settings))
        log.warning("alert %s: %s", alert.id, alert.title)
        deliver(settings, place.store, patience=settings.patience_seconds)
    except Exception as error:
        # A check whose verdict nobody hears is worth more than no check.
        log.error("alert %s was not written into the outbox (%s): %s", alert.id, alert.title, error)


@flow(name="alert", log_prints=True)
def alert() -> int:
    """Deliver what waits in the outbox, and delete what is old; how many messages arrived.

    Raises:
        AlertError: alerts were given up, which must not pass unseen.
    """
    place = load_place()
    settings = place.settings.alerts
    done = deliver(settings, place.store)
    Outbox(place.store).expire(settings.keep_days * 24 * 3600)
    if done.given_up:
        names = ", ".join(f"{len(ids)} on {channel}" for channel, ids in done.given_up.items())
        raise AlertError(f"alerts were given up: {names}.", "Run: influcoder alerts list, influcoder alerts test")
    return sum(map(len, done.delivered.values()))


@flow(name="overdue", log_prints=True)
def overdue() -> int:
    """Remind people of what nobody did in time; of how much there is to remind."""
    place, now = load_place(), utc_now()
    store, model = place.store, place.registry.model
    check = late(place.settings.alerts, store, model, now)
    reminders = [*([check] if check else []), *unanswered(store, model, now)]
    for reminder in reminders:
        print(reminder.title)
        notify(place, reminder)
    return len(reminders)

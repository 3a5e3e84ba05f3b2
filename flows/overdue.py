"""No check in time, or a version that waits for a person → an alert."""

from prefect import flow

from flows.alert import notify
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.approvals import unanswered
from monitoring.alerts.deliver import utc_now
from monitoring.alerts.overdue import overdue as late


@flow(name="overdue", log_prints=True)
def overdue() -> int:
    """Remind people of what nobody did in time; of how much there is to remind."""
    settings, now = load_settings(), utc_now()
    store, model = ObjectStore(settings.store), settings.mlflow.model
    check = late(settings.alerts, store, model, now)
    alerts = [*([check] if check else []), *unanswered(store, model, now)]
    for alert in alerts:
        print(alert.title)
        notify(settings, store, alert)
    return len(alerts)

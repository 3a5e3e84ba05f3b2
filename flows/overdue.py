"""No check in time → an alert."""

from prefect import flow

from flows.alert import notify
from influcoder.settings import load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.deliver import utc_now
from monitoring.alerts.overdue import overdue as late


@flow(name="overdue", log_prints=True)
def overdue() -> bool:
    """Compare the newest check's age with the expected interval; whether it is too old."""
    settings = load_settings()
    store = ObjectStore(settings.store)
    alert = late(settings.alerts, store, settings.mlflow.model, utc_now())
    if alert is None:
        return False
    print(alert.title)
    notify(settings, store, alert)
    return True

"""A version that waits for a person, who has to hear of it: a retraining that waits holds up the ones after it."""

from datetime import datetime, timedelta

from influcoder.alerting import AlertKind
from influcoder.store import ObjectStore
from monitoring.alerts.alert import Alert

DAY = timedelta(days=1)


def unanswered(store: ObjectStore, model: str, now: datetime) -> list[Alert]:
    """An alert for each version that waits for approval, once a day for as long as it does.

    Args:
        store: holds what was offered to the gate.
        model: the registered model that the versions are of.
        now: UTC.
    """
    folder = f"promotions/{model}/"
    if not any(True for _ in store.keys(folder)):
        return []
    # It brings torch with it, and is not needed before something was offered.
    from monitoring.promotion import waiting

    return [_reminder(offer.version, offer.drawn, offer.retraining, now) for offer in waiting(store, model)]


def _reminder(version: str, since: str, retraining: str, now: datetime) -> Alert:
    waited = max(now - datetime.fromisoformat(since), timedelta(0))
    answers = f" It answers check {retraining}." if retraining else ""
    return Alert(
        kind=AlertKind.APPROVAL,
        subject=f"encoder {version}",
        occurrence=f"offered {since}, day {waited // DAY}",
        title=f"encoder {version} waits for approval",
        what=f"Encoder {version} passed the gate and waits for a person, since {waited / timedelta(hours=1):.0f} hours."
        f"{answers}",
        sure="What the gate measured stands on the version's page in MLflow.",
        doing="The champion stays until somebody answers, and no other retraining begins meanwhile.",
        todo=(
            f"Approve: `influcoder approve {version} --reason TEXT`",
            f"Reject: `influcoder approve {version} --reject --reason TEXT`",
            "See where it stands: `influcoder status`",
        ),
        created=now.replace(microsecond=0).isoformat(),
    )

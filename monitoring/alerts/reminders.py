"""What nobody did in time: a check of the champion, and an answer about a version that waits for a person."""

from datetime import datetime, timedelta

from influcoder.registry.journal import entries
from influcoder.settings.alerts import AlertKind, AlertSettings
from influcoder.storage.object_store import ObjectStore
from monitoring.alerts.alert import Alert

DAY = timedelta(days=1)


def overdue(settings: AlertSettings, store: ObjectStore, model: str, now: datetime) -> Alert | None:
    """An alert where the newest check is older than `check_within_hours`, once a day for as long as that lasts.

    A champion counts from its promotion on, so a fresh one has the same time for its first check; without a champion
    there is nothing to check.

    Args:
        settings: what counts as in time.
        store: holds checks and the journal.
        model: the registered model whose champion is checked.
        now: UTC.
    """
    reigns = [entry for entry in entries(store, model) if entry.action.moves]
    if not reigns:
        return None
    # It brings torch with it, and is not needed before there is a champion.
    from monitoring.checks.record import checks

    found = checks(store)
    last, name = reigns[-1].created, f"entry {reigns[-1].number}"
    if found and datetime.fromisoformat(found[-1].created) > datetime.fromisoformat(last):
        last, name = found[-1].created, f"check {found[-1].id}"
    late = now - datetime.fromisoformat(last) - timedelta(hours=settings.check_within_hours)
    if late <= timedelta(0):
        return None
    hours = (now - datetime.fromisoformat(last)).total_seconds() / 3600
    since = f"The newest check is of {last}" if name.startswith("check") else f"There was none since {last}"
    return Alert(
        kind=AlertKind.SCHEDULE,
        subject="agreement check",
        occurrence=f"{name}, day {late // DAY}",
        title=f"no check for {hours:.0f} hours",
        what=f"Encoder {reigns[-1].version} is the champion, and nobody looks after it. {since}; "
        f"one was due within {settings.check_within_hours:g} hours.",
        sure="Checks are counted in the store, so a lost event or a server that is away makes no such alert.",
        doing="The schedule goes on trying. Until a check is done, drift goes unseen and answers are unguarded.",
        todo=(
            "See what is wrong: `influcoder status`",
            "Check now: `influcoder check`",
            "Look for failed runs of `check`, and for a worker that runs, in Prefect",
        ),
        created=now.replace(microsecond=0).isoformat(),
    )


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
    from monitoring.loop.promotion import waiting

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

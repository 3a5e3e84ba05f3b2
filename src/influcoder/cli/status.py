"""Everything that a person on call asks first, on one screen; a server that is away does not hide the rest."""

from collections.abc import Callable
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from influcoder.alerting import AlertSettings
from influcoder.cli import chronicle
from influcoder.cli.stack import Stack
from influcoder.cli.tables import facts
from influcoder.errors import InflucoderError
from influcoder.journal import entries
from influcoder.labelsets.manifest import latest
from influcoder.registered import agreement_words
from influcoder.registry import CHALLENGER, CHAMPION, EncoderVersion, Registry
from influcoder.settings import Settings, load_settings
from influcoder.store import ObjectStore
from monitoring.alerts.state import problems, ways
from monitoring.breaker import degraded, failures
from monitoring.check import checks
from monitoring.explained import load_cause
from monitoring.records import Verdict
from monitoring.retraining import Case


def gather(stack: Stack) -> Table:
    """The status as a table of two columns."""
    settings = load_settings()
    wrong: list[str] = []

    def line(name: str, value: Callable[[], str]) -> tuple[str, str]:
        try:
            return name, value()
        except InflucoderError as error:
            wrong.append(str(error))
            return name, "unknown"

    store = ObjectStore(settings.store)
    rows = [
        ("decoder", settings.decoder),
        ("corpus", settings.corpus),
        line("champion", lambda: _version(_registry().find(CHAMPION), wrong)),
        line("challenger", lambda: _version(_registry().find(CHALLENGER))),
        line("journal", lambda: chronicle.status(wrong)),
        line("breaker", lambda: _breaker(store, settings, wrong)),
        line("latest labels", lambda: latest(store) or "none"),
        line("last check", lambda: _last_check(store, wrong)),
        line("alerts", lambda: _alerts(settings.alerts, store, wrong)),
        line("next check", _next_check),
        ("servers", ", ".join(f"{name} {url}" for name, url in stack.urls().items()) or "not of a local stack"),
    ]
    rows.append(("what is wrong", "\n".join(dict.fromkeys(wrong)) or "nothing"))
    return facts("Influcoder", rows)


def _registry() -> Registry:
    return Registry(load_settings().mlflow)


def _version(found: EncoderVersion | None, wrong: list[str] | None = None) -> str:
    if found is None:
        if wrong is not None:
            wrong.append("there is no champion yet. Run: influcoder train, then influcoder promote")
        return "none"
    tags = found.tags
    return escape(
        f"version {found.version}, agreement {agreement_words(tags)}, labels {found.label_set_id}, "
        f"decoder {found.decoder_fingerprint[:12]}"
    )


def _breaker(store: ObjectStore, settings: Settings, wrong: list[str]) -> str:
    found = entries(store, settings.mlflow.model)
    if said := degraded(found):
        wrong.append(said)
        return "open: retraining has stopped"
    return f"closed, {len(failures(found))} of {settings.retraining.failures} failures in a row"


def _last_check(store: ObjectStore, wrong: list[str]) -> str:
    found = checks(store)
    if not found:
        return "none"
    last = found[-1]
    if last.verdict is Verdict.DRIFT:
        record = Case(store, last.id).record
        if record is None:
            wrong.append(f"check {last.id} found drift and is not answered. Run: influcoder sweep")
        elif not record.promoted:
            wrong.append(f"the retraining for check {last.id} is {record.phase}: {record.reason}")
    rho = last.figures["rho"]
    spent = f"; {last.spent}" if last.spent else ""
    bounds = f", {last.bounds}" if last.bounds else ""
    cause = load_cause(store, last.id)
    why = f"; cause: {cause.cause}" if cause else ""
    said = f"{last.verdict} at {last.created}, agreement {rho['value']:.3f} [{rho['lo']:.3f}, {rho['hi']:.3f}]"
    return escape(f"{said}{bounds}; {last.judgement.reason}{why}{spent}")


def _alerts(settings: AlertSettings, store: ObjectStore, wrong: list[str]) -> str:
    listed = ways(store)
    wrong.extend(problems(settings, store, listed, datetime.now(UTC)))
    names = ", ".join(channel.name for channel in settings.channels) or "nobody"
    waiting = sum(1 for way in listed if way.waits_for)
    return f"{len(listed)} raised, {waiting} waiting; told: {names}"


def _next_check() -> str:
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateName,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    scheduled = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"])))
    checks_only = FlowFilter(name=FlowFilterName(any_=["check"]))
    try:
        with get_client(sync_client=True) as client:
            order = FlowRunSort.EXPECTED_START_TIME_ASC
            runs = client.read_flow_runs(flow_filter=checks_only, flow_run_filter=scheduled, sort=order, limit=1)
            if not runs or runs[0].expected_start_time is None:
                return "none is scheduled"
            flow = client.read_flow(runs[0].flow_id)
    except (httpx.HTTPError, RuntimeError) as error:
        raise InflucoderError("Prefect does not answer.", "Run: influcoder up") from error
    start = runs[0].expected_start_time
    hours = (start.timestamp() - datetime.now(UTC).timestamp()) / 3600
    return f"{flow.name} at {start:%Y-%m-%d %H:%M} UTC, in {hours:.1f} hours"

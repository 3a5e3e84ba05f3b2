"""Run deployments through the worker and follow them, as the demo and tests do."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter

from influcoder.core.errors import ServiceError

Say = Callable[[str], None]
POLL_SECONDS = 1.0
LAST_SECONDS = 5.0
_FLOW_RUNS = "prefect.flow_runs"
_FINISHED = "Finished in state"
_LATE = 50
_ROUTINE = ("Running ", "Executing deployment", "Deployment step", "All deployment", "Beginning ", "Finished ", "View ")


def run(name: str, say: Say, silence: float = 900.0, **parameters: Any) -> FlowRun:
    """Run a deployment on the worker, passing on what it logs, and wait for its end.

    Args:
        name: of the deployment and of its flow.
        say: is given a line for each that the run logs.
        silence: seconds without a line after which the run is given up.
        parameters: the flow's.
    Raises:
        ServiceError: it fails, or says nothing for too long; the message is the flow's own.
    """
    flow_run: Any = run_deployment(f"{name}/{name}", parameters=parameters, timeout=0, as_subflow=False)
    return follow(flow_run.id, name, say, silence)


def follow(flow_run_id: UUID, name: str, say: Say, silence: float = 900.0) -> FlowRun:
    """Wait for the end of a flow run, passing on what it logs."""
    end, seen = time.monotonic() + silence, set[UUID]()
    with get_client(sync_client=True) as client:
        while time.monotonic() < end:
            flow_run = client.read_flow_run(flow_run_id)
            if _pass_on(client, flow_run_id, seen, say):
                end = time.monotonic() + silence
            if flow_run.state and flow_run.state.is_final():
                _hear_out(client, flow_run_id, seen, say)
                if flow_run.state.is_completed():
                    return flow_run
                raise ServiceError(
                    f"flow run {name} {flow_run.name} ended as {flow_run.state.name}: {flow_run.state.message}"
                )
            time.sleep(POLL_SECONDS)
    raise ServiceError(f"flow run {name} has said nothing for {silence:.0f} s.", "Is the worker running?")


def started_by_event(name: str, since: datetime, seconds: float) -> FlowRun | None:
    """The run of a deployment that a trigger started since a moment, None where there is none in time."""
    end = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(f"{name}/{name}")
        while time.monotonic() < end:
            runs = [run for run in client.read_flow_runs(limit=50) if run.deployment_id == deployment.id]
            fresh = [run for run in runs if run.created and run.created >= since]
            if fresh:
                return min(fresh, key=lambda run: run.created or since)
            time.sleep(POLL_SECONDS)
    return None


def events(name: str, since: datetime, at_least: int = 0, seconds: float = 30.0) -> list[dict[str, Any]]:
    """Events of a name that occurred after a moment and that the server has seen, oldest first.

    Args:
        name: of the events.
        since: the moment.
        at_least: wait for so many; the server writes events down some seconds after it has taken them.
        seconds: how long to wait for them.
    """
    wanted = EventFilter(event=EventNameFilter(name=[name]), occurred=EventOccurredFilter(since=since))
    body = {"filter": wanted.model_dump(mode="json"), "limit": 50}
    end = time.monotonic() + seconds
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json=body).json()["events"]
        while len(found) < at_least and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            found = client.request("POST", "/events/filter", json=body).json()["events"]
    rows = [{"event": e["event"], "occurred": e["occurred"], "payload": e["payload"]} for e in found]
    return sorted(rows, key=lambda row: str(row["occurred"]))


def _hear_out(client: SyncPrefectClient, flow_run_id: UUID, seen: set[UUID], say: Say) -> None:
    """Pass on the last lines, which a run hands in some moments after its end; a killed one has none."""
    its_own = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    end = time.monotonic() + LAST_SECONDS
    while time.monotonic() < end:
        last = client.read_logs(its_own, limit=5, sort=LogSort.TIMESTAMP_DESC)
        if any(log.name == _FLOW_RUNS and log.message.startswith(_FINISHED) for log in last):
            break
        time.sleep(0.2)
    _pass_on(client, flow_run_id, seen, say)


def _pass_on(client: SyncPrefectClient, flow_run_id: UUID, seen: set[UUID], say: Say) -> bool:
    """Whether there was something new; what was seen is added to."""
    # A flow that calls others logs through their runs.
    parent = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]))
    runs = [flow_run_id, *(run.id for run in client.read_flow_runs(flow_run_filter=parent))]
    logs = client.read_logs(
        LogFilter(flow_run_id=LogFilterFlowRunId(any_=runs)),
        # Runs and tasks hand in their lines in batches, so an older one may come after a newer one.
        offset=max(0, len(seen) - _LATE),
        limit=_LATE + 100,
        sort=LogSort.TIMESTAMP_ASC,
    )
    new = [log for log in logs if log.id not in seen]
    seen.update(log.id for log in new)
    for log in new:
        if log.message.strip() and not _is_routine(log.name, log.message):
            say(log.message.splitlines()[0])
    return bool(new)


def _is_routine(logger: str, message: str) -> bool:
    """What Prefect says of every run is for the run's page."""
    if logger != _FLOW_RUNS:
        return logger.startswith("prefect.")
    return message.startswith(_ROUTINE)

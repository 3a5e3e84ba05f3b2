"""Flow runs whose process died: Prefect is told to call them crashed, which gives their concurrency slot back.

Without it a killed run reads as running for ever, and holds its deployment's slot until the lease of five minutes ends.
"""

import os

from influcoder.local.prefect_api import ask

NAME = "influcoder: a flow run without a heartbeat has crashed"
# Three heartbeats; see PREFECT_FLOWS_HEARTBEAT_FREQUENCY in the stack's environment.
SILENCE_SECONDS = 90
_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = tuple(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed"))
_RESOURCE = "prefect.resource.id"


def watch_for_dead_runs(api: str) -> None:
    """Create the automation, or bring the one that is there up to date.

    Args:
        api: address of the Prefect API.
    Raises:
        ServiceError: Prefect does not answer, or refuses it.
    """
    trigger = {
        "type": "event",
        "posture": "Proactive",
        "after": [_HEARTBEAT],
        "expect": [_HEARTBEAT, *_ENDS],
        "match": {_RESOURCE: "prefect.flow-run.*"},
        "for_each": [_RESOURCE],
        "threshold": 1,
        "within": SILENCE_SECONDS,
    }
    message = f"there was no heartbeat for {SILENCE_SECONDS} s: its process was killed, or its machine went away"
    action = {"type": "change-flow-run-state", "state": "CRASHED", "message": message}
    wanted = {"name": NAME, "description": message, "enabled": True, "trigger": trigger, "actions": [action]}
    there = ask("POST", f"{api}/automations/filter", {"automations": {"name": {"any_": [NAME]}}})
    if there:
        ask("PUT", f"{api}/automations/{there[0]['id']}", wanted)
    else:
        ask("POST", f"{api}/automations/", wanted)


if __name__ == "__main__":
    watch_for_dead_runs(os.environ["PREFECT_API_URL"])

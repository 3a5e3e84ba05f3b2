"""Flow runs as forks of the stack's warm process: quick, killed like any process, and slow but well without it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from servers import family_of

from influcoder.local.deploy import deploy, schedules
from influcoder.local.flow_start import warm_socket
from influcoder.local.fork_client import is_listening
from influcoder.local.prefect_api import ask
from influcoder.local.stack import ROOT, Stack

SLOW = "starting the slow way"
SERVER = ["-m", "influcoder.local.fork_server"]


@pytest.fixture(scope="module")
def stack(story) -> Stack:
    schedules(story.stack, "pause")
    wait_for(lambda: len(warm_processes(story.stack)) == 1)
    return story.stack


@pytest.fixture(scope="module")
def api(stack):
    return stack.environment()["PREFECT_API_URL"]


def warm_processes(stack):
    """The warm process, then its forks."""
    return [pid for pid in family_of(stack.pid) if command_of(pid)[1:3] == SERVER]


def command_of(pid):
    """The words of a process's command; none of one that is gone."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return []


def wait_for(value, seconds=180):
    end = time.monotonic() + seconds
    while not (found := value()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def started(api, name, **parameters):
    deployment = ask("GET", f"{api}/deployments/name/{name}/{name}", None)
    return ask("POST", f"{api}/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})["id"]


def ended(api, run):
    """The final state of a flow run, and what its log says."""

    def state():
        found = ask("GET", f"{api}/flow_runs/{run}", None)["state"]
        return found if found["type"] in ("COMPLETED", "FAILED", "CRASHED") else None

    found = wait_for(state)
    logs = ask("POST", f"{api}/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
    return found, "\n".join(log["message"] for log in logs)


def test_a_flow_run_is_a_fork_of_the_warm_process_and_killed_it_has_crashed(stack, story, api):
    (server,) = warm_processes(stack)
    run = started(api, "label", decoder=story.world["decoder"], corpus=story.world["after"])
    fork = wait_for(lambda: warm_processes(stack)[1:])[0]
    assert psutil.Process(fork).ppid() == server
    os.kill(fork, signal.SIGKILL)
    state, log = ended(api, run)
    assert state["type"] == "CRASHED"
    assert "status code: -9" in state["message"]
    assert SLOW not in log
    assert warm_processes(stack) == [server], "the others live on"


def test_without_the_warm_process_a_run_starts_the_slow_way_and_says_so(stack, api):
    (server,) = warm_processes(stack)
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not is_listening(warm_socket(stack.folder)))
    state, log = ended(api, started(api, "backfill"))
    assert (state["type"], SLOW in log) == ("COMPLETED", True), log
    assert SLOW in stack.log_file.read_text()
    assert stack.pid, "the other servers stay"


def test_the_warm_process_comes_back(stack, api):
    wait_for(lambda: is_listening(warm_socket(stack.folder)))
    state, log = ended(api, started(api, "backfill"))
    assert (state["type"], SLOW in log) == ("COMPLETED", False), log


@pytest.mark.long
def test_the_stack_deploys_what_the_command_line_deploys(stack, api):
    deploy(stack)
    ours = held(api)
    command = [Path(sys.executable).parent / "prefect", "--no-prompt", "deploy", "--all"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **stack.environment()}, check=True, capture_output=True)
    assert held(api) == ours
    assert len(ours[0]) == 15


def held(api):
    """All that the server holds of deployments and automations, but for what it gives itself."""
    own = {"id", "created", "updated", "status", "last_polled", "version_id", "version_info"}

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(item) for name, item in sorted(value.items()) if name not in own}
        return [plain(item) for item in value] if isinstance(value, list) else value

    found = [ask("POST", f"{api}/{kind}/filter", {}) for kind in ("deployments", "automations")]
    return [sorted(map(plain, items), key=lambda item: str(item["name"])) for items in found]

"""`prefect deploy --all` and its schedules, as a person would run them."""

import os
import subprocess
import sys
from typing import Literal

from influcoder.core.errors import ServiceError
from influcoder.local import fork_client as forkclient
from influcoder.local.flow_start import warm_socket
from influcoder.local.prefect_api import ask
from influcoder.local.stack import ROOT, Stack
from influcoder.local.zombie_runs import watch_for_dead_runs

DEPLOY = ("-m", "prefect", "--no-prompt", "deploy", "--all")


def deploy(stack: Stack) -> None:
    """Apply `prefect.yaml` to the stack's server, and have it notice runs whose process died.

    Prefect imports every flow to read its signature: a fork of the process that has them all takes seconds.

    Raises:
        ServiceError: Prefect refused a deployment.
    """
    command = [sys.executable, "-I", forkclient.__file__, str(warm_socket(stack.folder)), *DEPLOY]
    environment = {**os.environ, **stack.environment()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    log = stack.folder / "deploy.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ServiceError("Prefect refused to deploy prefect.yaml.", f"See {log}.")
    watch_for_dead_runs(stack.environment()["PREFECT_API_URL"])


def schedules(stack: Stack, action: Literal["pause", "resume"]) -> None:
    """Pause or resume the schedules of all deployments.

    Raises:
        ServiceError: Prefect refused.
    """
    deployments = f"{stack.environment()['PREFECT_API_URL']}/deployments"
    for deployment in ask("POST", f"{deployments}/filter", {}):
        for schedule in deployment["schedules"]:
            ask("PATCH", f"{deployments}/{deployment['id']}/schedules/{schedule['id']}", {"active": action == "resume"})

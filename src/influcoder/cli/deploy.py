"""`prefect deploy --all`, as a person would run it."""

import os
import subprocess
import sys
from pathlib import Path

from influcoder.cli.dead_runs import watch_for_dead_runs
from influcoder.cli.stack import ROOT, Stack
from influcoder.errors import ServiceError


def deploy(stack: Stack) -> None:
    """Apply `prefect.yaml` to the stack's server, and have it notice runs whose process died.

    Raises:
        ServiceError: Prefect refused a deployment.
    """
    command = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", "deploy", "--all"]
    environment = {**os.environ, **stack.environment()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    (stack.folder / "deploy.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ServiceError("Prefect refused prefect.yaml.", f"See {stack.folder / 'deploy.log'}.")
    watch_for_dead_runs(stack.environment()["PREFECT_API_URL"])

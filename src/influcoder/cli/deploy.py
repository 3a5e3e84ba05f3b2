"""`prefect deploy --all` and its schedules, as a person would run them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from influcoder.cli.dead_runs import watch_for_dead_runs
from influcoder.cli.stack import ROOT, Stack
from influcoder.errors import ServiceError


def deploy(stack: Stack) -> None:
    """Apply `prefect.yaml` to the stack's server, and have it notice runs whose process died.

    Raises:
        ServiceError: Prefect refused a deployment.
    """
    _prefect(stack, "deploy", "--all")
    watch_for_dead_runs(stack.environment()["PREFECT_API_URL"])


def schedules(stack: Stack, action: Literal["pause", "resume"]) -> None:
    """Pause or resume the schedules of all deployments.

    Raises:
        ServiceError: Prefect refused.
    """
    _prefect(stack, "deployment", "schedule", action, "--all")


def _prefect(stack: Stack, *words: str) -> None:
    command = [str(Path(sys.executable).parent / "prefect"), "--no-prompt", *words]
    environment = {**os.environ, **stack.environment()}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    log = stack.folder / f"{words[0]}.log"
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ServiceError(f"Prefect refused: {' '.join(words)}.", f"See {log}.")

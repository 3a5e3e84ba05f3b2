"""What it costs to ask: each command that only reads, and a flow run on the worker, beside a bare interpreter.

Example: influcoder demo --keep && python -m bench.scale.starts
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.common import interleaved, ratios, spread, table
from influcoder.cli.stacks import STACKS, choose_stack
from influcoder.core.errors import ServiceError
from influcoder.local.stack import Stack

BARE = [sys.executable, "-c", "pass"]
INFLUCODER = str(Path(sys.executable).with_name("influcoder"))
# Usage and one line need no server.
ALONE = ("--help", "label --help", "attribute --help", "status --help")
READING = ("status", "encoders", "checks", "journal", "asked", "indexes", "status --json", "encoders --json")
ASKING = "attribute --private --answer"
ANSWER = "It takes the matrix apart into orthogonal factors and singular values."
LONGEST = 120.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--stack", help="a local stack of this folder; the one that runs unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--flow", default="sweep", help="the deployment that is run on the worker; it must need nothing"
    )
    parser.add_argument("--runs", type=int, default=3, help="flow runs; 0 runs none")
    options = parser.parse_args()
    stack = Stack(STACKS / choose_stack(options.stack, None))
    rows = commands(stack, options.rounds)
    if options.runs and stack.pid:
        rows += flow_runs(stack, options.flow, options.runs)
    servers = "beside a local stack" if stack.pid else "no stack was up, so nothing that needs one is here"
    about = (
        f"Seconds until a command has ended, {servers}; {options.rounds} rounds in turns after one that does not "
        "count: median (least to most), and the ratio to `python -c pass` within a round. A flow run is measured by "
        "Prefect from its creation on, and its ratio is to the median of `python -c pass`. "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end."
    )
    table(["", "seconds", "times `python -c pass`"], rows, "starts", about)


def commands(stack: Stack, rounds: int) -> list[list[str]]:
    """A row for each command that answers, the bare interpreter first."""
    with tempfile.TemporaryDirectory() as empty:
        away = {name: value for name, value in os.environ.items() if not name.startswith(("INFLUCODER", "PREFECT"))}
        works = {"`python -c pass`": timed(BARE)}
        works |= {f"`influcoder {words}`": timed([INFLUCODER, *words.split()], env=away, cwd=empty) for words in ALONE}
        works["`influcoder status`, no stack"] = timed([INFLUCODER, "status"], env=away, cwd=empty)
        if stack.pid:
            here = {**os.environ, "INFLUCODER_STACK": stack.folder.name}
            reading = [[INFLUCODER, *words.split()] for words in READING] + [[INFLUCODER, *ASKING.split(), ANSWER]]
            names = [*READING, f"{ASKING} …"]
            for name, command in zip(names, reading, strict=True):
                if answers(command, here):
                    works[f"`influcoder {name}`"] = timed(command, env=here)
        seconds = interleaved(list(works.values()), rounds)
    times = ratios(seconds, 0)
    return [
        [name, spread(own, 2), f"{middle:.1f} ({least:.1f} to {most:.1f})"]
        for name, own, (middle, least, most) in zip(works, seconds, times, strict=True)
    ]


def timed(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None) -> Callable[[], None]:
    """Run a command to its end, whatever it says."""

    def work() -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        subprocess.run(command, env=env, cwd=cwd, timeout=LONGEST, check=False, **quiet)

    return work


def answers(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a command has something to answer; what it says instead is passed on. It warms the disk, too."""
    done = subprocess.run(command, env=env, timeout=LONGEST, check=False, capture_output=True, text=True)
    # A status that is not well is an answer.
    if done.returncode and not done.stdout.strip():
        print(f"left out, since it fails: influcoder {' '.join(command[1:])}\n{done.stderr.strip()}", file=sys.stderr)
        return False
    return True


def flow_runs(stack: Stack, name: str, runs: int) -> list[list[str]]:
    """Two rows about runs of a deployment: until the flow runs, and until it has ended."""
    os.environ.update(stack.environment())
    # Prefect reads its settings when it is imported.
    from influcoder.cli import deployments

    started, ended = [], []
    for number in range(runs + 1):
        try:
            found = deployments.run(name, lambda _line: None, silence=LONGEST)
        except ServiceError as error:
            print(f"left out: {error}", file=sys.stderr)
            return []
        if number and found.created and found.start_time and found.end_time:
            started.append((found.start_time - found.created).total_seconds())
            ended.append((found.end_time - found.created).total_seconds())
    bare = bare_seconds(runs)
    return [
        [f"flow run `{name}` on the worker, until it {what}", spread(own, 2), spread([s / bare for s in own])]
        for what, own in (("runs", started), ("has ended", ended))
    ]


def bare_seconds(runs: int) -> float:
    """The median start of an interpreter, now."""
    found = []
    for _ in range(max(3, runs)):
        start = time.perf_counter()
        subprocess.run(BARE, check=True)
        found.append(time.perf_counter() - start)
    return sorted(found)[len(found) // 2]


if __name__ == "__main__":
    main()

"""Imports all that flows need once, then runs each order in a forked child that can be killed at any of its writes.

Orders come as JSON lines on standard input, outcomes go as JSON lines to the file descriptor that is named first.
"""

import importlib
import json
import os
import signal
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path

import botocore.auth
import torch

from faults.writes import Counter, watch
from influcoder.errors import InflucoderError

FLOWS = (
    "alert",
    "approval",
    "backfill",
    "cause",
    "check",
    "filter",
    "import_scores",
    "index",
    "label",
    "overdue",
    "promote",
    "regions",
    "retrain",
    "rollback",
    "sweep",
    "train",
    "watch",
)
LATE = (
    "faiss",
    "great_expectations.expectations",
    "influcoder.encoder.lexical",
    "influcoder.labelsets.validation",
    "matplotlib.pyplot",
    "mlflow.pyfunc",
    "monitoring.report",
)
OURS = ("influcoder", "flows", "monitoring")


def main() -> None:
    for name in (*(f"flows.{flow}" for flow in FLOWS), *LATE):
        importlib.import_module(name)
    outcomes = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    print(json.dumps({"ready": True}), file=outcomes)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(json.dumps(ended(order)), file=outcomes)
            continue
        child = os.fork()
        if not child:
            work(order)
        print(json.dumps({"pid": child}), file=outcomes)


def ended(order: dict) -> dict:
    """How a child ended, and what it said."""
    _, status = os.waitpid(order["wait"], 0)
    said = Path(order["outcome"])
    told = json.loads(said.read_text()) if said.is_file() else {}
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, **told}


def work(order: dict) -> None:
    with open(order["log"], "ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(order["env"])
    torch.set_num_threads(1)
    watch(Counter(Path(order["trace"]), order["kill"], order["hold"]))
    if order["clock"]:
        shift_clock(timedelta(seconds=order["clock"]))
    outcome = {"error": "", "kind": "", "result": None}
    try:
        outcome["result"] = flow_of(order["flow"])(**order["arguments"])
    except InflucoderError as error:
        outcome.update(error=str(error), kind=type(error).__name__)
    except BaseException as error:
        traceback.print_exc()
        outcome.update(error=f"{type(error).__name__}: {error}", kind="unexpected")
    Path(order["outcome"]).write_text(json.dumps(outcome))
    sys.stdout.flush()
    os._exit(0)


def flow_of(name: str):
    """A flow by its file's name, with its own name after a point where that is another one."""
    file, _, own = name.partition(".")
    return getattr(sys.modules[f"flows.{file}"], own or file)


def shift_clock(by: timedelta) -> None:
    """Another clock for our own code and for what signs requests to S3, as on a machine whose clock is wrong."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + by

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in OURS and getattr(module, "datetime", None) is datetime:
            module.datetime = Shifted
    right = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda *given, **named: right(*given, **named) + by


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()

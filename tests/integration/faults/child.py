"""Runs a flow in this process, which can be killed or held at any of its writes: child.py ORDER, a file of JSON."""

import importlib
import json
import sys
import traceback
from datetime import datetime, timedelta
from pathlib import Path

import botocore.auth
import torch

from faults.writes import Counter, watch
from influcoder.core.errors import InflucoderError

OURS = ("influcoder", "flows", "monitoring")


def work(order: dict) -> None:
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


def flow_of(name: str):
    """A flow by its file's name, with its own name after a point where that is another one."""
    file, _, own = name.partition(".")
    return getattr(importlib.import_module(f"flows.{file}"), own or file)


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
    work(json.loads(Path(sys.argv[1]).read_text()))

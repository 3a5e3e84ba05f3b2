"""What comes before every command: the stack that it talks to, and whether it can work at all."""

import os
from collections.abc import Sequence
from typing import Any

from typer import Context
from typer.core import TyperGroup

from influcoder.cli.stacks import choose_stack, current_stack

# Their work is a flow, which Prefect has to keep.
FLOWS = (
    *("label", "import-scores", "train", "promote", "approve", "check", "retrain", "sweep", "rollback", "watch"),
    *("backfill", "cause", "index", "regions", "filter"),
)
# Somebody waits for them, and asks again sooner than MLflow's client would.
READERS = ("status", "encoders", "checks", "journal", "asked", "indexes", "attribute")
_WORDS = "words"


class Group(TyperGroup):
    """Commands that know, before they begin, what else was said."""

    def invoke(self, ctx: Any) -> Any:
        """Keep what was said; it is gone when the callback runs."""
        ctx.meta[_WORDS] = tuple(ctx.args)
        return super().invoke(ctx)


def prepare(context: Context, stack: str | None) -> None:
    """Set the environment of a command, unless it is only asked for help.

    Args:
        context: of the command line.
        stack: that was named.
    Raises:
        SettingsError: several stacks run, and none was named.
        ServiceError: the command needs Prefect, and no server is named.
    """
    command, words = context.invoked_subcommand, context.meta.get(_WORDS, ())
    if "--help" in words:
        return
    os.environ["INFLUCODER_STACK"] = choose_stack(stack, command)
    for name, value in current_stack().environment().items():
        os.environ.setdefault(name, value)
    if command in READERS:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # Where no server is named, Prefect would start one of its own, which takes a minute and ends with the command.
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    if _is_flow(command, words):
        from influcoder.cli.servers import require_prefect

        require_prefect()


def _is_flow(command: str | None, words: Sequence[str]) -> bool:
    return command in FLOWS and not (command == "label" and "--plan" in words)

"""Commands that decide who is champion, and the journal of those that did."""

from typing import Annotated

import typer

from influcoder.cli.terminal import console
from influcoder.errors import InflucoderError, SettingsError

Reason = Annotated[str, typer.Option(help="why, for the journal")]


def promote(version: Annotated[str, typer.Option(help="alias or number")] = "challenger", reason: Reason = "") -> None:
    """Hold a version against the gate and make it the champion where it passes.

    Example: `influcoder promote --version 3`
    """
    from flows.promote import promote as flow

    if not flow(version, reason):
        raise InflucoderError("the version did not pass the gate.", "Its tags in MLflow say why; the champion stays.")
    console.print("the version is the champion")


def rollback(
    to: Annotated[
        str | None, typer.Option(help="number of the version; the champion before this one unless given")
    ] = None,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="take a version that does not fit, or passed no gate")] = False,
) -> None:
    """Move the champion's alias back to a version that fits the decoder in use.

    Examples: `influcoder rollback`, `influcoder rollback --to 2 --reason "answers are off since 3"`
    """
    from flows.rollback import rollback as flow

    console.print(f"version {flow(to, reason, force)} is the champion")


def journal(
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines instead of a table")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="only say whether the chain is intact")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="move the alias to where the journal says")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="journal an alias that was moved by hand")] = False,
    reason: Reason = "",
) -> None:
    """Say who made which version the champion, when and why; the chain is verified first.

    Examples: `influcoder journal`, `influcoder journal --adopt --reason "approved in MLflow"`
    """
    if as_json + verify + repair + adopt > 1:
        raise SettingsError("--json, --verify, --repair and --adopt exclude each other.", "Give one of them.")
    from influcoder.cli import chronicle

    if repair or adopt:
        console.print(chronicle.mend(adopt, reason))
        return
    found = chronicle.read()
    if verify:
        console.print(f"{len(found)} entries, chain intact")
    elif as_json:
        for entry in found:
            print(entry.model_dump_json())
    else:
        console.print(chronicle.table(found))

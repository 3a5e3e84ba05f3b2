"""Commands that decide who is champion, and the journal of those that did."""

import sys
from typing import Annotated

import typer

from influcoder.cli.tables import AsJson, console, print_json
from influcoder.core.errors import InflucoderError, SettingsError

Reason = Annotated[str, typer.Option(help="why, for the journal")]


def promote(
    version: Annotated[str, typer.Option(help="alias or number")] = "challenger",
    reason: Reason = "",
    spot: Annotated[
        str | None,
        typer.Option(help="id of spot labels to measure on; fresh ones are made unless given"),
    ] = None,
) -> None:
    """Hold a version against the gate and make it the champion where it passes.

    Example: `influcoder promote --version 3`
    """
    from flows.context import load_place
    from flows.promote import offer_of
    from flows.promote import promote as flow

    place = load_place()
    number = place.registry.version(version).version
    if flow(number, reason, spot=spot):
        console.print("the version is the champion")
        return
    offer = offer_of(place, number)
    if offer is not None and offer.stage == "held":
        raise InflucoderError(f"the version did not pass the gate: {offer.reason}.", "The champion stays.")
    console.print(offer.reason if offer else "the champion stays")


def approve(
    version: Annotated[str, typer.Argument(help="number of a version that passed the gate and waits")],
    reason: Reason = "",
    reject: Annotated[bool, typer.Option("--reject", help="say no")] = False,
) -> None:
    """Approve a version that waits for a person (`gate.approval = "tag"`), and make it the champion.

    Examples: `influcoder approve 7 --reason "read its card"`, `influcoder approve 7 --reject --reason "too slow"`
    """
    from flows.promote import answer

    console.print(answer(version, not reject, reason))


breaker = typer.Typer(
    no_args_is_help=True,
    help="The breaker, which stops retraining after too many failures. Example: `influcoder breaker reset --help`",
)


@breaker.command()
def reset(reason: Annotated[str, typer.Option(help="what was mended, for the journal")]) -> None:
    """Close the breaker, so that retraining goes on and scores are no longer marked.

    Example: `influcoder breaker reset --reason "the corpus was scrambled; it is mended"`
    """
    from flows.breaker import close
    from influcoder.core.provenance import person

    console.print(f"the breaker is closed, as entry {close(person(), reason).number} of the journal says")


def sweep() -> None:
    """Finish what lost events and killed runs left: open decisions, half-done retrainings, approved versions.

    Example: `influcoder sweep`
    """
    from flows.sweep import sweep as flow

    for check_id, stands in (found := flow()).items():
        console.print(f"check {check_id}: {stands}")
    console.print(f"{len(found)} decisions were open")


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
    as_json: AsJson = False,
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
    from influcoder.cli import journal as chronicle

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


def watch(
    decoder: Annotated[str | None, typer.Option(help="the decoder to look at; from the settings unless given")] = None,
) -> None:
    """Look whether the decoder in use is another one, and check the champion under it at once.

    Example: `influcoder watch --decoder s3://models/checkpoint-2000`
    """
    from flows.watch import watch as flow

    flow(decoder)


def encoders(
    decoder: Annotated[str | None, typer.Option(help="the decoder in use")] = None,
    as_json: AsJson = False,
) -> None:
    """List encoder versions by the decoder that each was distilled for.

    Examples: `influcoder encoders`, `influcoder encoders --json`
    """
    from influcoder.cli.versions import listing

    found = listing(decoder)
    if not as_json:
        console.print(found.table())
        return
    for row in found.rows():
        print_json(row)
    if found.present is None:
        print(found.caption, file=sys.stderr)


def backfill(
    version: Annotated[str | None, typer.Option(help="alias or number; all versions unless given")] = None,
    chart: Annotated[bool, typer.Option("--chart", help="make the history chart anew from the store")] = False,
) -> None:
    """Measure past encoders on newer spot labels that are in the store; nothing is labelled.

    Example: `influcoder backfill --version 2 --chart`
    """
    from flows.backfill import backfill as flow

    console.print(f"{flow(version, chart)} new measurements")

"""A report on one answer, for people who are no engineers; and whether a report is the one that was made."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from influcoder.cli.tables import console
from influcoder.core.errors import SettingsError


def audit(
    prompt: Annotated[str, typer.Option(help="what the decoder was asked")] = "",
    answer: Annotated[
        str | None, typer.Option(help="what the decoder said; generated from the prompt unless given")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the folder to make: report.html, report.pdf, record.json")] = None,
    k: Annotated[int, typer.Option(min=1, help="how many of the most influential samples")] = 10,
    least: Annotated[int, typer.Option(min=0, help="how many of the least influential samples")] = 3,
    verify: Annotated[int, typer.Option(min=0, help="exact influence of so many of each, and of controls")] = 10,
    controls: Annotated[int, typer.Option(min=0, help="samples drawn at random, for comparison")] = 10,
    decoder: Annotated[str | None, typer.Option(help="the decoder in use; from the settings unless given")] = None,
    corpus: Annotated[str | None, typer.Option(help="the pool; from the settings unless given")] = None,
    check: Annotated[Path | None, typer.Option(help="say whether this file of a report is as it was made")] = None,
) -> None:
    """Report which data drove an answer, how sure that is, and what it rests on; the journal keeps the checksums.

    Examples: `influcoder audit --prompt "What does numpy.linalg.svd do?" --out audit`,
    `influcoder audit --check audit/report.pdf`
    """
    if check is not None:
        _check(check)
        return
    if out is None or not (prompt.strip() or (answer or "").strip()):
        raise SettingsError("give --out, and --prompt, --answer or both.", "See influcoder audit --help")
    from influcoder.core.files import refuse_taken
    from influcoder.serving.answers import output_of
    from influcoder.serving.audit import Extent, examine, publish
    from influcoder.serving.champion import ServedChampion
    from influcoder.serving.outputs import Exchange
    from influcoder.settings.tree import load_settings

    refuse_taken(out)
    champion = ServedChampion(load_settings(decoder=decoder or None, corpus=corpus or None))
    output = output_of(champion, Exchange(prompt=prompt, answer=answer or ""))
    found = examine(champion, output, prompt, Extent(k, least, verify, controls))
    entry = publish(found, champion, out)
    for line in found.warnings:
        Console(stderr=True).print(f"[yellow]warning[/yellow]: {escape(line)}")
    for sentence in (*found.findings, *found.trust):
        console.print(escape(sentence))
    console.print(f"{out}: report.html, report.pdf, record.json; journal entry {entry.number}", soft_wrap=True)


def _check(file: Path) -> None:
    from flows.context import load_place
    from influcoder.serving.audit import entry_of

    place = load_place()
    entry = entry_of(file, place.store, place.registry.model)
    line = (
        f"{file} is as it was made: {entry.reason}, by {entry.actor} at {entry.created}, journal entry {entry.number}"
    )
    console.print(escape(line), soft_wrap=True)

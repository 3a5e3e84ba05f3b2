"""The command that says which samples drove an output, and how its answer is shown."""

import json
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from influcoder.cli.tables import AsJson, console
from influcoder.core.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from influcoder.serving.answers import Answer

# Outputs that are embedded, searched and logged together.
BATCH = 64


def attribute(
    answer: Annotated[
        str | None, typer.Option(help="what the decoder said; generated from the prompt unless given")
    ] = None,
    prompt: Annotated[str, typer.Option(help="what the decoder was asked")] = "",
    file: Annotated[
        Path | None,
        typer.Option(help="outputs, .jsonl or .parquet: prompt and answer, or context and target; id if any"),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="how many of the most influential samples")] = 10,
    least: Annotated[int, typer.Option(min=0, help="how many of the least influential samples")] = 0,
    verify: Annotated[
        int, typer.Option(min=0, help="compute exact influence of so many of the most, and of the least")
    ] = 0,
    decoder: Annotated[str | None, typer.Option(help="the decoder in use, see `influcoder label --help`")] = None,
    corpus: Annotated[str | None, typer.Option(help="the pool; its index is built where there is none")] = None,
    out: Annotated[Path | None, typer.Option(help="write rows to this .jsonl or .parquet file")] = None,
    as_json: AsJson = False,
    private: Annotated[bool, typer.Option("--private", help="leave this question out of the log of questions")] = False,
) -> None:
    """Say which samples of the corpus drove an output most, and least; of one output, or of a file of them.

    Examples: `influcoder attribute --prompt "What does numpy.linalg.svd do?" --verify 10`,
    `influcoder attribute --file outputs.jsonl --k 20 --least 5 --out influence.parquet`
    """
    if bool(file) == bool(prompt.strip() or (answer or "").strip()):
        raise SettingsError("give --prompt, --answer or both, or else --file.", "See influcoder attribute --help")
    from rich.console import Console
    from rich.markup import escape

    from influcoder.core.progress import progress
    from influcoder.serving.answers import attribute as answers
    from influcoder.serving.answers import output_of
    from influcoder.serving.champion import ServedChampion
    from influcoder.serving.outputs import Exchange, read_outputs, written
    from influcoder.settings.tree import load_settings

    exchanges = read_outputs(file) if file else iter([Exchange(prompt=prompt, answer=answer or "")])
    settings = load_settings(decoder=decoder or None, corpus=corpus or None)
    # A file that can't be written is found out before an index is built.
    with ExitStack() as stack:
        sink = stack.enter_context(written(out)) if out else None
        champion = ServedChampion(settings, few=file is None)
        ticker = stack.enter_context(progress("attributing", None)) if file and out else None
        while batch := [output_of(champion, item) for item in islice(exchanges, BATCH)]:
            found = answers(champion, batch, k, least, verify, private)
            for line in found[0].warnings:
                Console(stderr=True).print(f"[yellow]warning[/yellow]: {escape(line)}")
            if sink is None:
                _show(found, as_json)
            else:
                sink.write([row for item in found for row in item.rows()])
            if ticker is not None:
                ticker.advance(len(batch))
    if out:
        console.print(f"{out} holds the answers", soft_wrap=True)


def _show(found: "list[Answer]", as_json: bool) -> None:
    for item in found:
        if as_json:
            for row in item.rows():
                print(json.dumps(row, ensure_ascii=False))
        else:
            console.print(table(item))


def table(answer: "Answer") -> "Table":
    """The answer for a terminal."""
    from rich.markup import escape
    from rich.table import Table

    from influcoder.attribution.ranking import excerpt

    grid = Table(title=escape(f"What drove: {excerpt(answer.output.target, 100)}"), title_justify="left", expand=True)
    for name in ("", "score", "exact", "percentile"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("source", no_wrap=True)
    grid.add_column("sample", ratio=1)
    for end in (answer.found.most, answer.found.least):
        for item in end:
            exact = "" if item.exact is None else f"{item.exact:.3f}"
            row = (str(item.rank), f"{item.score:.3f}", exact, f"{item.percentile:.1f}")
            grid.add_row(*row, escape(item.sample.source), escape(excerpt(item.sample.text, 90)))
        grid.add_section()
    below = "; what drove it least is below the line" if answer.found.least else ""
    caption = f"Scores rank the pool; the exact influence of a sample is its own figure{below}.\n{answer.provenance}"
    grid.caption = escape("\n".join((caption, *(f"warning: {line}" for line in answer.warnings))))
    return grid

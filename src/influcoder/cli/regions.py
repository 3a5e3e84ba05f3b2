"""Which regions of a pool drive the answers to some queries."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from influcoder.cli.tables import console

if TYPE_CHECKING:
    from rich.table import Table

    from influcoder.attribution.regions.survey import By


def regions(
    out: Annotated[Path, typer.Option(help="the folder to make: tables, plots and map.html")],
    queries: Annotated[str | None, typer.Option(help="what is asked about: .jsonl, .parquet, hf:NAME")] = None,
    corpus: Annotated[str | None, typer.Option(help="the pool; the settings' corpus unless given")] = None,
    by: Annotated[str, typer.Option(help="`source`, `cluster`, or `auto`: sources where there are several")] = "auto",
    count: Annotated[int, typer.Option("--regions", min=2, max=100, help="how many, at most")] = 20,
    points: Annotated[int, typer.Option(min=100, help="samples on the map, and compared for repeats")] = 20_000,
    draw_map: Annotated[bool, typer.Option("--map/--no-map", help="draw the map, which takes longest")] = True,
    decoder: Annotated[str | None, typer.Option(help="the decoder in use; from the settings unless given")] = None,
) -> None:
    """Say which regions of a pool drive the answers to some queries, and draw a map of it.

    Examples: `influcoder regions --queries evaluation.jsonl --out regions`,
    `influcoder regions --queries evaluation.jsonl --by cluster --regions 12 --out clusters`
    """
    if by not in ("auto", "source", "cluster"):
        raise typer.BadParameter("choose auto, source or cluster", param_hint="--by")
    from flows.regions import regions as flow

    said = flow(queries, corpus, str(out), cast("By", by), count, points, draw_map, decoder)
    for line in said["warnings"]:
        Console(stderr=True).print(f"[yellow]warning[/yellow]: {line}")
    console.print(_table(out))
    console.print(f"{out}: {', '.join(sorted(said['files']))}\n{said['run']}", soft_wrap=True)


def _table(out: Path) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    from influcoder.attribution.regions.folder import TABLE

    record = json.loads((out / TABLE).read_text())
    grid = Table(title=f"Regions by {record['by']}: {record['samples']} samples, {record['queries']} queries")
    for name in ("region", "samples", "share", "influence above the mean", "below it", ""):
        grid.add_column(name, justify="left" if name in ("region", "") else "right")
    for row in record["shares"]:
        if row["queries"] == "all":
            words = {"over": "[blue]more than its size[/blue]", "under": "[red]less than its size[/red]", "even": ""}
            shares = (_share(row[part]) for part in ("positive", "negative"))
            figures = (str(row["samples"]), f"{row['part']:.1%}", *shares, words[row["standing"]])
            grid.add_row(escape(row["region"]), *figures)
    return grid


def _share(found: dict[str, float | None]) -> str:
    if found["value"] is None:
        return "none"
    if found["lo"] is None or found["hi"] is None:
        return f"{found['value']:.1%}"
    return f"{found['value']:.1%} ({found['lo']:.1%} to {found['hi']:.1%})"

"""Indexes: embed a corpus once, and see which are there."""

from typing import TYPE_CHECKING, Annotated

import typer

from influcoder.cli.tables import AsJson, console, print_json
from influcoder.core.errors import RegistryError

if TYPE_CHECKING:
    from rich.table import Table

    from influcoder.index import Manifest


def index(
    corpus: Annotated[
        str | None, typer.Option(help="docs:PACKAGES, hf:NAME, or a path or s3:// address of .jsonl or .parquet")
    ] = None,
    encoder: Annotated[str, typer.Option(help="alias or number of the version to embed with")] = "champion",
    again: Annotated[bool, typer.Option("--again", help="read the corpus even where it looks unchanged")] = False,
    package: Annotated[
        bool, typer.Option("--package", help="also register encoder and index as one MLflow model that attributes")
    ] = False,
) -> None:
    """Embed a corpus and publish its index, which `influcoder attribute` answers from; only new samples are embedded.

    Examples: `influcoder index`, `influcoder index --corpus s3://pools/2026/pool.parquet --encoder 7`,
    `influcoder index --package`
    """
    from flows.index import index as flow

    found = flow(corpus, encoder, again, package)
    if not found:
        raise RegistryError("there is no champion yet.", "Run: influcoder train, then influcoder promote")
    console.print(f"index {found}")


def indexes(as_json: AsJson = False) -> None:
    """List the indexes that are published; the one of a version that was rolled back to answers again.

    Examples: `influcoder indexes`, `influcoder indexes --json`
    """
    from influcoder.index import manifests
    from influcoder.settings.tree import load_settings
    from influcoder.storage.object_store import ObjectStore

    found = manifests(ObjectStore(load_settings().store))
    if not as_json:
        console.print(_table(found))
        return
    for item in found:
        origin = {"encoder": item.origin.encoder_version, "corpus": item.corpus_uri, "samples": item.rows}
        print_json({"index": item.id, **origin, "bytes": item.bytes, "recall": item.recall, "created": item.created})


def _table(found: "list[Manifest]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title="Indexes", title_justify="left")
    for name in ("index", "encoder", "corpus", "samples", "MB", "recall at 100", "created"):
        grid.add_column(name, justify="right" if name in ("samples", "MB", "recall at 100") else "left")
    for item in found:
        row = (item.id, f"version {item.origin.encoder_version}", escape(item.corpus_uri), str(item.rows))
        grid.add_row(*row, f"{item.bytes / 1e6:.1f}", f"{item.recall:.3f}", item.created)
    return grid

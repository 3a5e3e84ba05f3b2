"""From a handful of harmful examples to lists of what to keep and what to drop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from influcoder.cli.tables import console
from influcoder.core import tags

if TYPE_CHECKING:
    from rich.table import Table


def filter_corpus(
    examples: Annotated[str, typer.Option(help="harmful examples: .jsonl, .parquet, hf:NAME")],
    out: Annotated[Path, typer.Option(help="the folder to make")],
    corpus: Annotated[str | None, typer.Option(help="what is filtered; the settings' corpus unless given")] = None,
    drop: Annotated[str | None, typer.Option(help="a budget: `5%` or `200` samples")] = None,
    threshold: Annotated[float | None, typer.Option(help="a score from which on samples are dropped")] = None,
    validation: Annotated[
        str | None, typer.Option(help='.jsonl of samples with "label": true where harmful; chooses the threshold')
    ] = None,
    precision: Annotated[float | None, typer.Option(help="wanted on the validation, instead of the best F1")] = None,
    recall: Annotated[float | None, typer.Option(help="wanted on the validation, instead of the best F1")] = None,
    benign: Annotated[
        str | None,
        typer.Option(help="harmless examples, which join the draw of the corpus that scores are held against"),
    ] = None,
    score: Annotated[
        str, typer.Option(help="of influence on several examples: mean, max, top3 (of the 3 largest), auto")
    ] = "auto",
    verify: Annotated[int, typer.Option(min=0, help="exact influence of so many that are dropped, and kept")] = 0,
    decoder: Annotated[str | None, typer.Option(help="the decoder in use; from the settings unless given")] = None,
    private: Annotated[bool, typer.Option("--private", help="leave the examples out of the log of questions")] = False,
) -> None:
    """Rank a corpus by a handful of harmful examples, and write what to keep and what to drop, with reasons.

    Examples: `influcoder filter --examples harmful.jsonl --corpus pool.jsonl --drop 5% --out filtered`,
    `influcoder filter --examples harmful.jsonl --validation labelled.jsonl --recall 0.9 --verify 20 --out filtered`
    """
    from influcoder.attribution.filter.curve import Aim
    from influcoder.attribution.filter.run import Request

    # What can't be meant is said at once, before a flow run begins.
    Request(examples, benign, validation, drop, threshold, Aim(precision, recall), score)
    from flows.filter import filter_corpus as flow

    summary = flow(
        *(examples, str(out), corpus, benign, validation, drop, threshold, precision, recall),
        *(score, verify, decoder, private),
    )
    for line in summary["warnings"]:
        Console(stderr=True).print(f"[yellow]warning[/yellow]: {line}")
    console.print(_table(out, summary))


def _table(out: Path, summary: dict[str, Any]) -> "Table":
    from rich.markup import escape

    from influcoder.cli.tables import facts
    from influcoder.registry.encoder_version import agreement_words

    counts, line, encoder = summary["counts"], summary["threshold"], summary["encoder"]
    known = {**encoder["agreement"], tags.CEILING: encoder["ceiling"] or "unknown"}
    rows = [
        ("dropped", f"{counts['drop']} of {counts['pool']} samples: {out / 'drop.jsonl'}"),
        ("kept", f"{counts['keep']}: {out / 'keep.jsonl'}"),
        ("line", f"score {line['value']:.3f}; {line['why']}"),
        (
            "score",
            f"{summary['score']} of influence with {len(summary['examples'])} harmful examples, in deviations of that "
            f"with {summary['cohort']['size']} others",
        ),
        *_evidence(summary),
        ("encoder", f"version {encoder['version']}, labels {encoder['label_set']}, decoder {encoder['decoder'][:12]}"),
        ("agreement", agreement_words(known)),
    ]
    return facts("Filter", [(name, escape(value)) for name, value in rows])


def _evidence(summary: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    if validated := summary["validation"]:
        figures = (
            f"{name.replace('_', ' ')} {validated[name]['value']:.2f} "
            f"[{validated[name]['lo']:.2f}, {validated[name]['hi']:.2f}]"
            for name in ("precision", "recall", "f1", "average_precision")
        )
        found.append(("on labelled samples", ", ".join(figures)))
    if verified := summary["verified"]:
        words = (
            f"{verified['dropped']} of the dropped have an exact influence of {verified['mean_dropped']:.3f}, "
            f"{verified['kept']} of the kept one of {verified['mean_kept']:.3f}; the dropped one is higher in "
            f"{verified['higher']:.0%} of pairs"
        )
        found.append(("verified", words))
    return found

"""What a reviewer reads about an encoder version: tags to search by, and a description."""

from collections.abc import Mapping

from influcoder.core import tags
from influcoder.core.provenance import code_commit
from influcoder.encoder.result import Distilled
from influcoder.labelsets import Manifest
from influcoder.statistics.agreement import Agreement

_NAMES = {
    "rho": "mean per-query ρ",
    "aggregated_rho": "aggregated ρ",
    "tau": "Kendall τ-b",
    "precision": "precision of the top",
    "ndcg": "NDCG of the top",
}


def tags_of(
    manifest: Manifest, found: Agreement, untrained: Agreement, before: Agreement | None = None
) -> dict[str, str]:
    """Tags of an encoder version: what it came from and what it is worth."""
    teacher = manifest.identity.teacher
    return {
        tags.DECODER: teacher.decoder_fingerprint,
        tags.DECODER_URI: manifest.decoder_uri,
        tags.LABEL_SET: manifest.id,
        tags.TEACHER: teacher.id,
        tags.RHO: f"{found.rho.value:.4f}",
        tags.LO: f"{found.rho.lo:.4f}",
        tags.HI: f"{found.rho.hi:.4f}",
        tags.QUERIES: str(found.rho.queries),
        tags.UNTRAINED: f"{untrained.rho.value:.4f}",
        tags.COMMIT: code_commit(),
        **({tags.BEFORE: f"{before.rho.value:.4f}"} if before else {}),
        **({tags.CEILING: f"{manifest.reliability.ceiling:.4f}"} if manifest.reliability else {}),
    }


def describe(
    manifest: Manifest,
    distilled: Distilled,
    found: Agreement,
    untrained: Agreement,
    place: str,
    plots: Mapping[str, str],
    before: Agreement | None = None,
) -> str:
    """A description in markdown, for whoever has to approve.

    Args:
        manifest: of the labels.
        distilled: how the encoder came to be.
        found: its agreement on the report split.
        untrained: the untrained encoder's.
        place: a paragraph on where that stands between floor and ceiling.
        plots: addresses of pictures, by what they show.
        before: agreement on the report split of the labels before; None where there were none.
    """
    teacher = manifest.identity.teacher
    sources = ", ".join(source.uri for source in manifest.identity.sources)
    train = f"{manifest.count('train', 'query')} queries × {manifest.count('train', 'candidate')} candidates"
    # MLflow sets a table's columns, and what comes after it, so close that they touch.
    rows = "\n".join(
        f"| {_NAMES[name]} &emsp; | {figure.value:.3f} [{figure.lo:.3f}, {figure.hi:.3f}] &emsp; "
        f"| {untrained.figures()[name].value:.3f} |"
        for name, figure in found.figures().items()
    )
    # MLflow shows every line break of a description, so a paragraph is one line.
    paragraphs = (
        f"Ranks samples of `{sources}` as exact influence on **{manifest.decoder_uri}** does "
        f"(decoder `{teacher.decoder_fingerprint[:16]}`). It says nothing about any other checkpoint.",
        f"### Agreement\n\n{place}",
        f"On the report split, {found.rho.queries} queries × {found.candidates} candidates that nothing was chosen by:",
        f"| figure &emsp; | this encoder [95 %] &emsp; | untrained |\n| --- | --- | --- |\n{rows}",
        "&nbsp;",
        *(f"![{words}]({address})" for words, address in plots.items()),
        *([_still(manifest, before)] if before else []),
        f"### What the labels are worth\n\n{manifest.worth}",
        f"### Lineage\n\nThis encoder, {distilled.start}: {distilled.how}",
        f"← label set `{manifest.id}`, {train} to train from, published {manifest.created}",
        f"← teacher `{teacher.id}`: {teacher.spec.method}, rank {teacher.spec.rank}",
        f"← decoder `{teacher.decoder_fingerprint}` from `{manifest.decoder_uri}`",
        f"Samples: `{sources}`. Code: `{code_commit()}`. All that was tried, and the evidence pair by pair, is in the "
        "source run above.",
        "### Approve\n\n`influcoder promote` holds it against the gate, on fresh labels and beside the champion. Where "
        "a person is asked (`gate.approval`), set the tag `approval` below to `approved` or `rejected`, or run "
        "`influcoder approve`. An alias that is moved by hand here passes no gate, and `influcoder status` says so.",
    )
    return "\n\n".join(paragraphs)


def _still(manifest: Manifest, before: Agreement) -> str:
    return (
        f"On the report split of the labels before, `{manifest.identity.parent}`: ρ {before.rho.value:.3f} "
        f"[{before.rho.lo:.3f}, {before.rho.hi:.3f}]."
    )

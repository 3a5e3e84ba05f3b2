"""What a reviewer reads about an encoder version: tags to search by, and a description."""

from influcoder.agreement import Agreement
from influcoder.encoder.distilled import Distilled
from influcoder.labelsets import Manifest
from influcoder.provenance import code_commit


def tags_of(
    manifest: Manifest, found: Agreement, untrained: Agreement, before: Agreement | None = None
) -> dict[str, str]:
    """Tags of an encoder version: what it came from and what it is worth."""
    teacher = manifest.identity.teacher
    return {
        "decoder.fingerprint": teacher.decoder_fingerprint,
        "decoder.uri": manifest.decoder_uri,
        "labelset.id": manifest.id,
        "teacher.id": teacher.id,
        "agreement.rho": f"{found.rho.value:.4f}",
        "agreement.lo": f"{found.rho.lo:.4f}",
        "agreement.hi": f"{found.rho.hi:.4f}",
        "agreement.queries": str(found.rho.queries),
        "agreement.untrained": f"{untrained.rho.value:.4f}",
        "code.commit": code_commit(),
        **({"agreement.before": f"{before.rho.value:.4f}"} if before else {}),
        **({"labels.ceiling": f"{manifest.reliability.ceiling:.4f}"} if manifest.reliability else {}),
    }


def describe(
    manifest: Manifest,
    distilled: Distilled,
    found: Agreement,
    untrained: Agreement,
    before: Agreement | None = None,
) -> str:
    """A description in markdown."""
    teacher = manifest.identity.teacher
    sources = ", ".join(source.uri for source in manifest.identity.sources)
    train = f"{manifest.count('train', 'query')} queries × {manifest.count('train', 'candidate')} candidates"
    rows = "\n".join(
        f"| {name} | {figure.value:.3f} [{figure.lo:.3f}, {figure.hi:.3f}] | {untrained.figures()[name].value:.3f} |"
        for name, figure in found.figures().items()
    )
    # MLflow shows every line break of a description, so a paragraph is one line.
    paragraphs = (
        f"Ranks samples of `{sources}` as exact influence on **{manifest.decoder_uri}** does "
        f"(decoder `{teacher.decoder_fingerprint[:16]}`). It says nothing about any other checkpoint.",
        f"Distilled from label set `{manifest.id}` ({train}; teacher `{teacher.id}`, {teacher.spec.method}, rank "
        f"{teacher.spec.rank}), {distilled.start}: {distilled.how}.",
        f"Agreement on the report split, {found.rho.queries} queries × {found.candidates} candidates:",
        f"| figure | this encoder [95 %] | untrained |\n| --- | --- | --- |\n{rows}",
        *([_still(manifest, before)] if before else []),
        manifest.worth,
        "Approve with `influcoder promote`: the gate holds it against the champion on the same labels.",
    )
    return "\n\n".join(paragraphs)


def _still(manifest: Manifest, before: Agreement) -> str:
    return (
        f"On the report split of the labels before, `{manifest.identity.parent}`: ρ {before.rho.value:.3f} "
        f"[{before.rho.lo:.3f}, {before.rho.hi:.3f}]."
    )

"""A survey as files: a table for programs, plots and a map for people."""

from dataclasses import asdict
from pathlib import Path

from pydantic_core import to_json

from influcoder.attribution.regions.atlas import atlas, write_atlas
from influcoder.attribution.regions.plots import lifts_figure, shares_figure
from influcoder.attribution.regions.survey import Survey

MAP, TABLE, SHARES, LIFTS = "map.html", "regions.json", "shares.png", "lifts.png"


def write_survey(found: Survey, folder: Path, facts: dict[str, object], caption: str) -> list[Path]:
    """Write a survey.

    Args:
        found: the survey.
        folder: an empty one.
        facts: what stands behind it: encoder, label set, decoder, index, warnings.
        caption: one line under each title.
    Returns:
        the files.
    """
    written = [folder / TABLE, folder / SHARES]
    rows = [asdict(share) | {"standing": share.standing} for share in found.shares]
    record = {
        **facts,
        "samples": found.samples,
        "queries": found.queries,
        "by": found.regions.by,
        "shares": rows,
        "near_duplicates": [asdict(item) for item in found.duplicates],
    }
    # An interval that does not exist is null: NaN is no JSON.
    written[0].write_bytes(to_json(record, indent=1, inf_nan_mode="null"))
    shares_figure(found.overall, caption).savefig(written[1])
    lifts = lifts_figure(found.shares, caption)
    if lifts is not None:
        lifts.savefig(folder / LIFTS)
        written.append(folder / LIFTS)
    if found.points is not None:
        title = f"{len(found.points.samples):,} samples, near where their influence is alike"
        written.append(write_atlas(atlas(found.points, found.regions, title, caption), folder / MAP))
    return written

"""The agreement check: a champion against fresh exact influence, and the record that is kept of it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import isfinite, log10
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import IntegrityError
from influcoder.storage.object_store import READERS, ObjectStore
from influcoder.storage.records import id_of, read, refuse_other, to_json
from monitoring.checks.buying import Ledger
from monitoring.checks.findings import Bounds, Judgement, Shift, Verdict

if TYPE_CHECKING:
    from influcoder.encoder import Encoder
    from influcoder.labelsets import Block
    from influcoder.registry.encoder_version import EncoderVersion
    from influcoder.statistics.agreement import Agreement

_PAGES = ("/report.html", "/report.json")
_MEND = "Restore it from a copy of the bucket, or delete it: then this check never was."


class Check(BaseModel):
    """What one check found; the truth that reports, dashboards and events are made from.

    Args:
        id: hash of the rest; the only thing an event carries.
        encoder_version: the version that was checked.
        encoder_decoder: fingerprint of the decoder that the encoder was distilled for.
        decoder: fingerprint of the decoder in use now.
        decoder_uri: where that was loaded from.
        corpus_uri: what the spot samples were drawn from.
        spot_label_set: id of the spot labels.
        figures: value, lo, hi and queries of every figure of the encoder.
        untrained: the same of the untrained encoder.
        bounds: where ρ stands between floor and ceiling; None in records from before these were measured.
        judgement: the decision and its evidence.
        created: UTC time, ISO 8601.
        candidates: how many candidates each query ranked, at most; 0 where it was not kept.
        draw: what the spot samples were drawn by; empty for labels that were given.
        spent: what was spent on labels; None for labels that were given.
        probe: agreement on the version's fixed probe; None under the decoder that it was distilled for, where it is
            what it was, and where the probe could not be labelled.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    id: str = ""
    encoder_version: str
    encoder_decoder: str
    decoder: str
    decoder_uri: str
    corpus_uri: str
    spot_label_set: str
    figures: dict[str, dict[str, float]]
    untrained: dict[str, dict[str, float]]
    judgement: Judgement
    created: str
    candidates: int = 0
    draw: str = ""
    spent: Ledger | None = None
    bounds: Bounds | None = None
    probe: Shift | None = None

    def with_id(self) -> "Check":
        """The same record under the id that its content stands for.

        Fields at their default are left out, so that records from before there were such fields keep their id.
        """
        content = self.model_dump(mode="json", exclude={"id"}, exclude_defaults=True)
        return self.model_copy(update={"id": id_of(content)})

    @property
    def verdict(self) -> Verdict:
        """The outcome."""
        return self.judgement.verdict

    def was_drawn(self, version: str, seed: int) -> bool:
        """Whether it is the check of a version on the draw of a seed."""
        return self.encoder_version == version and self.draw == draw_name(seed)

    @property
    def decoder_moved(self) -> bool:
        """Whether the decoder in use is not the one that the encoder was distilled for."""
        return self.decoder != self.encoder_decoder


def draw_name(seed: int) -> str:
    """How a record names a draw."""
    return f"seed {seed}"


def measure(encoder: "Encoder", block: "Block") -> "Agreement":
    """Agreement of an encoder with the labels of a block."""
    from influcoder.statistics.agreement import agreement

    return agreement(encoder.scores(block.queries, block.candidates), block.labels)


def figures(found: "Agreement") -> dict[str, dict[str, float]]:
    """An agreement as plain numbers."""
    return {name: asdict(interval) for name, interval in found.figures().items()}


def save_check(store: ObjectStore, check: Check, report_html: bytes, report_json: bytes) -> Check:
    """Keep a check and its report; the record is written last and once."""
    kept = check.with_id()
    store.put(f"checks/{kept.id}{_PAGES[0]}", report_html, "text/html")
    store.put(f"checks/{kept.id}{_PAGES[1]}", report_json, "application/json")
    store.keep(f"checks/{kept.id}/check.json", to_json(kept))
    return kept


def load_check(store: ObjectStore, check_id: str) -> Check:
    """A check by its id.

    Raises:
        IntegrityError: there is none, or it was changed since.
    """
    key = f"checks/{check_id}/check.json"
    check = read(store, key, Check, _MEND)
    if check is None:
        raise IntegrityError(f"there is no check {check_id!r} in {store.uri('')}.")
    refuse_other(store, key, check.with_id().id, check_id, _MEND)
    return check


def check_ids(store: ObjectStore) -> list[str]:
    """Ids of all checks, in no order of time."""
    return [key.split("/")[1] for key in store.keys("checks/") if key.endswith("/check.json")]


def checks(store: ObjectStore) -> list[Check]:
    """Every check in the store, oldest first."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda check_id: load_check(store, check_id), check_ids(store))
    return sorted(found, key=lambda check: check.created)


def newest_check(store: ObjectStore, version: str) -> Check | None:
    """The last check of an encoder version; every check in the store is read for that."""
    return next((check for check in reversed(checks(store)) if check.encoder_version == version), None)


def facts(check: Check, alpha: float) -> dict[str, float]:
    """Numbers of the decision and of what was spent, for charts, by names in `monitoring.reports.metrics.FACTS`.

    Args:
        check: the record.
        alpha: `drift.alpha`.
    """
    e_value, spent, probe = check.judgement.e_value, check.spent, check.probe
    # Without a fall the e-value goes towards 0, and a chart of its logarithm would show that alone.
    evidence = {} if e_value is None else {"evidence": max(0.0, log10(e_value)) if e_value > 0 else 0.0}
    ledger = {} if spent is None else {"labelled": spent.labelled, "cached": spent.cached, "seconds": spent.seconds}
    if spent and probe:
        ledger |= {"labelled": spent.labelled + probe.samples, "seconds": spent.seconds + probe.seconds}
    rho = check.figures["rho"]["value"]
    decided = {str(check.verdict): rho} if isfinite(rho) else {}
    fixed = {"probe": probe.now["value"]} if probe and isfinite(probe.now["value"]) else {}
    return {**evidence, "evidence_needed": -log10(alpha), **ledger, **decided, **fixed}


def expire_reports(store: ObjectStore, known: Sequence[Check], keep_days: int) -> int:
    """Delete the pages of checks that are older, 4 MB each; their records stay. How many objects went.

    Args:
        store: holds the checks.
        known: checks, of which the old ones lose their pages.
        keep_days: days that pages are kept.
    """
    limit = datetime.now(UTC) - timedelta(days=keep_days)
    old = {check.id for check in known if datetime.fromisoformat(check.created) < limit}
    gone = [key for key in store.keys("checks/") if key.split("/")[1] in old and key.endswith(_PAGES)] if old else []
    for key in gone:
        store.delete(key)
    return len(gone)


def report_link(store: ObjectStore, check: Check) -> str:
    """A signed URL of a check's report."""
    return store.link(f"checks/{check.id}{_PAGES[0]}")


def event_payload(check: Check) -> dict[str, Any]:
    """What an event carries: the id, and figures for the people who read it; the truth is in the store."""
    rho = check.figures["rho"]
    return {
        "check_id": check.id,
        "verdict": str(check.verdict),
        "rho": round(rho["value"], 4),
        "encoder": check.encoder_version,
    }


def headline(found: "EncoderVersion", check: Check) -> str:
    """One sentence about a check."""
    rho = check.figures["rho"]
    return (
        f"encoder {found.version}: {check.verdict}, agreement {rho['value']:.3f} [{rho['lo']:.3f}, {rho['hi']:.3f}] "
        f"over {rho['queries']:.0f} queries{f', {check.bounds}' if check.bounds else ''}; {check.judgement.reason}"
        f"{f'; {check.probe}' if check.probe else ''}"
    )

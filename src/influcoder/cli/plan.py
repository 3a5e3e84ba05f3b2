"""What `influcoder label` would take, as a table."""

from rich.table import Table

from influcoder.cli.tables import facts
from influcoder.labelsets.estimate import estimate
from influcoder.settings.tree import load_settings
from influcoder.storage.object_store import ObjectStore


def plan_table(decoder: str | None, corpus: str | None) -> Table:
    """Samples, what is cached, expected time and bytes."""
    settings = load_settings(decoder=decoder or None, corpus=corpus or None)
    found = estimate(settings, ObjectStore(settings.store))
    rate = f"{found.tokens_per_second:.0f} tokens a second, measured now"
    rows = [
        ("decoder", f"{settings.decoder}, fingerprint {found.fingerprint[:12]}"),
        ("corpus", settings.corpus),
        ("samples", f"{found.samples}"),
        ("cached", f"{found.cached}, the probe's among them"),
        ("to label", f"{found.samples - found.cached}, {found.tokens} tokens"),
        ("cut by the length limit", f"{found.cut_share:.0%} of the tokens (teacher.max_tokens)"),
        ("expected time", f"{_duration(found.seconds)}, at {rate}" if found.tokens else "none"),
        ("expected size", f"{found.feature_bytes / 1e6:.1f} MB of features, {found.bytes_per_sample} bytes a sample"),
    ]
    return facts("influcoder label would take", rows)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} hours"

"""What `influcoder label` would take, as a table."""

from rich.table import Table

from influcoder.labelsets.estimate import estimate
from influcoder.settings import load_settings
from influcoder.store import ObjectStore


def plan_table(decoder: str | None, corpus: str | None) -> Table:
    """Samples, what is cached, expected time and bytes."""
    given = {name: value for name, value in (("decoder", decoder), ("corpus", corpus)) if value}
    settings = load_settings(**given)
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
    table = Table(title="influcoder label would take", title_justify="left", show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} hours"

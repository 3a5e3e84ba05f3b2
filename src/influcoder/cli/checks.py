"""Every check with its evidence and what it spent."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from influcoder.cli.tables import AsJson, console, print_json

if TYPE_CHECKING:
    from monitoring.checks.record import Check

# Several figures in one cell keep a line within a hundred characters.
COLUMNS = (
    "check",
    "verdict",
    "ρ\nlift",
    "floor\nceiling",
    "change\nprobe\ne-value",
    "labelled\ncached",
    "seconds\ncost",
)
WORDS = ("check", "verdict")


def checks(as_json: AsJson = False) -> None:
    """Every check: verdict, agreement, evidence of a fall, and what was spent on its labels and why no more.

    Examples: `influcoder checks`, `influcoder checks --json`
    """
    from flows.context import load_place
    from monitoring.checks.record import checks as every

    found = every(load_place().store)
    if not as_json:
        console.print(table(found))
        return
    for check in found:
        print_json(check.model_dump(mode="json"))


def table(found: Sequence["Check"]) -> Table:
    """The checks as a table, oldest first."""
    grid = Table(title=f"Checks ({total(found)})", title_justify="left", show_lines=True)
    for name in COLUMNS:
        grid.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True)
    grid.add_column("stopped", min_width=10)
    for check in found:
        judgement, rho = check.judgement, check.figures["rho"]["value"]
        evidence = "" if judgement.e_value is None else f"{judgement.e_value:.3g}"
        floor, ceiling, lift = _bounds(check)
        grid.add_row(
            f"{datetime.fromisoformat(check.created):%Y-%m-%d %H:%M}\n{check.id}",
            f"{check.verdict}\nencoder {check.encoder_version}",
            *(f"{rho:.3f}\n{lift}", f"{floor}\n{ceiling}", f"{judgement.change:+.3f}\n{_probe(check)}\n{evidence}"),
            *_spent(check),
        )
    grid.caption = "change: since promotion; probe: change on the fixed probe, under another decoder; times are UTC"
    grid.caption_justify = "left"
    return grid


def total(found: Sequence["Check"]) -> str:
    """What was spent on labels in all."""
    spent = [check.spent for check in found if check.spent is not None]
    costs = [ledger.cost for ledger in spent if ledger.cost is not None]
    probes = [check.probe for check in found if check.probe is not None]
    labelled = sum(ledger.labelled for ledger in spent) + sum(probe.samples for probe in probes)
    seconds = sum(ledger.seconds for ledger in spent) + sum(probe.seconds for probe in probes)
    return f"{labelled} samples labelled in {seconds:.0f} s" + (f", cost {sum(costs):.2f}" if costs else "")


def _probe(check: "Check") -> str:
    """How agreement changed where samples stay the same; empty where the decoder does, too."""
    return f"{check.probe.change['value']:+.3f}" if check.probe else ""


def _bounds(check: "Check") -> tuple[str, str, str]:
    """Floor, ceiling and lift."""
    if check.bounds is None:
        return "unknown", "unknown", "unknown"
    ceiling = check.bounds.ceiling
    top = f"{ceiling['value']:.3f}" if ceiling else "unknown"
    return f"{check.bounds.height:.3f}", top, f"{check.bounds.lift['value']:+.3f}"


def _spent(check: "Check") -> tuple[str, ...]:
    if check.spent is None:
        return "", "", "labels were given"
    ledger = check.spent
    cost = "" if ledger.cost is None else f"{ledger.cost:.2f}"
    return f"{ledger.labelled}\n{ledger.cached}", f"{ledger.seconds:.0f}\n{cost}", ledger.stopped

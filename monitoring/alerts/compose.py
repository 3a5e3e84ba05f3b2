"""Alerts in words: one function for each thing that raises one."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from influcoder.core.provenance import now
from influcoder.settings.alerts import AlertKind
from influcoder.storage.object_store import sha256
from monitoring.alerts.alert import TITLE, Alert, Figure, OutboxEntry

if TYPE_CHECKING:
    # Both bring encoders and torch with them, which a deliverer has no use for.
    from monitoring.checks.record import Check
    from monitoring.loop.gate import GateResult


def drift(check: "Check", links: Mapping[str, str]) -> Alert:
    """The champion no longer ranks like exact influence."""
    rho, change = check.figures["rho"], check.judgement
    what = f"On fresh spot labels, encoder {check.encoder_version} no longer ranks like exact influence."
    if check.decoder_moved:
        what += " The decoder in use is not the one that it was distilled for."
    return Alert(
        kind=AlertKind.DRIFT,
        subject=f"encoder {check.encoder_version}",
        occurrence=f"check {check.id}",
        title=f"encoder {check.encoder_version} drifted, agreement {rho['value']:.2f} ({change.change:+.2f})",
        what=what,
        sure=f"{change.reason[:1].upper()}{change.reason[1:]}, over {rho['queries']:.0f} queries.",
        figures=(
            _figure("agreement (mean per-query ρ)", rho),
            Figure(name="change since promotion", value=change.change, lo=change.lo, hi=change.hi),
            *_bounds(check),
            *([_figure("change on the fixed probe", check.probe.change)] if check.probe else []),
        ),
        doing="It answers this check once: it labels what is new, trains a challenger, and the gate decides. "
        f"Until then encoder {check.encoder_version} goes on answering.",
        todo=(
            "See where it stands: `influcoder status`",
            f"Answer it now, if no retraining starts: `influcoder retrain {check.id}`",
            "Go back to an earlier version: `influcoder rollback`",
        ),
        links=dict(links),
        created=check.created,
    )


def failed_gate(version: str, champion: str | None, result: "GateResult", links: Mapping[str, str]) -> Alert:
    """A challenger was held by the promotion gate."""
    stays = f"Encoder {champion} stays the champion" if champion else "There is still no champion"
    figures = [_triple("lift over the floor", result.over_floor)]
    if result.over_champion:
        figures.append(_triple("gain over the champion", result.over_champion))
    return Alert(
        kind=AlertKind.GATE,
        subject=f"encoder {version}",
        occurrence=f"gate {sha256(result.model_dump_json().encode())[:16]}",
        title=f"encoder {version} did not pass the gate",
        what=f"The challenger, encoder {version}, was held against the gate and failed. {stays}.",
        sure=" ".join(f"{reason[:1].upper()}{reason[1:]}." for reason in result.reasons),
        figures=tuple(figures),
        doing="Nothing is promoted, and the refusal is in the journal. The next drift starts another retraining.",
        todo=(
            "Read the gate's evidence on the version's page in MLflow",
            "Give training more to learn from: raise `labels.budget`, then `influcoder label` and `influcoder train`",
            f"Try it again on its own: `influcoder promote --version {version}`",
        ),
        links=dict(links),
        created=now(),
    )


def breaker(subject: str, occurrence: str, what: str, links: Mapping[str, str], todo: Sequence[str] = ()) -> Alert:
    """Retraining stopped itself.

    Args:
        subject: what it stopped for, such as `decoder 0f3a…`.
        occurrence: what tripped it, such as the id of the last check.
        what: how many challengers failed, and why; a few sentences.
        links: addresses by the words to show.
        todo: what the reader can do before `influcoder status`.
    """
    return Alert(
        kind=AlertKind.BREAKER,
        subject=subject,
        occurrence=occurrence,
        title=_cut(f"retraining stopped for {subject}"),
        what=what,
        doing="No retraining starts by itself any more, and scores are marked degraded wherever they are served.",
        todo=(*todo, "See where it stands: `influcoder status`"),
        links=dict(links),
        created=now(),
    )


def refused_labels(label_set: str, kind: str, failures: Sequence[str], checked: int, links: Mapping[str, str]) -> Alert:
    """Great Expectations refused a label set.

    Args:
        label_set: its id.
        kind: `training` or `spot`.
        failures: the expectations that do not hold.
        checked: how many there are.
        links: the Data Docs.
    """
    shown = "; ".join(failures[:3]) + ("; and more" if len(failures) > 3 else "")
    without = "The check that wanted them has no verdict." if kind == "spot" else "Training goes on from older labels."
    return Alert(
        kind=AlertKind.VALIDATION,
        subject=f"{kind} labels",
        occurrence=f"label set {label_set}",
        title=f"{kind} labels refused, {len(failures)} of {checked} expectations broken",
        what=f"Great Expectations refused the {kind} label set `{label_set}`: {shown}.",
        sure="The rules are exact; each names the column that it broke on.",
        doing=f"Nothing of it is published. {without}",
        todo=(
            "Read the Data Docs, and the samples that they name",
            "Mend the corpus or the setting, then run the same command again: features are cached, so it is cheap",
        ),
        links=dict(links),
        created=now(),
    )


def dead_channel(channel: str, gone: Sequence[OutboxEntry], failing_since: datetime | None, at: datetime) -> Alert:
    """Alerts that never reached a channel; for the other channels."""
    ids = sorted(entry.id for entry in gone)
    titles = "; ".join(entry.alert.title for entry in gone[:3]) + ("; and more" if len(gone) > 3 else "")
    since = f" It has failed since {failing_since:%d %b, %H:%M} UTC." if failing_since else ""
    return Alert(
        kind=AlertKind.CHANNEL,
        subject=f"channel {channel}",
        occurrence=f"given up {sha256(' '.join(ids).encode())[:16]}",
        title=_cut(f"channel {channel} is dead, {len(gone)} alerts never arrived"),
        what=f"These did not reach channel {channel}: {titles}.{since}",
        doing="They are not tried again there. What is raised from now on is.",
        todo=(
            "Read them: `influcoder alerts list`",
            "Mend the channel's URL in the settings, then try it: `influcoder alerts test`",
        ),
        created=at.replace(microsecond=0).isoformat(),
    )


def test_message() -> Alert:
    """What `influcoder alerts test` sends."""
    return Alert(
        kind=AlertKind.TEST,
        subject="channels",
        occurrence=now(),
        title="this is a test",
        what="Somebody ran `influcoder alerts test`. If you can read this, alerts reach you here.",
        doing="Nothing: no alert was raised.",
        created=now(),
    )


def _bounds(check: "Check") -> list[Figure]:
    """Where the agreement stands; records from before floors were measured know the untrained encoder alone."""
    bounds = check.bounds
    if bounds is None:
        return [_figure("untrained encoder", check.untrained["rho"])]
    found = [_figure(f"floor ({bounds.floor})", bounds.floors[bounds.floor]), _figure("lift over it", bounds.lift)]
    return [*found, _figure("ceiling of the labels", bounds.ceiling)] if bounds.ceiling else found


def _figure(name: str, values: Mapping[str, float]) -> Figure:
    return Figure(name=name, value=values["value"], lo=values["lo"], hi=values["hi"])


def _triple(name: str, values: tuple[float, float, float]) -> Figure:
    return Figure(name=name, value=values[0], lo=values[1], hi=values[2])


def _cut(title: str) -> str:
    return title if len(title) <= TITLE else f"{title[: TITLE - 1]}…"

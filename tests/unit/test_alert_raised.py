"""What each thing that raises an alert says, from the records that flows really have."""

from datetime import UTC, datetime

from influcoder.settings.alerts import AlertKind
from monitoring.alerts.alert import TITLE, OutboxEntry
from monitoring.alerts.compose import breaker, dead_channel, drift, failed_gate, refused_labels
from monitoring.alerts.policy import Message
from monitoring.alerts.render import render
from monitoring.checks.findings import Judgement, Verdict
from monitoring.checks.record import Check
from monitoring.loop.gate import GateResult

FIGURE = {"value": 0.41, "lo": 0.37, "hi": 0.45, "queries": 60.0}
CHECK = Check(
    encoder_version="3",
    encoder_decoder="old",
    decoder="new",
    decoder_uri="d",
    corpus_uri="c",
    spot_label_set="s",
    figures={"rho": FIGURE},
    untrained={"rho": {**FIGURE, "value": 0.1}},
    judgement=Judgement(verdict=Verdict.DRIFT, reason="mean per-query ρ fell", change=-0.183, lo=-0.23, hi=-0.13),
    created="2026-11-24T05:03:10+00:00",
).with_id()
RESULT = GateResult(passed=False, reasons=("failed: over the champion by -0.1",), over_floor=(0.1, 0.05, 0.15))


def text_of(alert):
    return render(Message((OutboxEntry(alert=alert, channels=()),))).text


def test_drift_says_how_far_it_fell_and_that_the_decoder_moved():
    alert = drift(CHECK, {"Evidently report": "http://x"})
    assert alert.title == "encoder 3 drifted, agreement 0.41 (-0.18)"
    shown = text_of(alert)
    for words in (
        "0.410 [0.370, 0.450]",
        "-0.183 [-0.230, -0.130]",
        "over 60 queries",
        CHECK.id,
        "not the one that it",
    ):
        assert words in shown
    same = CHECK.model_copy(update={"decoder": "old"})
    assert "not the one that it" not in text_of(drift(same, {}))


def test_one_event_has_one_id_and_another_one_has_another():
    again = CHECK.model_copy(update={"created": "2026-11-25T05:03:10+00:00"}).with_id()
    assert drift(CHECK, {}).id == drift(CHECK, {"x": "y"}).id != drift(again, {}).id
    assert drift(CHECK, {}).topic == drift(again, {}).topic
    other = RESULT.model_copy(update={"over_floor": (0.2, 0.1, 0.3)})
    assert failed_gate("4", "3", RESULT, {}).id == failed_gate("4", "3", RESULT, {}).id
    assert failed_gate("4", "3", other, {}).id != failed_gate("4", "3", RESULT, {}).id
    assert failed_gate("5", "3", RESULT, {}).topic != failed_gate("4", "3", RESULT, {}).topic


def test_a_failed_gate_says_who_stays():
    assert "Encoder 3 stays the champion." in text_of(failed_gate("4", "3", RESULT, {}))
    assert "There is still no champion." in text_of(failed_gate("4", None, RESULT, {}))
    assert "Failed: over the champion by -0.1." in text_of(failed_gate("4", "3", RESULT, {}))


def test_long_names_and_many_failures_stay_readable():
    assert len(breaker("decoder " + "x" * 300, "o", "w", {}).title) == TITLE
    refused = refused_labels("abc", "spot", [f"rule {i}" for i in range(40)], 41, {})
    assert "rule 2; and more" in refused.what
    assert "rule 3" not in refused.what
    assert refused.kind is AlertKind.VALIDATION


def test_a_dead_channel_names_what_it_missed_once():
    gone = [OutboxEntry(alert=drift(CHECK, {}), channels=("dead",))]
    now = datetime(2026, 11, 25, tzinfo=UTC)
    alert = dead_channel("dead", gone, datetime(2026, 11, 22, 4, tzinfo=UTC), now)
    assert "encoder 3 drifted" in alert.what
    assert "since 22 Nov, 04:00 UTC" in alert.what
    assert alert.id == dead_channel("dead", gone, None, now).id

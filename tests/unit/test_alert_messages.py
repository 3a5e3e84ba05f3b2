"""Settings of channels, and how an alert reads; no secret is in either."""

import traceback

import pytest

from influcoder.core.errors import SettingsError
from influcoder.settings.alerts import AlertChannel, AlertKind, AlertSettings
from influcoder.settings.tree import load_settings
from monitoring.alerts.alert import Alert, Figure, OutboxEntry
from monitoring.alerts.channels import channels_for, examine, scrubbed
from monitoring.alerts.policy import Message
from monitoring.alerts.render import render, severity

SEVERITIES = {
    AlertKind.DRIFT: "warning",
    AlertKind.GATE: "warning",
    AlertKind.BREAKER: "failure",
    AlertKind.SCHEDULE: "failure",
    AlertKind.VALIDATION: "warning",
    AlertKind.CHANNEL: "failure",
    AlertKind.APPROVAL: "warning",
    AlertKind.TEST: "info",
}
SECRET = "s3cretThatNobodyMaySee"


def raised(kind=AlertKind.DRIFT, **more):
    words = {
        "title": "a <b> title",
        "what": "It `broke`.",
        "doing": "It mends.",
        "created": "2026-11-24T05:03:10+00:00",
    }
    return OutboxEntry(
        alert=Alert(kind=kind, subject="encoder 3", **{"occurrence": "check 1", **words, **more}), channels=()
    )


@pytest.mark.parametrize(
    "given",
    [
        f'["slack://{SECRET}", {{"url": "json://{SECRET}", "onl": ["drift"]}}]',
        f'[{{"ul": "slack://{SECRET}"}}]',
        f'[{{"url": ["{SECRET}"]}}]',
        f'"slack://{SECRET}',
        f'{{"url": "slack://{SECRET}"}}',
        f'[{{"url": "slack://{SECRET}", "name": "x"}}, {{"url": "slack://{SECRET}", "name": "x"}}]',
        f'[{{"url": "slack://{SECRET}", "name": "Not A Name"}}]',
    ],
)
def test_settings_that_are_refused_show_no_secret(given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFLUCODER_ALERTS__CHANNELS", given)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_channel_is_known_by_its_name():
    urls = (f"slack://{SECRET}", "slack://other", {"url": "mailto://x", "name": "team"}, f"{SECRET}")
    settings = AlertSettings(channels=urls)
    assert [channel.name for channel in settings.channels] == ["slack", "slack-2", "team", "channel"]
    rotated = AlertSettings(channels=("slack://new-token", *urls[1:]))
    assert [channel.name for channel in rotated.channels] == [channel.name for channel in settings.channels]
    assert SECRET not in repr(settings) + settings.model_dump_json()


def test_a_channel_takes_the_kinds_that_it_is_for():
    settings = AlertSettings(channels=("json://a", {"url": "json://b", "name": "on-call", "only": ["breaker"]}))
    assert channels_for(AlertKind.BREAKER, settings) == ("json", "on-call")
    assert channels_for(AlertKind.DRIFT, settings) == ("json",)


@pytest.mark.parametrize("url", [SECRET, f"foo://{SECRET}", f"slack://{SECRET}", "mailto://"])
def test_a_malformed_url_is_refused_without_being_shown(url):
    with pytest.raises(SettingsError, match="Apprise can't read the URL of 'x'") as caught:
        examine(AlertChannel(url=url, name="x"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_errors_are_scrubbed_of_all_that_a_url_says():
    channel = AlertChannel(url=f"json://me%40home:{SECRET}@hooks.example.org/a%2Ftoken?+X-Key={SECRET}2", name="x")
    text = f"POST https://hooks.example.org/a/token with me@home, {SECRET}, {SECRET}2: error 500"
    assert scrubbed(text, channel) == "POST https://****/**** with ****, ****, ****: error 500"


def test_every_part_of_an_alert_is_in_every_format():
    alert = raised(
        sure="Quite, [-0.100, 0.200].",
        figures=(Figure(name="agreement", value=0.41234, lo=0.371, hi=0.455),),
        todo=("Look: `influcoder status`",),
        links={"Report": "http://x/?a=1&b=2"},
    )
    shown = render(Message((alert,)))
    for body in (shown.text, shown.markdown, shown.html):
        for words in ("agreement", "0.412", "[0.371, 0.455]", "It mends.", "influcoder status", "Report", alert.id):
            assert words in body
    assert shown.title == "Influcoder: a <b> title"
    assert "A &lt;b&gt; title" in shown.html
    assert 'href="http://x/?a=1&amp;b=2"' in shown.html
    assert "[Report](http://x/?a=1&b=2)" in shown.markdown
    assert "`" not in shown.text


@pytest.mark.parametrize("kind", AlertKind)
def test_every_kind_can_be_shown_alone_and_in_a_digest(kind):
    alone, both = Message((raised(kind),)), Message((raised(kind), raised(occurrence="check 2")), digest=True)
    assert severity(alone) == SEVERITIES[kind]
    mixed = Message((raised(kind), raised(AlertKind.BREAKER)))
    assert severity(mixed) == "failure", "the worst of what is in a message"
    shown = render(both)
    assert shown.title == "Influcoder: 2 alerts were held back"
    for entry in both.alerts:
        assert all(entry.id in body for body in (shown.text, shown.markdown, shown.html))
    assert render(alone).html.count("<h1") == 1

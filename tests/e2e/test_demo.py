"""The main job, on the real models and the real servers, as `make demo` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from leash import VARIABLE, leash

from influcoder.local.stack import Stack

COMMAND = Path(sys.executable).parent / "influcoder"


@pytest.mark.long
def test_demo(tmp_path):
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("INFLUCODER", "PREFECT", "KEEP"))
    }
    with leash():
        clean[VARIABLE] = os.environ[VARIABLE]
        done = subprocess.run([COMMAND, "demo"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    folder = tmp_path / ".influcoder" / "demo"
    assert Stack(folder).pid is None
    summary = json.loads((folder / "summary.json").read_text())
    agreement = summary["agreement"]
    first = summary["encoder_versions"][0]["tags"]
    assert first["gate"] == "passed"
    assert float(first["agreement.rho"]) > float(first["agreement.untrained"])
    assert all(figure["lo"] <= figure["rho"] <= figure["hi"] for figure in agreement.values() if figure)
    assert summary["decoder_fingerprint"] != summary["decoder_fingerprint_after_change"]
    assert summary["encoder_versions"][0]["tags"]["decoder.fingerprint"] == summary["decoder_fingerprint"]
    assert summary["encoder_versions"][0]["tags"]["labelset.id"] == summary["label_set_id"]
    # The decoder is fine-tuned so hard that no draw of samples can miss it.
    assert summary["verdicts"]["before"] != summary["verdicts"]["after_change"] == "drift"
    assert len(summary["events"]) == 1
    assert summary["retrain_run_id"]
    assert summary["cause"] == "the decoder moved"
    newest = summary["encoder_versions"][-1]
    assert newest["tags"]["decoder.fingerprint"] == summary["decoder_fingerprint_after_change"]
    # The gate is a measurement, so a challenger may fail it; alias and tag have to agree.
    assert (newest["alias"] == "champion") == (newest["tags"]["gate"] == "passed")
    assert "%|" not in done.stdout + done.stderr, "a bar of another library"
    answer = json.loads((folder / "answer.json").read_text())
    assert [row["end"] for row in answer] == ["most"] * 10 + ["least"] * 3
    assert all(row["source"] and row["exact"] is not None for row in answer)

"""The guide's code, as it stands there, on a tiny decoder."""

import re
import shutil
from pathlib import Path

import pytest
from small import write_jsonl

GUIDE = Path(__file__).parents[2] / "docs" / "steering.md"


@pytest.fixture
def world(tiny_decoder_dir, samples, tmp_path, monkeypatch):
    """The files that the guide names."""
    shutil.copytree(tiny_decoder_dir, tmp_path / "my-checkpoint")
    for name, chosen in (("validation", samples[::3]), ("pool", [s for s in samples if s not in samples[::3]])):
        records = [{"id": s.id, "context": s.context, "target": s.target} for s in chosen]
        write_jsonl(tmp_path / f"{name}.jsonl", records)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def test_the_guides_code_runs_as_it_stands(world, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(code, str(GUIDE), "exec"), names)
    printed = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\d+ ", line)]
    assert printed[0].startswith("0 ")
    assert len(printed) == len(names["callback"].state.measured) >= 2
    logged = [entry for entry in names["trainer"].state.log_history if "influence/agreement" in entry]
    assert len(logged) == len(printed)
    assert Path("out/influence-encoder-0/modules.json").is_file()
    again = {}
    resumed = code.replace("trainer.train()", "trainer.train(resume_from_checkpoint=True)")
    exec(compile(resumed, str(GUIDE), "exec"), again)
    assert again["callback"].state.measured == names["callback"].state.measured

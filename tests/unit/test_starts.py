"""Commands that only read import nothing that computes, and talk to the stack that was meant."""

import json
import shutil
import subprocess
import sys

import pytest

from influcoder.cli.stacks import choose_stack
from influcoder.core.errors import SettingsError
from influcoder.decoder.fingerprints import note, noted

SLOW = ("torch", "transformers", "sentence_transformers", "mlflow", "prefect", "pandas", "scipy", "sklearn")
HELP = """
import sys
from typer.main import get_command
from typer.testing import CliRunner
from influcoder.cli.app import app
names = [name for name in get_command(app).commands]
for words in ([], *([name] for name in names)):
    found = CliRunner().invoke(app, [*words, "--help"])
    assert found.exit_code == 0, words
    assert "Example" in found.output, words
"""
READING = """
import sys
import influcoder.cli.status, influcoder.cli.versions, influcoder.cli.journal, influcoder.serving.answers
import influcoder.samples.query_log, influcoder.encoder.kernel_numpy, monitoring.checks.record
from influcoder.index import manifests
"""


def imported(code: str, *names: str) -> list[str]:
    """Those of some packages that a fresh interpreter has imported after some code."""
    code = f"{code}\nimport json\nprint(json.dumps([name for name in {names!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_help_imports_nothing_that_computes_or_connects():
    assert imported(HELP, *SLOW, "numpy", "boto3", "requests", "pydantic_settings") == []


def test_what_reading_commands_need_imports_nothing_that_computes():
    # What they do need shows that the list is no empty one.
    assert imported(READING, *SLOW, "boto3") == ["boto3"]


def test_a_submodule_does_not_hide_the_function_of_its_name():
    from influcoder import attribution, encoder, labelsets

    assert all(map(callable, (attribution.attribute, encoder.distil, labelsets.publish)))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        labelsets.nothing  # noqa: B018


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A function that has a supervisor run under the name of a stack, and an environment that names no server."""
    monkeypatch.chdir(tmp_path)
    for name in ("INFLUCODER_STORE__ENDPOINT", "INFLUCODER_MLFLOW__TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    supervisors = []

    def run(name: str) -> None:
        folder = tmp_path / ".influcoder" / name
        folder.mkdir(parents=True)
        supervisors.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "honcho"]))
        (folder / "honcho.pid").write_text(str(supervisors[-1].pid))

    yield run
    for process in supervisors:
        process.kill()
        process.wait()


def test_the_only_stack_that_runs_is_used_and_named(runs, capsys):
    runs("demo")
    assert choose_stack(None, "status") == "demo"
    assert capsys.readouterr().err == "using the stack demo, the only one that runs (--stack demo)\n"
    assert (choose_stack("mine", "status"), choose_stack(None, "up"), choose_stack(None, "demo")) == (
        "mine",
        "local",
        "local",
    )
    runs("local")
    assert choose_stack(None, "status") == "local"
    assert capsys.readouterr().err == ""


def test_of_several_stacks_one_has_to_be_named(runs):
    runs("demo")
    runs("trial")
    with pytest.raises(SettingsError, match=r"stacks demo, trial run.*influcoder --stack demo status"):
        choose_stack(None, "status")


def test_servers_of_ones_own_need_no_stack(runs, monkeypatch, capsys):
    runs("demo")
    monkeypatch.setenv("INFLUCODER_MLFLOW__TRACKING_URI", "http://127.0.0.1:9")
    assert choose_stack(None, "status") == "local"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "template",
    [
        None,
        "{% for m in messages %}{{ bos_token }}{{ m['role'] }}: {{ m['content'] | trim }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        "{% if messages[0].role != 'system' %}You are kind.{{ eos_token }}{% endif %}\n{{ messages | tojson }}",
    ],
)
def test_a_chat_is_written_as_the_tokenizer_writes_it(template, tiny_decoder, tiny_decoder_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("INFLUCODER_CACHE", str(tmp_path))
    monkeypatch.setattr(tiny_decoder.tokenizer, "chat_template", template)
    note(str(tiny_decoder_dir), tiny_decoder)
    prompt = " What is «a»\n? "
    message = [{"role": "user", "content": prompt}]
    write = tiny_decoder.tokenizer.apply_chat_template
    expected = write(message, tokenize=False, add_generation_prompt=True) if template else prompt
    assert noted(str(tiny_decoder_dir)).chat(prompt) == expected


def test_a_fingerprint_is_known_until_the_files_change(tiny_decoder, tiny_decoder_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("INFLUCODER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "decoder"
    shutil.copytree(tiny_decoder_dir, folder)
    assert noted(str(folder)) is None
    note(str(folder), tiny_decoder)
    assert noted(str(folder)).fingerprint == tiny_decoder.fingerprint
    monkeypatch.chdir(tmp_path)
    assert noted("decoder") == noted(str(folder)), "a path is the same from wherever it is looked at"
    (folder / "model.safetensors").write_bytes(b"another")
    assert noted(str(folder)) is None
    assert noted("hf:somebody/else") is None
    assert noted("no/such/folder") is None

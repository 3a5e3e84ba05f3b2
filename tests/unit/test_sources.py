import os
import time

import pytest

from influcoder.core.errors import DecoderError
from influcoder.core.files import prune
from influcoder.decoder.addresses import stamp_of
from influcoder.decoder.sources import parts_of

WHOLE = [
    "config.json",
    "model-1.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def test_weights_configuration_and_tokenizer_are_taken_and_nothing_else():
    others = ["pytorch_model.bin", "modeling_llama.py", "optimizer.pt", "training_args.bin", "README.md"]
    assert sorted(parts_of("s3://b/p", [*WHOLE, *others])) == sorted(WHOLE)


def test_a_tokenizer_may_stand_beside_the_weights_folder():
    paths = ["model/config.json", "model/model.safetensors", "components/tokenizer/tokenizer.json", "MLmodel"]
    assert parts_of("models:/m/1", paths) == paths[:3]


def test_one_checkpoint_of_several_is_taken_whole():
    paths = [f"checkpoint-{step}/{name}" for step in (1, 2) for name in WHOLE]
    assert {path.split("/")[0] for path in parts_of("s3://b/p", paths)} == {"checkpoint-1"}


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["config.json", "pytorch_model.bin", "tokenizer.json"], "no config.json with weights in safetensors"),
        (["config.json", "model.safetensors"], "no tokenizer"),
        ([], "no config.json"),
    ],
)
def test_what_is_no_checkpoint_is_refused(paths, words):
    with pytest.raises(DecoderError, match=words):
        parts_of("s3://b/p", paths)


def test_the_sign_of_a_directory_changes_with_its_files(tiny_decoder_dir):
    before = stamp_of(str(tiny_decoder_dir))
    assert stamp_of(str(tiny_decoder_dir)) == before
    found = (tiny_decoder_dir / "config.json").stat()
    os.utime(tiny_decoder_dir / "config.json", ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))
    assert stamp_of(str(tiny_decoder_dir)) != before
    os.utime(tiny_decoder_dir / "config.json", ns=(found.st_atime_ns, found.st_mtime_ns))


def test_the_copies_that_were_used_last_stay_and_what_killed_runs_began_goes(tmp_path):
    now = time.time()
    ages = {"old": 3 * 86400, "used": 60, "new": 10, "a.part-1": 2 * 86400, "b.part-2": 30, "older": 4 * 86400}
    for name, age in ages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        os.utime(tmp_path / name, (now - age, now - age))
    (tmp_path / "a-file").touch()
    prune(tmp_path, copies=2)
    assert {path.name for path in tmp_path.iterdir()} == {"used", "new", "b.part-2", "a-file"}
    prune(tmp_path, copies=2)
    assert len(list(tmp_path.iterdir())) == 4

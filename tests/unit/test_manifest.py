import json

import pytest

from influcoder.influence.teacher import Teacher
from influcoder.labelsets.manifest import FileRef, Identity, Manifest, SampleRef, Source, library_versions
from influcoder.settings.teacher import TeacherSpec

TEACHER = Teacher(decoder_fingerprint="f" * 64, spec=TeacherSpec())
REFS = (SampleRef(hash="a", role="query", split="train"), SampleRef(hash="b", role="candidate", split="train"))
IDENTITY = Identity(kind="training", teacher=TEACHER, samples=REFS, sources=(Source(uri="docs:json", digest="d"),))
TEACHER_CHANGES = [
    {"method": "gradient-dot"},
    {"last_layers": 4},
    {"storage": "float32"},
    {"rank": 8},
    {"adapter_seed": 1},
    {"projection_dim": 4096},
    {"projection_seed": 1},
    {"max_tokens": 256},
    {"dtype": "bfloat16"},
    {"attention": "eager"},
    {"reduction": "sum"},
    {"damping": 0.5},
    {"reference": 64},
    {"origin": "somebody's"},
]


def changed(record, **values):
    return record.model_copy(update=values)


def test_same_input_gives_the_same_id():
    again = Identity.model_validate_json(IDENTITY.model_dump_json())
    assert again == IDENTITY
    assert again.id == IDENTITY.id
    assert len(IDENTITY.id) == 20


@pytest.mark.parametrize("change", TEACHER_CHANGES, ids=str)
def test_ids_change_with_each_choice_of_the_teacher(change):
    teacher = changed(TEACHER, spec=changed(TEACHER.spec, **change))
    assert teacher.id != TEACHER.id
    assert changed(IDENTITY, teacher=teacher).id != IDENTITY.id


def test_every_choice_of_the_teacher_is_tried():
    fixed = {"projection"}
    assert {name for change in TEACHER_CHANGES for name in change} == set(TeacherSpec.model_fields) - fixed


def test_teachers_that_differ_in_how_features_are_used_share_them():
    shared = [{"method": "gradient-dot"}, {"method": "fisher", "damping": 0.5, "reference": 9}]
    teachers = [changed(TEACHER, spec=changed(TEACHER.spec, **change)) for change in shared]
    assert {teacher.features_id for teacher in teachers} == {TEACHER.features_id}
    others = [changed(TEACHER, spec=changed(TEACHER.spec, rank=8)), changed(TEACHER, optimizer="a")]
    assert len({teacher.features_id for teacher in (TEACHER, *others)}) == 3


@pytest.mark.parametrize("change", [{"decoder_fingerprint": "0" * 64}, {"engine": 99}, {"optimizer": "a"}], ids=str)
def test_ids_change_with_decoder_and_engine(change):
    teacher = changed(TEACHER, **change)
    assert teacher.id != TEACHER.id
    assert changed(IDENTITY, teacher=teacher).id != IDENTITY.id


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spot"},
        {"parent": "before"},
        {"schema_version": 3},
        {"sources": (Source(uri="docs:json", digest="e"),)},
        {"samples": REFS[:1]},
        {"samples": REFS[::-1]},
        *[
            {"samples": (changed(REFS[0], **ref), REFS[1])}
            for ref in ({"hash": "c"}, {"role": "candidate"}, {"split": "report"})
        ],
    ],
    ids=lambda change: next(iter(change)),
)
def test_id_changes_with_what_the_labels_are(change):
    assert changed(IDENTITY, **change).id != IDENTITY.id


def test_manifest_round_trip_keeps_the_id():
    manifest = Manifest(
        identity=IDENTITY,
        decoder_uri="somewhere",
        files={"samples.parquet": FileRef(sha256="0" * 64, bytes=1)},
        quarantined={"c": "loss nan"},
        cut_share=0.25,
        code_commit="unknown",
        libraries=library_versions(),
        created="2026-01-01T00:00:00+00:00",
    )
    again = Manifest.model_validate_json(manifest.model_dump_json())
    assert again == manifest
    assert again.id == IDENTITY.id
    assert (again.count("train", "query"), again.count("report", "query")) == (1, 0)


def test_id_does_not_depend_on_when_or_where_the_work_was_done():
    record = json.loads(IDENTITY.model_dump_json())
    assert set(record) == {"schema_version", "kind", "teacher", "samples", "sources", "parent"}


@pytest.mark.parametrize(
    "wrong", [{"rank": 0}, {"reduction": "batch"}, {"projection": "gaussian"}, {"max_tokens": 4}, {"alpha": 1}], ids=str
)
def test_teacher_that_can_not_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TeacherSpec(**wrong)

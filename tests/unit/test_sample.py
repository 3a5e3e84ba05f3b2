import dataclasses

import pytest

from influcoder.core.errors import SampleError
from influcoder.samples import Sample
from influcoder.samples.sample import content_id

SAMPLE = Sample("a", "Where?", "Here.", "Where? Here.", "places", {"lang": "en"})


@pytest.mark.parametrize("field", ["context", "target", "text"])
def test_hash_depends_on_content(field):
    assert dataclasses.replace(SAMPLE, **{field: "something else"}).hash != SAMPLE.hash


@pytest.mark.parametrize("change", [{"id": "b"}, {"source": "elsewhere"}, {"metadata": {"lang": "de"}}])
def test_hash_depends_on_nothing_else(change):
    assert dataclasses.replace(SAMPLE, **change).hash == SAMPLE.hash


def test_hash_tells_where_the_context_ends():
    text = "abc"
    assert Sample("1", "ab", "c", text).hash != Sample("1", "a", "bc", text).hash


@pytest.mark.parametrize("target", ["", " ", "\n\t "])
def test_blank_target_is_refused(target):
    with pytest.raises(SampleError, match="'nothing' has an empty target"):
        Sample("nothing", "Where?", target)


def test_text_is_context_and_target_unless_given():
    assert Sample("1", "Where?", "Here.").text == "Where?\nHere."
    assert Sample("1", "", "Here.").text == "Here."
    assert Sample("1", "Where?", "Here.", "a view").text == "a view"


def test_content_id_is_short_and_depends_on_both_parts():
    assert len(content_id("a", "b")) == 16
    assert len({content_id("a", "b"), content_id("a", "c"), content_id("c", "b"), content_id("ab", "")}) == 4

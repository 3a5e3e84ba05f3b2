import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.influence.features.tokens import tokenize
from influcoder.samples import Sample

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LIMITS = st.integers(8, 80)


def ids_of(decoder, text):
    return tuple(decoder.tokenizer(text, add_special_tokens=False)["input_ids"])


@given(context=TEXT, target=TEXT.filter(str.strip), limit=LIMITS)
def test_both_parts_survive_the_limit(tiny_decoder, context, target, limit):
    tokens = tokenize(tiny_decoder.tokenizer, Sample("1", context, target), limit)
    assert len(tokens) <= limit
    assert 1 <= tokens.target_start < len(tokens)
    assert 0 <= tokens.cut < 1


@given(context=TEXT.filter(bool), target=TEXT.filter(str.strip), limit=LIMITS)
def test_target_keeps_its_beginning_and_context_its_end(tiny_decoder, context, target, limit):
    tokens = tokenize(tiny_decoder.tokenizer, Sample("1", context, target), limit)
    kept_context, kept_target = tokens.ids[: tokens.target_start], tokens.ids[tokens.target_start :]
    whole_context, whole_target = ids_of(tiny_decoder, context), ids_of(tiny_decoder, target)
    assert whole_context[-len(kept_context) :] == kept_context
    assert whole_target[: len(kept_target)] == kept_target
    assert tokens.cut == pytest.approx(1 - len(tokens) / len(whole_context + whole_target))


@given(context=TEXT.filter(bool), target=TEXT.filter(str.strip), limit=LIMITS)
def test_nothing_is_cut_that_fits(tiny_decoder, context, target, limit):
    whole = len(ids_of(tiny_decoder, context) + ids_of(tiny_decoder, target))
    tokens = tokenize(tiny_decoder.tokenizer, Sample("1", context, target), limit)
    assert len(tokens) == min(whole, limit)
    assert (tokens.cut == 0) == (whole <= limit)


@given(context=TEXT, target=TEXT.filter(str.strip), limit=LIMITS)
def test_target_keeps_half_of_the_room(tiny_decoder, context, target, limit):
    tokens = tokenize(tiny_decoder.tokenizer, Sample("1", context, target), limit)
    assert len(tokens) - tokens.target_start >= min(len(ids_of(tiny_decoder, target)), limit // 2)


def test_target_without_context_starts_after_the_end_token(tiny_decoder):
    tokens = tokenize(tiny_decoder.tokenizer, Sample("1", "", "Here."), 32)
    assert tokens.ids == (tiny_decoder.tokenizer.eos_token_id, *ids_of(tiny_decoder, "Here."))
    assert tokens.target_start == 1

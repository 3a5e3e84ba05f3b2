import logging
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influcoder.core.errors import IntegrityError
from influcoder.labelsets import plan_spot
from influcoder.samples import ASKED, Corpus, Sample, split_of
from influcoder.samples import query_log as asked
from influcoder.settings.labels import AskedSettings, SplitBudget

MOMENT = datetime(2026, 3, 9, 12, 30, tzinfo=UTC)
# Any text that JSON can hold; of an answer, any that is not blank.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
answers = texts.filter(str.strip)
questions = st.builds(
    asked.Question,
    asked=st.datetimes(timezones=st.just(UTC)),
    context=texts,
    target=answers,
    text=answers,
    encoder=st.just("3"),
    decoder=st.just("ab" * 32),
)


class Shelf:
    """Keys and bytes; what the rules of retention need of a store. The real one is in the integration tests."""

    def __init__(self, found=()):
        self.objects = dict(found)

    def keys(self, prefix):
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def get(self, key):
        return self.objects[key]

    def keep(self, key, data):
        return self.objects.setdefault(key, data) is data

    def delete(self, key):
        self.objects.pop(key)


def query(text, context="Tell: "):
    return Sample("q", context, text, source="output")


def log(shelf, *texts_, at=MOMENT, **given_):
    return asked.remember(shelf, AskedSettings(), [query(t) for t in texts_], "3", "d" * 64, at=at, **given_)


@given(st.lists(questions, min_size=1, max_size=5))
def test_what_is_written_is_read(found):
    data = "\n".join(item.model_dump_json() for item in found).encode()
    assert asked.parse(data) == tuple(found)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_log_are_refused_and_nothing_else_happens(data):
    with pytest.raises(IntegrityError, match="no log of questions"):
        asked.parse(data)


@given(questions, st.data())
def test_a_log_that_was_cut_off_is_refused(found, data):
    whole = found.model_dump_json().encode()
    with pytest.raises(IntegrityError):
        asked.parse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize(
    "change", [{"schema_version": 2}, {"user": "ann"}, {"target": " \n"}], ids=["newer", "unknown field", "blank"]
)
def test_a_record_that_is_not_of_this_format_is_refused(change):
    record = asked.Question(asked=MOMENT, context="", target="t", text="t", encoder="1", decoder="d")
    with pytest.raises(IntegrityError):
        asked.parse(
            record.model_copy(update=change).model_dump_json().encode() if "user" not in change else b'{"user": 1}'
        )


@given(st.lists(st.integers(0, 90), max_size=12), st.integers(1, 60))
def test_only_days_that_may_be_kept_stay(ages, keep_days):
    shelf, today, settings = Shelf(), date(2026, 3, 9), AskedSettings(keep_days=keep_days)
    for number, age in enumerate(ages):
        log(shelf, f"answer {number}", at=MOMENT - timedelta(days=age))
    shelf.objects |= {"asked/notes.txt": b"", "asked/soon/x.jsonl": b"", "checks/1/check.json": b""}
    gone = asked.expire(shelf, settings, today)
    assert gone == sum(age > keep_days for age in ages)
    kept = {asked.day_of(key) for key in asked.keys(shelf)}
    assert kept == {today - timedelta(days=age) for age in ages if age <= keep_days}
    assert {"asked/notes.txt", "asked/soon/x.jsonl", "checks/1/check.json"} <= shelf.objects.keys()


def test_purging_empties_the_log_or_what_is_before_a_day():
    shelf = Shelf()
    for age in range(4):
        log(shelf, f"answer {age}", at=MOMENT - timedelta(days=age))
    assert asked.purge(shelf, date(2026, 3, 8)) == 2
    assert asked.purge(shelf) == 2
    assert not shelf.objects


def test_opting_out_and_private_calls_write_nothing_and_read_nothing():
    shelf, off = Shelf(), AskedSettings(log=False)
    assert asked.remember(shelf, off, [query("a b")], "3", "d") is None
    assert log(shelf, "a b", private=True) is None
    assert not shelf.objects
    log(shelf, "a b")
    assert asked.lately(shelf, off, MOMENT.date()) is None
    assert len(asked.lately(shelf, AskedSettings(), MOMENT.date())) == 1


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "A" * 16,
        "-----BEGIN RSA PRIVATE KEY-----",
        "ghp_" + "a1" * 18,
        "Authorization: Bearer " + "x" * 24,
        "sk-" + "a1" * 12,
        "xoxb-" + "1" * 12,
    ],
)
def test_what_looks_like_a_credential_is_not_written(secret):
    shelf = Shelf()
    assert log(shelf, f"my key is {secret} ok") is None
    key = log(shelf, f"{secret}", "the bearer of this letter, and a sketch of a mask")
    assert [item.target for item in asked.parse(shelf.get(key))] == [
        "the bearer of this letter, and a sketch of a mask"
    ]


def test_a_record_says_what_was_asked_and_nothing_else():
    shelf = Shelf()
    key = log(shelf, "one", "two")
    assert key.startswith("asked/2026-03-09/123000-000000-")
    assert set(asked.parse(shelf.get(key))[0].model_dump()) == {
        "schema_version", "asked", "context", "target", "text", "encoder", "decoder",
    }  # fmt: skip
    assert log(shelf, "one", "two") == key, "the same call again is no error"
    assert log(shelf, "half a pair \ud800") is None


def test_what_can_not_be_read_is_named_and_stops_nobody(caplog):
    shelf = Shelf()
    log(shelf, "good")
    shelf.objects["asked/2026-03-09/000000-000000-0.jsonl"] = b"{"
    with caplog.at_level(logging.WARNING):
        found = asked.lately(shelf, AskedSettings(), MOMENT.date())
    assert [sample.target for sample in found.samples] == ["good"]
    assert "000000-000000-0.jsonl is left out" in caplog.text


def test_the_same_question_counts_once():
    shelf = Shelf()
    for minute in range(3):
        log(shelf, "again", "other" if minute == 1 else "again", at=MOMENT + timedelta(minutes=minute))
    found = asked.lately(shelf, AskedSettings(), MOMENT.date())
    assert sorted(sample.target for sample in found.samples) == ["again", "other"]


POOL = Corpus("pool", tuple(Sample(f"p{i}", "", f"pool text {i}", source="pool") for i in range(300)))
LOG = Corpus(ASKED, tuple(Sample(f"a{i}", "", f"asked text {i}", source=ASKED) for i in range(150)))
BUDGET = SplitBudget(queries=20, candidates=10)


def spot(log_, **mix):
    return plan_spot(POOL, None, BUDGET, 5, asked=log_, mix=AskedSettings(**mix))


@pytest.mark.parametrize(("share", "expected"), [(0.5, 10), (1.0, 20), (0.0, 0), (0.33, 6)])
def test_a_share_of_the_queries_is_what_was_asked(share, expected):
    plan = spot(LOG, share=share)
    queries = [entry.sample for entry in plan.entries if entry.role == "query"]
    real = [sample for sample in queries if sample.source == ASKED]
    assert (len(queries), len(real)) == (20, expected)
    assert {split_of(entry.sample) for entry in plan.entries} == {"report"}
    assert all(e.sample.source == "pool" for e in plan.entries if e.role == "candidate")
    drawn = Corpus(ASKED, tuple(real)).digest
    assert plan.sources[1:] == (((ASKED, drawn),) if expected else ())


def test_too_few_questions_are_left_alone_and_some_are_filled_up():
    usable = [sample for sample in LOG.samples if split_of(sample) == "report"]
    few, some = Corpus(ASKED, tuple(usable[:7])), Corpus(ASKED, tuple(usable[:9]))
    without = plan_spot(POOL, None, BUDGET, 5)
    assert spot(few, least=8) == spot(None) == without
    queries = [entry.sample for entry in spot(some, least=8).entries if entry.role == "query"]
    assert [s.source for s in queries].count(ASKED) == 9
    assert len(queries) == 20


def test_a_question_that_stands_in_the_pool_is_drawn_once():
    report = [sample for sample in POOL.samples if split_of(sample) == "report"]
    same = Corpus(ASKED, tuple(Sample(f"a{i}", "", s.target, source=ASKED) for i, s in enumerate(report)))
    plan = plan_spot(POOL, None, SplitBudget(queries=20, candidates=20), 5, asked=same, mix=AskedSettings())
    assert len({entry.sample.hash for entry in plan.entries}) == 40

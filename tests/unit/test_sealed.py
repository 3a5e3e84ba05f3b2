import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from influcoder.core.errors import IntegrityError
from influcoder.storage.object_store import sha256
from influcoder.storage.records import parse, seal, sealed, sealed_hash, unseal


class Record(BaseModel):
    name: str
    count: int


class Shelf:
    """Names keys, and nothing else."""

    def uri(self, key):
        return f"s3://{key}"


def read(data):
    return parse(Shelf(), "key", Record, data)


RECORDS = st.builds(Record, name=st.text(max_size=9), count=st.integers())


@given(st.binary(max_size=60))
def test_what_was_sealed_is_opened(content):
    assert unseal(seal(content)) == content
    assert sealed_hash(seal(content)) == sha256(content)


@given(RECORDS, st.data())
def test_any_changed_byte_of_a_record_is_noticed(record, data):
    whole = sealed(record)
    assert read(whole) == record
    place, other = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    assume(other != whole[place])
    with pytest.raises(IntegrityError, match="Restore it"):
        read(whole[:place] + bytes([other]) + whole[place + 1 :])


@given(RECORDS, st.integers(0, 200))
def test_a_record_that_was_cut_off_is_noticed(record, length):
    whole = sealed(record)
    assume(length < len(whole))
    with pytest.raises(IntegrityError):
        read(whole[:length])


def hash_before(record):
    content = record.model_dump_json().encode()
    return sha256(content).encode() + b"\n" + content


@given(RECORDS)
def test_records_of_every_earlier_format_are_read(record):
    assert read(record.model_dump_json(indent=1).encode()) == record
    assert read(hash_before(record)) == record


@given(RECORDS, st.data())
def test_a_changed_letter_of_the_format_with_the_hash_before_is_noticed(record, data):
    whole = hash_before(record)
    place, other = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    assume(other != whole[place])
    with pytest.raises(IntegrityError):
        read(whole[:place] + bytes([other]) + whole[place + 1 :])


class Lenient(BaseModel):
    """Anything is one of these, so its seal alone tells when it was changed."""

    count: int = 0


@given(st.integers(), st.data())
def test_a_changed_seal_is_never_taken_for_a_record_without_one(count, data):
    whole = sealed(Lenient(count=count))
    place, other = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
    assume(other != whole[place])
    with pytest.raises(IntegrityError):
        parse(Shelf(), "key", Lenient, whole[:place] + bytes([other]) + whole[place + 1 :])

"""Records that show whether they were changed: the checksum stands before the bytes that it covers.

So no later version of a library that writes JSON in another way can break one.
"""

from influcoder.store import sha256

_HASH = len(sha256(b""))
_BEFORE, _BETWEEN, _AFTER = b'{"sha256": "', b'",\n"entry": ', b"}\n"


def seal(content: bytes) -> bytes:
    """JSON that holds other JSON, `entry`, and its SHA-256."""
    return _BEFORE + sha256(content).encode() + _BETWEEN + content + _AFTER


def sealed_hash(record: bytes) -> str:
    """The SHA-256 that a sealed record carries."""
    return record[len(_BEFORE) : len(_BEFORE) + _HASH].decode(errors="replace")


def unseal(record: bytes) -> bytes | None:
    """What was sealed; None where the record is not as it was written."""
    content = record[len(_BEFORE) + _HASH + len(_BETWEEN) : -len(_AFTER)]
    return content if record == seal(content) else None


def unseal_if_sealed(record: bytes) -> bytes | None:
    """Like `unseal`, but a record without a seal, as earlier versions wrote them, is given back as it is."""
    return unseal(record) if record.startswith(_BEFORE) else record

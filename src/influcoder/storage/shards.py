"""Rows that were computed once, by the hash of the sample that each is of.

A shard is one safetensors object, named by the SHA-256 of its own bytes. Its header lists the hashes of its samples, so
finding out what is there reads headers alone.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from safetensors.numpy import load, save

from influcoder.core.errors import AbsentError, IntegrityError
from influcoder.storage.object_store import sha256
from influcoder.storage.objects import Objects

_ENDING = ".safetensors"
# Fits most headers: a hash is 67 bytes of one.
_GUESS = 2**14
# What a damaged length may not ask for.
_LONGEST = 2**26


class Shards:
    """Shards of a folder of the store.

    Args:
        store: holds them.
        folder: prefix of their keys, with its slash.
        remedy: what to do where one is damaged.
    """

    def __init__(self, store: Objects, folder: str, remedy: str) -> None:
        self._store, self._folder, self._remedy = store, folder, remedy

    def listed(self) -> list[str]:
        """Keys of all shards."""
        return list(self._store.keys(self._folder))

    def add(self, hashes: Sequence[str], columns: Mapping[str, np.ndarray]) -> str:
        """Write a shard, a row of each column for each hash; its key. One that is there already is left alone."""
        whole = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        data = save(whole, metadata={"hashes": json.dumps(hashes)})
        key = f"{self._folder}{sha256(data)}{_ENDING}"
        self._store.keep(key, data)
        return key

    def hashes(self, key: str) -> list[str] | None:
        """The samples of a shard, from its header alone; None where it is not there any more.

        Raises:
            IntegrityError: it is no shard.
        """
        try:
            head = self._store.get_range(key, 0, _GUESS)
            length = 8 + int.from_bytes(head[:8], "little")
            if len(head) < length <= _LONGEST:
                head = self._store.get_range(key, 0, length)
        except AbsentError:
            return None
        try:
            return _hashes(head)
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{self._store.uri(key)} is no shard.", self._remedy) from error

    def read(self, key: str) -> tuple[list[str], dict[str, np.ndarray]]:
        """Hashes and columns of a shard.

        Raises:
            IntegrityError: it is not there, or its bytes are not those that it is named by.
        """
        data = self._store.get(key)
        if sha256(data) != key.removeprefix(self._folder).removesuffix(_ENDING):
            raise IntegrityError(f"{self._store.uri(key)} was changed or cut off.", self._remedy)
        return _hashes(data), load(data)


def _hashes(data: bytes) -> list[str]:
    length = int.from_bytes(data[:8], "little")
    return list(json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["hashes"]))

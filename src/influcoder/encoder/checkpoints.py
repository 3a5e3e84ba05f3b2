"""Checkpoints of a training: what a killed one leaves, so that the next one goes on from there.

Below `checkpoints/<key>/` there are tensors, named by the SHA-256 of their bytes, and `latest.json`, which names those
that belong together and moves by compare-and-swap. The key is the hash of everything that the training follows from.
"""

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError, StoreError
from influcoder.storage.object_store import sha256

logger = logging.getLogger(__name__)
_HASH = len(sha256(b""))


class Objects(Protocol):
    """Where checkpoints are kept: an `ObjectStore`, or a `Folder`."""

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""

    def get(self, key: str) -> bytes:
        """Its bytes."""

    def read_if_there(self, key: str) -> tuple[bytes | None, str | None]:
        """Its bytes and version."""

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace it where it is still that version; the version that it is then."""

    def delete(self, key: str) -> None:
        """Delete it."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys below a prefix."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint.

    Args:
        notes: numbers and words, as JSON.
        parts: tensors, as the bytes of safetensors files, by name.
    """

    notes: Mapping[str, Any]
    parts: Mapping[str, bytes]


class Checkpoints:
    """Checkpoints of one training at a time. Whoever opens a key last owns it, and stops those who had it before.

    Args:
        objects: where they are kept.
        owner: tells this training from others of the same key, such as the id of its MLflow run; drawn where empty.
        replaced: is told the owner before, when a training that was not finished is gone on with.
    """

    def __init__(
        self, objects: Objects, owner: str = "", replaced: Callable[[str], None] = lambda _owner: None
    ) -> None:
        self._objects = objects
        self._owner = owner or secrets.token_hex(8)
        self._replaced = replaced
        self._folder: str | None = None
        self._version: str | None = None

    def open(self, key: str) -> Saved | None:
        """Take a training over; its last checkpoint, or None where there is none or it is damaged.

        Args:
            key: hash of everything that the training follows from.
        Raises:
            ChangedMeanwhileError: another run took it over in the same moment.
        """
        self._folder = f"checkpoints/{key}/"
        data, self._version = self._objects.read_if_there(self._latest)
        found = _opened(data) if data else None
        if data and not found:
            logger.warning("training starts from the beginning, the pointer to its checkpoint is damaged")
        # First claimed, then read: from now on the owner before can neither save nor delete.
        self._point(found["notes"] if found else None, found["parts"] if found else {})
        if not found:
            return None
        if found["owner"] != self._owner:
            self._replaced(found["owner"])
        return self._read(found) if found["parts"] else None

    def save(self, saved: Saved) -> None:
        """Keep a checkpoint instead of the one before. Training goes on where the store can't take it.

        Raises:
            ChangedMeanwhileError: another run has taken this training over.
        """
        parts = {name: f"{sha256(data)}.safetensors" for name, data in saved.parts.items()}
        try:
            there = set(self._objects.keys(self._opened_folder))
            for name, data in saved.parts.items():
                if self._opened_folder + parts[name] not in there:
                    self._objects.put(self._opened_folder + parts[name], data)
            self._point(saved.notes, parts)
            for key in there - {self._opened_folder + part for part in parts.values()} - {self._latest}:
                self._objects.delete(key)
        except ChangedMeanwhileError:
            raise
        except StoreError as error:
            logger.warning("no checkpoint could be written, training goes on without: %s", error)

    def clear(self) -> None:
        """Delete what was saved, when the training's result is safe elsewhere; nothing where nothing was opened."""
        if self._folder is None:
            return
        self._objects.delete(self._latest)
        for key in list(self._objects.keys(self._folder)):
            self._objects.delete(key)

    @property
    def _opened_folder(self) -> str:
        assert self._folder is not None, "open comes first"
        return self._folder

    @property
    def _latest(self) -> str:
        return f"{self._opened_folder}latest.json"

    def _point(self, notes: Mapping[str, Any] | None, parts: Mapping[str, str]) -> None:
        data = _sealed({"owner": self._owner, "notes": notes, "parts": dict(parts)})
        try:
            self._version = self._objects.swap(self._latest, data, self._version)
        except (ChangedMeanwhileError, IntegrityError) as error:
            # A put whose answer got lost has landed all the same, and then the pointer is ours.
            there, version = self._objects.read_if_there(self._latest)
            found = _opened(there) if there else None
            if found is None or found["owner"] != self._owner:
                raise ChangedMeanwhileError(
                    "another run has taken this training over, or finished it.", "Let that one go on."
                ) from error
            self._version = self._objects.swap(self._latest, data, version)

    def _read(self, found: Mapping[str, Any]) -> Saved | None:
        parts = {}
        for name, file in found["parts"].items():
            try:
                parts[name] = self._objects.get(self._opened_folder + file)
                if f"{sha256(parts[name])}.safetensors" != file:
                    raise IntegrityError(f"{name} were changed or cut off.")
            except IntegrityError as error:
                logger.warning("training starts from the beginning, its checkpoint is damaged: %s", error)
                # The same training writes the same bytes again, and must not find these in their place.
                self._objects.delete(self._opened_folder + file)
                return None
        return Saved(found["notes"], parts)


def _sealed(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, allow_nan=False).encode()
    return sha256(text).encode() + b"\n" + text


def _opened(data: bytes) -> dict[str, Any] | None:
    """What was sealed; None where it is not whole."""
    seal, text = data[:_HASH], data[_HASH + 1 :]
    return json.loads(text) if seal == sha256(text).encode() else None

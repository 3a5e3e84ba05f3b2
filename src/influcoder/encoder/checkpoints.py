"""Checkpoints of a training: what a killed one leaves, so that the next one goes on from there.

Below `checkpoints/<key>/` there are tensors, named by the SHA-256 of their bytes, and `latest.json`, which names those
that belong together and moves by compare-and-swap. The key is the hash of everything that the training follows from.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from influcoder.core.errors import ChangedMeanwhileError, IntegrityError, StoreError
from influcoder.storage.object_store import sha256
from influcoder.storage.objects import Objects
from influcoder.storage.records import Slot

logger = logging.getLogger(__name__)


class Latest(BaseModel):
    """Who owns a training, and the notes and files (by what they hold) of its last checkpoint, if there is one."""

    model_config = ConfigDict(frozen=True)

    owner: str
    notes: Mapping[str, Any] | None
    parts: Mapping[str, str]


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
        self._slot: Slot[Latest] | None = None

    def open(self, key: str) -> Saved | None:
        """Take a training over; its last checkpoint, or None where there is none or it is damaged.

        Args:
            key: hash of everything that the training follows from.
        Raises:
            ChangedMeanwhileError: another run took it over in the same moment.
        """
        pointer = f"checkpoints/{key}/latest.json"
        self._slot = Slot(self._objects, pointer, Latest, remedy=None)
        found = self._slot.value
        if found is None and self._objects.exists(pointer):
            logger.warning("training starts from the beginning, the pointer to its checkpoint is damaged")
        # First claimed, then read: from now on the owner before can neither save nor delete.
        self._point(found.notes if found else None, found.parts if found else {})
        if not found:
            return None
        if found.owner != self._owner:
            self._replaced(found.owner)
        return self._read(found) if found.parts else None

    def save(self, saved: Saved) -> None:
        """Keep a checkpoint instead of the one before. Training goes on where the store can't take it.

        Raises:
            ChangedMeanwhileError: another run has taken this training over.
        """
        parts = {name: f"{sha256(data)}.safetensors" for name, data in saved.parts.items()}
        try:
            there = set(self._objects.keys(self._folder))
            for name, data in saved.parts.items():
                if self._folder + parts[name] not in there:
                    self._objects.put(self._folder + parts[name], data)
            self._point(saved.notes, parts)
            for key in there - {self._folder + part for part in parts.values()} - {self._opened.key}:
                self._objects.delete(key)
        except ChangedMeanwhileError:
            raise
        except StoreError as error:
            logger.warning("no checkpoint could be written, training goes on without: %s", error)

    def clear(self) -> None:
        """Delete what was saved, when the training's result is safe elsewhere; nothing where nothing was opened."""
        if self._slot is None:
            return
        self._objects.delete(self._slot.key)
        for key in list(self._objects.keys(self._folder)):
            self._objects.delete(key)

    @property
    def _opened(self) -> "Slot[Latest]":
        assert self._slot is not None, "open comes first"
        return self._slot

    @property
    def _folder(self) -> str:
        return self._opened.key.removesuffix("latest.json")

    def _point(self, notes: Mapping[str, Any] | None, parts: Mapping[str, str]) -> None:
        latest = Latest(owner=self._owner, notes=notes, parts=dict(parts))
        try:
            self._opened.write(latest)
        except ChangedMeanwhileError as error:
            # A put whose answer got lost has landed all the same, and then the pointer is ours.
            self._slot = Slot(self._objects, self._opened.key, Latest, remedy=None)
            if self._slot.value is None or self._slot.value.owner != self._owner:
                hint = "Let that one go on."
                raise ChangedMeanwhileError(
                    "another run has taken this training over, or finished it.", hint
                ) from error
            self._slot.write(latest)

    def _read(self, found: Latest) -> Saved | None:
        parts = {}
        for name, file in found.parts.items():
            try:
                parts[name] = self._objects.get(self._folder + file)
                if f"{sha256(parts[name])}.safetensors" != file:
                    raise IntegrityError(f"{name} were changed or cut off.")
            except IntegrityError as error:
                logger.warning("training starts from the beginning, its checkpoint is damaged: %s", error)
                # The same training writes the same bytes again, and must not find these in their place.
                self._objects.delete(self._folder + file)
                return None
        return Saved(found.notes or {}, parts)
